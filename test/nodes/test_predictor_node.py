import array
import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros.msg import Latent
from jepa_ros.srv import PredictLatents, ScoreActions
from lifecycle_msgs.srv import GetState
from sensor_msgs.msg import CompressedImage
from std_msgs.msg import Header

from jepa_common.latent_messages import latent_to_message, message_to_latent
from jepa_common.qos_profiles import latched_qos, latest_qos
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_world_model import predictor_node
from jepa_world_model.checkpoint import add_decoder, open_world_model
from jepa_world_model.energy import latent_distance
from jepa_world_model.picture_decoder import PictureDecoder, PictureDecoderConfig
from jepa_world_model.picture_strip import jpeg, side_by_side
from jepa_world_model.poses import integrate
from jepa_world_model.predictor_node import PredictorNode
from jepa_world_model.world_model import WorldModel

Code = ScoreActions.Response

STATE = np.array([0.5, 0.0, 0.3, math.pi, 0.0, 0.0, 0.0])


def decoded(data) -> np.ndarray:
    """RGB pixels of a picture file."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


class Bench:
    """An active predictor, and publishers of the latents that it listens to."""

    def __init__(self, nodes, tiny_model, **settings) -> None:
        self.nodes, self.tiny = nodes, tiny_model
        self.node = nodes.make(PredictorNode, model=str(tiny_model.path), latents_kept=8, **settings)
        nodes.run(self.node.start)
        self.model = WorldModel.load(tiny_model.path)
        self.reports = nodes.collect(DiagnosticArray, "/diagnostics", latest_qos())
        self._latents = nodes.publisher(Latent, "latent", latest_qos())
        self._goals = nodes.publisher(Latent, "goal_latent", latched_qos())

    def latent(self, seed: int) -> np.ndarray:
        return np.random.default_rng(seed).normal(size=(self.tiny.tokens, self.tiny.dim)).astype(np.float32)

    def message(self, seed: int, seconds: float, model: str = "") -> Latent:
        header = Header(stamp=to_stamp(round(seconds * 1e9)), frame_id="camera")
        return latent_to_message(self.latent(seed)[None], header, model or self.tiny.model_id)

    def see(self, seed: int, seconds: float) -> None:
        """Publishes a latent and waits until the predictor holds it."""
        self._publish(self._latents, self.node._scorer.contexts, self.message(seed, seconds))

    def aim(self, seed: int, seconds: float) -> None:
        """Publishes a goal latent and waits until the predictor holds it."""
        self._publish(self._goals, self.node._scorer.goals, self.message(seed, seconds))

    def send(self, message: Latent) -> None:
        self._latents.publish(message)

    def _publish(self, publisher, store, message) -> None:
        held = len(store)
        publisher.publish(message)
        self.nodes.wait_until(lambda: len(store) > held, "the latent to arrive")

    def request(self, kind=ScoreActions, stamps=(10.0,), samples=5, horizon=2, **fields):
        actions = np.random.default_rng(1).normal(scale=0.1, size=(samples, horizon, 7)).astype(np.float32)
        request = kind.Request(
            context_stamps=[to_stamp(round(stamp * 1e9)) for stamp in stamps],
            states=np.tile(STATE, len(stamps)),
            samples=samples,
            horizon=horizon,
            action_dim=7,
            actions=actions.ravel(),
        )
        if kind is ScoreActions:
            request.goal_stamp = to_stamp(99 * 10**9)
        for name, value in fields.items():
            setattr(request, name, value)
        return request

    def score(self, **fields):
        return self.nodes.call(ScoreActions, "score_actions", self.request(**fields))

    def predict(self, **fields):
        return self.nodes.call(PredictLatents, "predict_latents", self.request(PredictLatents, **fields))

    def prepare(self):
        """Frames at 9.75 s and 10 s, and a goal at 99 s."""
        self.see(1, 9.75)
        self.see(2, 10.0)
        self.aim(3, 99.0)
        return self


@pytest.fixture
def bench(nodes, tiny_model) -> Bench:
    return Bench(nodes, tiny_model)


@pytest.fixture
def ready(bench) -> Bench:
    """The predictor has seen frames at 9.75 s and 10 s, and a goal at 99 s."""
    return bench.prepare()


@pytest.fixture(scope="session")
def drawing_model(tiny_model, tmp_path_factory):
    """The same model with a picture decoder."""
    torch.manual_seed(0)
    decoder = PictureDecoder(PictureDecoderConfig(tiny_model.tokens, tiny_model.dim, 16, depth=1, heads=2, channels=4))
    path = tmp_path_factory.mktemp("drawing") / tiny_model.path.name
    card = add_decoder(open_world_model(tiny_model.path), path, decoder, {})
    assert card.model_id == tiny_model.model_id
    return replace(tiny_model, path=path)


@pytest.fixture
def drawing(nodes, drawing_model) -> Bench:
    """A predictor that shows what it imagines."""
    return Bench(nodes, drawing_model, imagined_rate=20.0).prepare()


@pytest.mark.parametrize("stamps", [(10.0,), (9.75, 10.0)])
def test_energies_are_the_models_for_the_latents_that_the_stamps_name(ready, stamps):
    response = ready.score(stamps=stamps)
    assert (response.error_code, response.error_msg) == (Code.OK, "")
    context = np.stack([ready.latent({9.75: 1, 10.0: 2}[stamp]) for stamp in stamps])
    actions = np.asarray(ready.request().actions).reshape(5, 2, 7)
    expected = ready.model.energy(context, np.tile(STATE, (len(stamps), 1)), actions, ready.latent(3))
    np.testing.assert_allclose(response.energies, expected, rtol=1e-4)
    assert response.model == ready.tiny.model_id
    assert response.current_energy == pytest.approx(np.abs(ready.latent(2) - ready.latent(3)).mean(), rel=1e-5)
    assert response.seconds > 0.0
    assert math.isnan(response.surprise)
    assert math.isnan(response.gripper_change), "this model has no metric to tell it from"


def test_a_model_with_a_metric_tells_how_the_fingers_of_the_goal_differ(ready):
    metric = torch.zeros(2, ready.tiny.tokens * ready.tiny.dim)
    metric[-1, 5] = 1.0
    scorer = ready.node._scorer
    scorer.model = replace(scorer.model, metric=metric, card=replace(scorer.model.card, gripper_weight_m=0.5))
    difference = (ready.latent(3) - ready.latent(2)).ravel()[5]
    assert ready.score().gripper_change == pytest.approx(2.0 * difference, rel=1e-4)


def test_distance_and_horizon_sum_are_the_requests(ready):
    plain = np.asarray(ready.score(distance="l2").energies)
    summed = np.asarray(ready.score(distance="l2", sum_over_horizon=True).energies)
    assert (summed > plain).all()


def test_its_distance_counts_where_a_request_leaves_it_open(nodes, tiny_model):
    bench = Bench(nodes, tiny_model, distance="l2")
    bench.see(2, 10.0)
    bench.aim(3, 99.0)
    plain, by_l2, by_l1 = (np.asarray(bench.score(distance=name).energies) for name in ("", "l2", "l1"))
    np.testing.assert_array_equal(plain, by_l2)
    assert (plain != by_l1).all()


def test_surprise_compares_the_best_sequences_prediction_with_what_came(ready):
    first = ready.score()
    best = int(np.argmin(first.energies))
    ready.see(4, 10.25)
    again = [ready.score(stamps=(10.25,)).surprise for _ in range(2)]
    actions = np.asarray(ready.request().actions, np.float32).reshape(5, 2, 7)
    imagined = ready.model.rollout(ready.latent(2)[None], STATE[None], actions[best : best + 1, :1])[0, 0]
    expected = latent_distance(imagined, imagined.new_tensor(ready.latent(4))).item()
    assert again == pytest.approx([expected, expected], rel=1e-4)


def test_surprise_is_unknown_when_the_frames_are_not_one_period_apart(ready):
    ready.score()
    ready.see(4, 11.0)
    assert math.isnan(ready.score(stamps=(11.0,)).surprise)


def test_imagined_latents_come_with_poses_and_future_stamps(ready):
    response = ready.predict(samples=2, horizon=3)
    assert response.error_code == Code.OK
    assert len(response.latents) == 6
    actions = np.asarray(ready.request(samples=2, horizon=3).actions, np.float32).reshape(2, 3, 7)
    expected = ready.model.rollout(ready.latent(2)[None], STATE[None], actions)
    np.testing.assert_allclose(message_to_latent(response.latents[4])[0], expected[1, 1], atol=1e-4)
    assert [to_nanoseconds(latent.header.stamp) / 1e9 for latent in response.latents[:3]] == [10.25, 10.5, 10.75]
    poses = np.asarray(response.states).reshape(2, 3, 7)
    np.testing.assert_allclose(poses[1, 0], integrate(STATE, actions[1, 0]), atol=1e-6)
    np.testing.assert_allclose(poses[1, 1], integrate(poses[1, 0], actions[1, 1]), atol=1e-6)


NAN_ACTIONS = np.full(70, np.nan, np.float32)


@pytest.mark.parametrize(
    ("fields", "code", "words"),
    [
        ({"actions": np.zeros(69, np.float32)}, Code.MALFORMED_REQUEST, "5 x 2 x 7 = 70 numbers, got 69"),
        ({"actions": np.zeros(0, np.float32)}, Code.MALFORMED_REQUEST, "got 0"),
        ({"actions": NAN_ACTIONS}, Code.MALFORMED_REQUEST, "actions: expected finite numbers, 70 of 70"),
        ({"states": np.zeros(6)}, Code.MALFORMED_REQUEST, "states: expected 1 x 7 = 7 numbers, got 6"),
        ({"states": np.full(7, np.inf)}, Code.MALFORMED_REQUEST, "states: expected finite"),
        ({"action_dim": 6}, Code.MALFORMED_REQUEST, "expects 7, got 6"),
        ({"samples": 0}, Code.MALFORMED_REQUEST, "samples: expected 1 to"),
        ({"samples": 10**5, "horizon": 1}, Code.MALFORMED_REQUEST, "samples: expected 1 to"),
        ({"horizon": 10**5, "samples": 1}, Code.MALFORMED_REQUEST, "horizon: expected 1 to"),
        ({"context_stamps": []}, Code.MALFORMED_REQUEST, "context stamps: expected 1 to"),
        ({"distance": "manhattan"}, Code.MALFORMED_REQUEST, "'manhattan'"),
        ({"stamps": (8.0,)}, Code.UNKNOWN_CONTEXT, "none of stamp 8.000000000; the 2 held"),
        ({"goal_stamp": to_stamp(1)}, Code.UNKNOWN_GOAL, "goal latent: there is none of stamp 0.000000001"),
    ],
)
def test_a_request_that_cannot_be_answered_is_told_why_and_the_next_one_answered(ready, fields, code, words):
    response = ready.score(**fields)
    assert response.error_code == code
    assert words in response.error_msg
    assert len(response.energies) == 0
    assert ready.score().error_code == Code.OK


def test_a_goal_before_any_image_is_told_what_is_missing(bench):
    bench.aim(3, 99.0)
    response = bench.score()
    assert response.error_code == Code.UNKNOWN_CONTEXT
    assert "none has come yet: is the encoder active" in response.error_msg


def test_too_many_imagined_latents_are_refused(ready):
    response = ready.predict(samples=60, horizon=5)
    assert response.error_code == Code.MALFORMED_REQUEST
    assert "at most 256 latents" in response.error_msg


def test_another_models_latent_is_refused_by_name(ready):
    ready.send(ready.message(5, 10.25, model="other@ffffffffffff"))
    said = lambda: [status.message for array in ready.reports for status in array.status]  # noqa: E731
    ready.nodes.wait_until(lambda: any("other@ffffffffffff" in text for text in said()), "the report")
    assert ready.score(stamps=(10.25,)).error_code == Code.UNKNOWN_CONTEXT
    assert ready.score().error_code == Code.OK


def test_a_latent_that_is_not_finite_is_refused(ready):
    message = ready.message(5, 10.25)
    message.data[:4] = array.array("B", np.array([np.nan], "<f4").tobytes())
    ready.send(message)
    said = lambda: [status.message for array in ready.reports for status in array.status]  # noqa: E731
    ready.nodes.wait_until(lambda: any("1 of 48 are not" in text for text in said()), "the report")
    assert ready.score(stamps=(10.25,)).error_code == Code.UNKNOWN_CONTEXT


def test_an_inactive_predictor_says_so(ready):
    ready.node.trigger_deactivate()
    assert ready.score().error_code == Code.NOT_ACTIVE
    assert "predictor is inactive" in ready.score().error_msg
    ready.node.trigger_cleanup()
    assert "predictor is unconfigured" in ready.predict().error_msg


def test_the_chosen_plan_is_shown_from_now_to_the_goal(drawing):
    strips = drawing.nodes.collect(CompressedImage, "imagined/compressed", latest_qos())
    drawing.nodes.wait_until(lambda: drawing.node.count_subscribers("imagined/compressed"), "the listener")
    best = int(np.argmin(drawing.score(horizon=3).energies))
    drawing.nodes.wait_until(lambda: strips, "a strip")
    assert to_nanoseconds(strips[0].header.stamp) == 10 * 10**9 and strips[0].header.frame_id == "camera"
    strip = decoded(strips[0].data)
    assert strips[0].format == "jpeg" and strip.shape == (32, 5 * 32, 3)
    model = WorldModel.load(drawing.tiny.path, parts=("predictor", "decoder"))
    actions = np.asarray(drawing.request(horizon=3).actions, np.float32).reshape(5, 3, 7)[best : best + 1]
    future = model.rollout(drawing.latent(2)[None], STATE[None], actions)[0]
    expected = model.pictures(np.concatenate([drawing.latent(2)[None], future, drawing.latent(3)[None]]))
    same = np.abs(strip.astype(int) - decoded(jpeg(side_by_side(expected)))).mean()
    other = np.abs(strip.astype(int) - decoded(jpeg(side_by_side(expected[::-1])))).mean()
    assert same < 1.0 < other


def test_nothing_is_imagined_while_nobody_listens(drawing, monkeypatch):
    drawn = []
    monkeypatch.setattr(predictor_node, "imagined_strip", lambda _, plan: drawn.append(plan))
    for _ in range(3):
        assert drawing.score().error_code == Code.OK
        drawing.node._show.look(drawing.node._scorer)
    assert drawn == []
    assert drawing.node._scorer.chosen(math.inf) is not None


def test_a_plan_is_shown_once_and_a_refined_one_only_when_it_has_settled(drawing):
    scorer = drawing.node._scorer
    drawing.score()
    first = scorer.chosen(math.inf)
    assert scorer.chosen(first.scored_at) is None  # a further request may refine it
    scorer._scoring = True  # and one is in work
    assert scorer.chosen(math.inf) is None
    scorer._scoring = False
    drawing.score(samples=4)
    refined = scorer.chosen(math.inf)
    assert refined is not first
    drawing.see(4, 10.25)
    drawing.score(stamps=(10.25,))
    newest = scorer.chosen(math.inf)
    assert newest.now.stamp == 10_250_000_000
    assert scorer.chosen(newest.scored_at) is refined


def test_strips_come_no_more_often_than_asked_for(nodes, drawing_model):
    bench = Bench(nodes, drawing_model, imagined_rate=0.01).prepare()
    strips = nodes.collect(CompressedImage, "imagined/compressed", latest_qos())
    nodes.wait_until(lambda: bench.node.count_subscribers("imagined/compressed"), "the listener")
    bench.score()
    nodes.wait_until(lambda: strips, "the first strip")
    bench.see(4, 10.25)
    bench.score(stamps=(10.25,))
    shown = bench.node._show._shown
    assert bench.node._scorer.chosen(math.inf) is not shown
    bench.node._show.look(bench.node._scorer)
    assert bench.node._show._shown is shown and len(strips) == 1


def test_without_a_decoder_or_a_rate_there_is_no_such_topic(nodes, bench, drawing_model):
    assert bench.node._show is None
    silent = nodes.make(PredictorNode, model=str(drawing_model.path), imagined_rate=0.0)
    nodes.run(silent.start)
    assert silent._show is None and silent.count_publishers("imagined/compressed") == 0


def test_requests_at_the_same_time_are_all_answered(ready):
    client = ready.nodes.client.create_client(ScoreActions, "score_actions")
    client.wait_for_service(5.0)
    futures = [client.call_async(ready.request()) for _ in range(4)]
    ready.nodes.wait_until(lambda: all(future.done() for future in futures), "all answers")
    assert all(len(future.result().energies) == 5 for future in futures if future.result().error_code == Code.OK)
    assert futures[0].result().error_code == Code.OK


LARGE = {"samples": 8192, "horizon": 16}


def test_a_long_request_keeps_nobody_waiting(nodes, tiny_model):
    ready = Bench(nodes, tiny_model, max_seconds=3600.0)
    ready.see(2, 10.0)
    ready.aim(3, 99.0)
    client = ready.nodes.client.create_client(ScoreActions, "score_actions")
    client.wait_for_service(5.0)
    long = client.call_async(ready.request(**LARGE))
    ready.nodes.wait_until(lambda: ready.node._waiting == 1, "the long request")
    assert ready.score().error_code == Code.OK
    state = ready.nodes.call(GetState, "predictor/get_state", GetState.Request())
    assert state.current_state.label == "active" and not long.done()
    ready.see(6, 10.5)  # latents come in
    crowd = [client.call_async(ready.request(**LARGE)) for _ in range(6)]
    ready.nodes.wait_until(lambda: sum(future.done() for future in crowd) >= 3, "refusals")
    refused = [future.result() for future in crowd if future.done()]
    assert all("requests wait already" in response.error_msg for response in refused)
    # Giving up does not wait for the end of the work either.
    ready.nodes.run(ready.node.trigger_deactivate)
    ready.nodes.wait_until(lambda: long.done() and all(future.done() for future in crowd), "all answers")
    assert "deactivated" in long.result().error_msg


def test_a_request_that_would_take_too_long_is_refused_by_its_measured_rate(nodes, tiny_model):
    bench = Bench(nodes, tiny_model, max_seconds=0.1)
    bench.see(2, 10.0)
    bench.aim(3, 99.0)
    response = bench.score(**LARGE)
    assert response.error_code == Code.MALFORMED_REQUEST
    assert "8192 sequences of 16 actions would take about" in response.error_msg
    # The first part shows how long the rest would take.
    assert bench.score().error_code == Code.OK
