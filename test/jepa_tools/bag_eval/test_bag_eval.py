"""bag-eval: the same numbers twice, numbers that mean what they say, and nothing lost on the way."""

import json
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from recorded_bags import BagRecipe, alter_bag, write_bag, write_pose_bag
from tiny_models import DIM, TOKENS, tiny_world_model

from jepa_tools.bag_eval import command
from jepa_tools.bag_eval.combining import combined_results
from jepa_tools.bag_eval.compare import compare
from jepa_tools.bag_eval.config import BagEvalConfig, EvaluationConfig, PlanningConfig, PredictionConfig
from jepa_tools.bag_eval.encoding import EncodedEpisode, encode_episode
from jepa_tools.bag_eval.energies import rank_correlation
from jepa_tools.bag_eval.evaluate import evaluate_bag, inputs_hash
from jepa_tools.bag_eval.moments import ranked_predictions
from jepa_tools.bag_eval.part_store import PartStore
from jepa_tools.bag_eval.planning import compare_plan
from jepa_tools.bag_eval.prediction import predict_episode
from jepa_tools.bag_eval.results import BagResult, PredictionResult, from_json, read_result, to_json
from jepa_tools.bag_eval.stopwatch import Stopwatch
from jepa_tools.bag_eval.tables import format_bags
from jepa_tools.bag_eval.verdict import failures, trusted_horizon, use_of_actions, verdict
from jepa_tools.bags import READER_VERSION, BagSettings, read_bag
from jepa_tools.bags.bag_file import bag_hash
from jepa_tools.cli import main
from jepa_tools.reports.landscape import energy_landscape
from jepa_tools.reports.picture_grid import difference
from jepa_world_model.picture_decoder import PictureDecoder, PictureDecoderConfig

GOLDEN = Path(os.environ.get("JEPA_GOLDEN", Path(__file__).resolve().parents[4] / "shared" / "golden"))
EXAMPLE = GOLDEN / "franka_example_traj.npz"
SMALL = EvaluationConfig(
    prediction=PredictionConfig(horizon=3), planning=PlanningConfig(ahead=2, samples=8, iterations=2, elites=2)
)


@pytest.fixture(scope="module")
def model():
    torch.set_num_threads(1)
    decoder = PictureDecoder(PictureDecoderConfig(TOKENS, DIM, width=16, depth=1, heads=2, channels=4)).eval()
    return replace(tiny_world_model(), decoder=decoder)


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    return write_bag(tmp_path_factory.mktemp("bags") / "bag")


def config(*bags, **changes):
    return BagEvalConfig(bags=bags, **({"evaluation": SMALL} | changes))


def evaluate(model, *bags, **changes):
    """The result of several bags, without the loading of a model."""
    wanted = config(*bags, **changes)
    evaluated = command.evaluate_bags(bags, model, wanted, PartStore(None))
    return command.summarize(evaluated, model.card.model_id, wanted.evaluation.seed), evaluated


def test_the_same_inputs_give_the_same_json(model, bag):
    first, second = (to_json(evaluate(model, bag)[0]) for _ in range(2))
    assert first == second
    assert from_json(command.EvaluationResult, json.loads(first)) == evaluate(model, bag)[0]


def test_the_hash_changes_with_whatever_the_numbers_depend_on(bag, tmp_path):
    other = write_bag(tmp_path / "bag", BagRecipe(encoding="bgr8"))
    usual = (bag_hash(bag), "model@1", SMALL, BagSettings(), "cpu float32 1")
    changes = (bag_hash(other), "model@2", replace(SMALL, seed=1), BagSettings(actions="commands"), "cpu float32 2")
    hashes = {inputs_hash(*usual[:place], change, *usual[place + 1 :]) for place, change in enumerate(changes)}
    assert len(hashes | {inputs_hash(*usual)}) == 6
    assert inputs_hash(*usual) == inputs_hash(*usual)


def test_prediction_errors_are_the_l1_distances_of_rollouts_to_what_came(model, bag):
    recorded = read_bag(bag, BagSettings(), 4.0).episodes[0]
    episode = encode_episode(model, recorded, Stopwatch())
    both = predict_episode(model, episode, PredictionConfig(horizon=3, shuffles=1), np.random.default_rng(0))
    errors = both.l1
    assert both.own is None, "the tests' model measures by L1"
    imagined = model.rollout(episode.latents[2:3], episode.states[2:3].astype(np.float32), episode.actions[None, 2:5])[
        0
    ]
    for step in range(3):
        came = episode.latents[3 + step]
        assert errors.predicted[2, step] == pytest.approx(float((imagined[step] - came).abs().mean()), rel=1e-5)
        assert errors.copied[2, step] == pytest.approx(float((episode.latents[2] - came).abs().mean()), rel=1e-5)
    assert np.isnan(errors.predicted[-1]).tolist() == [False, True, True]
    assert (errors.shuffled[0] != errors.predicted[0]).all()


def test_a_model_with_a_distance_of_its_own_is_measured_by_both(model, bag):
    own = replace(model, card=replace(model.card, distance="l2"))
    episode = encode_episode(own, read_bag(bag, BagSettings(), 4.0).episodes[0], Stopwatch())
    errors = predict_episode(own, episode, PredictionConfig(horizon=3, shuffles=1), np.random.default_rng(0))
    state, actions = episode.states[:1].astype(np.float32), episode.actions[None, :3]
    imagined = own.rollout(episode.latents[:1], state, actions)[0]
    assert errors.own.predicted[0, 2] == pytest.approx(float(own.distance(imagined[2], episode.latents[3])), rel=1e-5)
    assert errors.own.copied[0, 0] == pytest.approx(float(own.distance(episode.latents[0], episode.latents[1])))
    assert np.isfinite(errors.own.shuffled[0]).all() and np.isfinite(errors.l1.predicted[0]).all()
    result, _ = evaluate(own, bag)
    assert result.total.own_prediction.error != result.total.prediction.error
    assert "error one step ahead (energy)" in format_bags(result)


def test_shuffled_actions_make_a_predictor_that_ignores_actions_no_worse(model, bag):
    class IgnoresActions:
        card, encode, distance, decoder = model.card, model.encode, model.distance, None

        def energy(self, context, states, actions, goal):
            return self.distance(context[-1].expand(len(actions), *context.shape[1:]), goal)

        def rollout(self, context, states, actions):
            return context[-1].expand(*actions.shape[:2], *context.shape[1:])

    result = evaluate_bag(bag, IgnoresActions(), BagSettings(), replace(SMALL, planning=PlanningConfig(every=0))).result
    assert set(result.prediction.shuffled_ratio) == {1.0}
    assert use_of_actions(result.prediction).startswith("No.") and "+0 % error" in use_of_actions(result.prediction)
    assert result.prediction.error == result.prediction.copy_error


def test_the_verdict_says_by_how_much_shuffled_actions_are_worse():
    errors = PredictionResult((0.1, 0.2), (0.3, 0.3), (0.15, 0.24), (1.5, 1.2), (0.9, 0.8), (10, 9))
    assert use_of_actions(errors) == (
        "Yes. Given the actions of other moments its error is 1.5 times as large 1 step ahead, and larger in 90% of the"
        " predictions."
    )


@pytest.mark.parametrize(
    ("error", "words"),
    [
        ((0.1, 0.15), "At least 2 steps (0.5 s), as far as was measured. Beside repeating the last picture: -50 %"),
        ((0.1, 0.24), "1 step (0.25 s); then repeating the last picture is the better guess. Beside it: -50 % error"),
        ((0.3, 0.1), "Not at all. Repeating the last picture is the better guess already: +50 % error 1 step ahead"),
        ((None, None), "This could not be measured"),
    ],
)
def test_the_verdict_says_how_far_ahead_the_model_beats_repeating_the_last_picture(error, words):
    errors = PredictionResult(error, (0.2, 0.2), (None, None), (None, None), (None, None), (10, 9))
    assert trusted_horizon(errors, rate_hz=4.0).startswith(words)
    assert "s)" not in trusted_horizon(errors, rate_hz=None)


def test_the_verdict_names_the_most_surprising_moment_and_bags_that_were_not_evaluated(model, bag, tmp_path):
    result, _ = evaluate(model, bag, tmp_path / "absent")
    first = result.bags[0].novelty.worst[0]
    assert f"bag, episode 1 at {first.time:.2f} s (surprise {first.surprise:.3g})" in failures(result)
    assert failures(result).endswith("Not evaluated: absent.")
    questions = [question for question, _ in verdict(result)]
    assert questions[0] == "Does the model use the actions?" and questions[-1] == "Where did it fail?"


def test_rank_correlation_is_one_for_an_energy_that_falls_with_the_distance():
    distance = np.array([0.3, 0.25, 0.2, 0.1, 0.0])
    assert rank_correlation(distance**2, distance) == pytest.approx(1.0)
    assert rank_correlation(-(distance**2), distance) == pytest.approx(-1.0)
    assert np.isnan(rank_correlation(distance, np.zeros(5)))
    assert np.isnan(rank_correlation(distance[:3], distance[:3]))


def moved(state, x=0.0, y=0.0, closedness=0.0):
    return state + np.array([x, y, 0, 0, 0, 0, closedness])


def test_plans_are_compared_by_displacement_direction_and_gripper():
    now = np.array([0.5, 0.0, 0.3, 0, 0, 0, 0.0])
    right, ahead = moved(now, y=0.05, closedness=1.0), moved(now, x=0.05)
    same, other = compare_plan(now, right, right), compare_plan(now, ahead, right)
    assert same.position_error == 0 and same.score == 80.0 and same.gripper_agrees
    assert same.direction_error == pytest.approx(0, abs=1e-3)
    assert other.position_error == pytest.approx(np.hypot(0.05, 0.05)) and not other.gripper_agrees
    assert other.direction_error == pytest.approx(90)
    assert other.score == pytest.approx(800 * (0.1 - np.hypot(0.05, 0.05)))
    assert np.isnan(compare_plan(now, now, right).direction_error)
    assert compare_plan(now, moved(now, x=1.0), now).score == 0


def test_a_bag_of_two_frames_is_evaluated_as_far_as_it_goes(model, tmp_path):
    result = evaluate(model, write_bag(tmp_path / "bag", BagRecipe(frames=2, camera_hz=4.0)))[0].bags[0]
    assert result.prediction.count == (1, 0, 0)
    assert result.prediction.shuffled_error == (None, None, None)
    assert result.energy.rank_correlation_end is None and result.planning.count == 0
    assert "could not be measured" in use_of_actions(result.prediction)


def test_the_published_example_trajectory_is_evaluated(tmp_path):
    if not EXAMPLE.exists():
        pytest.skip(f"needs {EXAMPLE.name} in the folder that JEPA_GOLDEN names")
    example = np.load(EXAMPLE, allow_pickle=False)
    bag = write_pose_bag(tmp_path / "bag", example["observations"][0], example["states"][0])
    (episode,) = read_bag(bag, BagSettings(), 4.0).episodes
    np.testing.assert_allclose(episode.states, example["states"][0], atol=1e-6)
    np.testing.assert_array_equal(np.stack(list(episode.pictures())), example["observations"][0])
    arguments = ["bag-eval", str(bag), "--planning.ahead", "1", "--json"]
    for name in ("a.json", "b.json"):
        assert main([*arguments, str(tmp_path / name)]) == 0
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    result = read_result(tmp_path / "a.json").total
    assert result.prediction.count[0] == 1 and result.planning.count == 1
    moved = np.linalg.norm(example["states"][0, 1, :3] - example["states"][0, 0, :3])
    assert result.planning.still_error_cm == pytest.approx(100 * moved, rel=1e-4)


def test_curves_have_a_value_per_frame_and_end_at_the_goal(model, bag):
    (episode,) = evaluate(model, bag)[0].bags[0].episodes
    assert episode.frames == len(episode.energy) == len(episode.surprise) == 12
    assert episode.energy[-1] == 0 and episode.distance_cm[-1] == 0 and episode.surprise[0] is None


def test_the_most_surprising_moments_come_with_their_pictures(model, bag):
    result, (evaluated,) = evaluate(model, bag, evaluation=replace(SMALL, worst=3))
    worst = result.bags[0].novelty.worst
    assert [moment.surprise for moment in worst] == sorted((item.surprise for item in worst), reverse=True)
    assert len(evaluated.worst) == 3
    assert all(picture.jpeg.startswith(b"\xff\xd8") for picture in evaluated.worst)


def test_a_bag_that_cannot_be_used_is_noted_and_the_others_count(model, bag, tmp_path, capsys):
    broken = write_bag(tmp_path / "broken", BagRecipe(joints=False))
    result, _ = evaluate(model, broken, bag)
    assert "expected joint states" in result.bags[0].error and not result.bags[1].error
    assert result.total.prediction == result.bags[1].prediction
    assert result.total.notes == ("1 of 2 bags could not be evaluated",)
    assert "expected joint states" in capsys.readouterr().err


def test_one_change_of_picture_size_leaves_the_other_bags_their_numbers(bag, tmp_path, capsys):
    def shrink(number, message):
        small = np.zeros(32 * 40 * 3, np.uint8)
        return message if number < 12 else replace(message, height=32, width=40, step=120, data=small)

    changing = alter_bag(bag, tmp_path / "changing", "/image", shrink)
    file = tmp_path / "bags.json"
    small = ["--prediction.horizon", "3", "--planning.every", "0"]
    assert main(["bag-eval", str(bag), str(changing), "--json", str(file), *small]) == 1
    sound, refused = read_result(file).bags
    assert sound.prediction.count[0] and not sound.error
    assert "changing" in refused.error and "expected pictures of one size" in refused.error


def test_a_picture_that_does_not_decode_costs_no_more_than_itself(model, bag, tmp_path):
    def cut(number, message):
        return replace(message, data=message.data[:100]) if number == 10 else message

    result, _ = evaluate(model, alter_bag(bag, tmp_path / "cut", "/image", cut))
    (evaluated,) = result.bags
    assert not evaluated.error and [episode.frames for episode in evaluated.episodes] == [5, 6]
    assert any("/image: 1 messages left out" in note for note in evaluated.notes)


def test_means_over_bags_are_weighted_by_what_was_measured():
    def part(error, count):
        return BagResult(
            "bag", "", prediction=PredictionResult((error,), (error,), (None,), (None,), (None,), (count,))
        )

    total = combined_results([part(0.1, 1), part(0.4, 2)], "").prediction
    assert total.error == (0.3,) and total.count == (3,) and total.shuffled_ratio == (None,)


def test_an_interrupted_evaluation_goes_on_with_the_next_bag(model, bag, tmp_path, monkeypatch):
    second = write_bag(tmp_path / "second")
    evaluated = []

    def interrupted_at_the_second(path, *arguments):
        evaluated.append(path)
        if len(evaluated) == 2:
            raise KeyboardInterrupt
        return evaluate_bag(path, *arguments)

    monkeypatch.setattr(command, "evaluate_bag", interrupted_at_the_second)
    store = PartStore(tmp_path / "parts")
    with pytest.raises(KeyboardInterrupt):
        command.evaluate_bags([bag, second], model, config(bag, second), store)
    resumed = command.evaluate_bags([bag, second], model, config(bag, second), store)
    assert evaluated == [bag, second, second]
    whole = command.evaluate_bags([bag, second], model, config(bag, second), PartStore(None))
    assert [item.result for item in resumed] == [item.result for item in whole]
    for name in ("strips", "best_predictions", "worst_predictions", "landscapes"):
        assert [getattr(item, name) for item in resumed] == [getattr(item, name) for item in whole]
    assert whole[0].best_predictions and whole[0].worst_predictions and whole[0].landscapes


def test_parts_are_kept_for_the_same_recording_card_and_options_alone(model, bag, tmp_path, monkeypatch):
    evaluated = []

    def counted(path, *arguments):
        evaluated.append(path)
        return evaluate_bag(path, *arguments)

    monkeypatch.setattr(command, "evaluate_bag", counted)
    store, copied = PartStore(tmp_path / "parts"), tmp_path / "copied"
    shutil.copytree(bag, copied)
    (first,) = command.evaluate_bags([bag], model, config(bag), store)
    (again,) = command.evaluate_bags([copied], model, config(copied), store)
    assert evaluated == [bag], "the same recording under another name"
    assert again.result == replace(first.result, bag="copied")
    command.evaluate_bags([bag], replace(model, card=replace(model.card, distance="l2")), config(bag), store)
    assert len(evaluated) == 2, "the same weights with another distance"
    torch.manual_seed(1)
    other = replace(model, decoder=PictureDecoder(model.decoder.config).eval())
    (redrawn,) = command.evaluate_bags([bag], other, config(bag), store)
    assert redrawn.result == first.result and redrawn.best_predictions != first.best_predictions
    assert len(evaluated) == 3, "another decoder: other pictures, the same numbers"
    shutil.rmtree(copied)
    write_bag(copied, BagRecipe(encoding="bgr8"))
    command.evaluate_bags([copied], model, config(copied), store)
    assert evaluated == [bag, bag, bag, copied], "a recording that changed in place"
    monkeypatch.setattr("jepa_tools.bag_eval.evaluate.READER_VERSION", READER_VERSION + 1)
    command.evaluate_bags([bag], model, config(bag), store)
    assert evaluated == [bag, bag, bag, copied, bag], "read by other code"


def test_two_evaluations_are_compared_line_by_line(model, bag):
    first, _ = evaluate(model, bag)
    assert "The inputs are the same." in compare(first, first)
    better = replace(first.total, prediction=replace(first.total.prediction, error=(0.001, 0.001, 0.001)))
    text = compare(first, replace(first, total=better, inputs_hash="other", model="new@1"))
    assert "error one step ahead (latent L1)" in text and "B is better" in text and "different units" in text


def test_the_command_writes_json_and_a_report_of_one_file(bag, tmp_path, capsys):
    arguments = ["bag-eval", str(bag), "--planning.samples", "8", "--planning.iterations", "1"]
    outputs = ["--json", str(tmp_path / "a.json"), "--report", str(tmp_path / "report")]
    assert main([*arguments, *outputs]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert page.count("<svg") >= 4 and page.count("data:image/jpeg") >= 10
    assert not re.search(r"(src|href)=\"http", page) and "Most surprising moments" in page
    assert "Does the model use the actions?" in page and "prefers-color-scheme: dark" in page and "@media print" in page
    result = read_result(tmp_path / "a.json")
    assert result.inputs_hash in page and result.inputs_hash[:16] in capsys.readouterr().out
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.json", "report"]
    assert main(["bag-eval", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 0
    assert "The inputs are the same." in capsys.readouterr().out


def test_the_command_says_what_is_wrong(tmp_path, capsys):
    assert main(["bag-eval", str(tmp_path / "absent")]) == 1
    assert "expected a bag, but there is nothing" in capsys.readouterr().err
    (tmp_path / "a.json").write_text("{}")
    assert main(["bag-eval", "--compare", str(tmp_path / "a.json"), str(tmp_path / "a.json")]) == 1
    assert "expected a JSON file of `jepa bag-eval`" in capsys.readouterr().err


def test_thumbnails_keep_the_pictures_shape(model, bag):
    episode = encode_episode(model, read_bag(bag, BagSettings(), 4.0).episodes[0], Stopwatch())
    assert isinstance(episode, EncodedEpisode) and len(episode.thumbnails) == episode.frames == 12


def test_predictions_are_shown_best_and_worst_where_something_changed(model, bag):
    recorded = encode_episode(model, read_bag(bag, BagSettings(), 4.0).episodes[0], Stopwatch())
    errors = predict_episode(model, recorded, PredictionConfig(horizon=3, shuffles=1), np.random.default_rng(0))
    ranked = ranked_predictions(0, errors)
    ratios = [item.ratio for item in ranked]
    assert ratios == sorted(ratios) and len(ranked) < recorded.frames - 3
    item = ranked[0]
    assert item.ratio == pytest.approx(errors.l1.predicted[item.start, 2] / errors.l1.copied[item.start, 2])
    assert errors.l1.copied[item.start, 2] >= np.nanmedian(errors.l1.copied[:, 2])


def test_grids_show_camera_drawn_and_predicted_pictures_and_where_they_differ(model, bag):
    _, evaluated = evaluate(model, bag)
    for grid in (*evaluated[0].best_predictions, *evaluated[0].worst_predictions):
        assert [row.label for row in grid.rows] == ["camera", "what came, drawn", "predicted, drawn", "difference"]
        assert grid.heads == ("start", "+0.25 s", "+0.50 s", "+0.75 s")
        assert all(len(row.pictures) == len(grid.heads) for row in grid.rows)
    without = evaluate(replace(model, decoder=None), bag)[1][0]
    assert not without.best_predictions and without.landscapes and without.result == evaluated[0].result


def test_a_picture_differs_from_itself_nowhere_and_from_another_where_it_does():
    picture = np.full((8, 8, 3), 100, np.uint8)
    other = picture.copy()
    other[2, 3] = 220
    changed = difference(picture, other).astype(int).sum(axis=-1)
    assert np.ptp(difference(picture, picture)[..., 0]) == 0
    assert np.argmax(changed) == 2 * 8 + 3 and (np.sort(changed.ravel())[:-1] == changed[0, 0]).all()


def test_a_landscape_is_the_energy_of_each_step(model):
    generator = np.random.default_rng(0)
    context = torch.from_numpy(generator.normal(size=(1, TOKENS, DIM)).astype(np.float32))
    goal, states = context[0] + 1.0, np.zeros((1, 7))
    landscape = energy_landscape(model, context, states, goal, "title", np.array([0.01, 0.02, -0.03]), (0, 2), 0.1)
    assert landscape.axes == ("x", "z") and landscape.truth_cm == (1.0, -3.0)
    assert (landscape.offsets_cm[0], landscape.offsets_cm[-1]) == (-10.0, 10.0)
    action = np.zeros((1, 1, 7), np.float32)
    action[0, 0, 0], action[0, 0, 2] = 0.01 * landscape.offsets_cm[3], 0.01 * landscape.offsets_cm[12]
    expected = float(model.energy(context, states.astype(np.float32), action, goal))
    assert landscape.energies[12][3] == pytest.approx(expected, rel=1e-4)
    column, row = (landscape.offsets_cm.index(value) for value in landscape.lowest_cm)
    assert landscape.energies[row][column] == np.min(landscape.energies)
