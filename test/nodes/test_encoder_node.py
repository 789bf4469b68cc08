import time

import cv2
import numpy as np
import pytest
import timm
import torch
from diagnostic_msgs.msg import DiagnosticArray
from jepa_ros.msg import Latent
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

from jepa_common.latent_messages import LatentKind, message_to_latent
from jepa_common.managed_node import NodeStartError
from jepa_common.qos_profiles import camera_qos, latched_qos, latest_qos
from jepa_common.stamps import to_nanoseconds, to_stamp
from jepa_perception.encoder_node import EncoderNode
from jepa_perception.image_conversion import rgb_to_image
from jepa_world_model.world_model import WorldModel


@pytest.fixture
def encoder(nodes, tiny_model):
    node = nodes.make(EncoderNode, model=str(tiny_model.path))
    nodes.run(node.start)
    return node


def camera_image(picture: np.ndarray, seconds: float = 10.0) -> Image:
    header = Header(stamp=to_stamp(round(seconds * 1e9)), frame_id="camera_optical_frame")
    return rgb_to_image(picture, header)


def stamps(messages) -> list[float]:
    return [to_nanoseconds(message.header.stamp) / 1e9 for message in messages]


def test_a_camera_image_becomes_the_models_latent_of_the_same_stamp(nodes, encoder, tiny_model, picture):
    latents = nodes.collect(Latent, "latent", latest_qos())
    camera = nodes.publisher(Image, "image", camera_qos())
    nodes.wait_until(lambda: nodes.client.count_publishers("latent"), "the encoder's publisher")
    camera.publish(camera_image(picture, 12.25))
    nodes.wait_until(lambda: latents, "a latent")
    assert stamps(latents) == [12.25]
    assert latents[0].header.frame_id == "camera_optical_frame"
    assert latents[0].model == tiny_model.model_id
    expected = WorldModel.load(tiny_model.path).encode(picture[None]).numpy()
    np.testing.assert_allclose(message_to_latent(latents[0]), expected, atol=1e-5)


def test_an_encoder_of_timm_is_an_encoder_like_any_other(nodes, picture, tmp_path):
    weights = tmp_path / "weights.pth"
    torch.save(timm.create_model("test_resnet", pretrained=False).state_dict(), weights)
    model = WorldModel.load(f"timm:test_resnet@{weights}")
    nodes.run(nodes.make(EncoderNode, model=f"timm:test_resnet@{weights}").start)
    latents = nodes.collect(Latent, "latent", latest_qos())
    camera = nodes.publisher(Image, "image", camera_qos())
    nodes.wait_until(lambda: nodes.client.count_publishers("latent"), "the encoder's publisher")
    camera.publish(camera_image(picture))
    nodes.wait_until(lambda: latents, "a latent")
    kind = LatentKind(model.card.model_id, model.card.tokens, model.card.dim)
    expected = model.encode(picture[None]).numpy()
    np.testing.assert_allclose(message_to_latent(latents[0], kind), expected, atol=1e-5)


def test_a_compressed_image_gives_the_same_latent(nodes, encoder, picture):
    latents = nodes.collect(Latent, "latent", latest_qos())
    raw, compressed = (
        nodes.publisher(kind, topic, camera_qos())
        for kind, topic in ((Image, "image"), (CompressedImage, "image/compressed"))
    )
    nodes.wait_until(lambda: nodes.client.count_publishers("latent"), "the encoder's publisher")
    raw.publish(camera_image(picture, 1.0))
    nodes.wait_until(lambda: len(latents) == 1, "the raw image's latent")
    message = CompressedImage(format="png", header=Header(stamp=to_stamp(2 * 10**9)))
    message.data.frombytes(cv2.imencode(".png", picture[:, :, ::-1])[1].tobytes())
    compressed.publish(message)
    nodes.wait_until(lambda: len(latents) == 2, "the compressed image's latent")
    np.testing.assert_array_equal(message_to_latent(latents[0]), message_to_latent(latents[1]))


def test_every_goal_of_a_quick_sequence_is_encoded_and_the_last_one_latched(nodes, encoder, picture):
    goal_latents = nodes.collect(Latent, "goal_latent", latched_qos(depth=8))
    goals = nodes.publisher(Image, "goal_image", latched_qos())
    for number in range(1, 4):
        goals.publish(camera_image(picture, number))
    nodes.wait_until(lambda: len(goal_latents) == 3, "three goal latents")
    assert stamps(goal_latents) == [1.0, 2.0, 3.0]
    late = nodes.collect(Latent, "goal_latent", latched_qos())
    nodes.wait_until(lambda: late, "the latched goal latent")
    assert stamps(late) == [3.0]


def test_a_goal_without_a_stamp_is_given_one(nodes, encoder, picture):
    goal_latents = nodes.collect(Latent, "goal_latent", latched_qos())
    nodes.publisher(Image, "goal_image", latched_qos()).publish(rgb_to_image(picture, Header()))
    nodes.wait_until(lambda: goal_latents, "a goal latent")
    assert stamps(goal_latents)[0] > 0.0


def unusable(change) -> Image:
    message = camera_image(np.zeros((4, 4, 3), np.uint8), 1.0)
    change(message)
    return message


@pytest.mark.parametrize(
    ("message", "words"),
    [
        (unusable(lambda m: setattr(m, "encoding", "infrared12")), "'infrared12'"),
        (unusable(lambda m: setattr(m, "height", 0)), "at least one pixel, got 4 x 0"),
        (unusable(lambda m: setattr(m, "step", 3)), "got a step of 3"),
        (unusable(lambda m: setattr(m, "data", m.data[:7])), "got 7"),
        (unusable(lambda m: setattr(m.header, "stamp", to_stamp(0))), "its stamp is zero"),
    ],
)
def test_an_unusable_image_is_reported_and_the_next_one_encoded(nodes, encoder, picture, message, words):
    latents = nodes.collect(Latent, "latent", latest_qos())
    diagnostics = nodes.collect(DiagnosticArray, "/diagnostics", latest_qos())
    camera = nodes.publisher(Image, "image", camera_qos())
    nodes.wait_until(lambda: nodes.client.count_publishers("latent"), "the encoder's publisher")
    camera.publish(message)
    reports = lambda: [words in status.message for array in diagnostics for status in array.status]  # noqa: E731
    nodes.wait_until(lambda: any(reports()), f"a report of {words}")
    camera.publish(camera_image(picture, 2.0))
    nodes.wait_until(lambda: latents, "the next image's latent")
    assert stamps(latents) == [2.0]
    assert encoder.is_active


def test_an_inactive_encoder_is_silent_and_takes_the_latched_goal_once_active(nodes, tiny_model, picture):
    node = nodes.make(EncoderNode, model=str(tiny_model.path))
    node.trigger_configure()
    goal_latents = nodes.collect(Latent, "goal_latent", latched_qos())
    nodes.publisher(Image, "goal_image", latched_qos(), readers=0).publish(camera_image(picture, 5.0))
    assert nodes.client.count_subscribers("goal_image") == 0
    assert goal_latents == []
    node.trigger_activate()
    nodes.wait_until(lambda: goal_latents, "the goal latent")
    assert stamps(goal_latents) == [5.0]


def test_a_missing_checkpoint_is_named_and_the_node_stays(nodes):
    node = nodes.make(EncoderNode, model="no-such-model")
    with pytest.raises(NodeStartError, match="no-such-model"):
        nodes.run(node.start)
    assert node.state_name == "unconfigured"


def test_the_rate_can_be_limited(nodes, tiny_model, picture):
    node = nodes.make(EncoderNode, model=str(tiny_model.path), max_rate=2.0)
    nodes.run(node.start)
    latents = nodes.collect(Latent, "latent", latest_qos())
    camera = nodes.publisher(Image, "image", camera_qos())
    nodes.wait_until(lambda: nodes.client.count_publishers("latent"), "the encoder's publisher")
    for seconds in (1.0, 1.1, 1.2, 1.5):
        camera.publish(camera_image(picture, seconds))
        nodes.wait_until(lambda: len(latents) == (1 if seconds < 1.5 else 2), "the latents")  # noqa: B023
    assert stamps(latents) == [1.0, 1.5]


def test_a_camera_that_is_there_but_silent_is_named_and_subscribed_to_anew(nodes, tiny_model, picture):
    node = nodes.make(EncoderNode, model=str(tiny_model.path), renew_seconds=0.3)
    nodes.run(node.start)
    before = [subscription for subscription in node.subscriptions if subscription.topic_name == "/image"]
    nodes.run(lambda: None)
    camera = nodes.publisher(Image, "image", camera_qos())
    nodes.wait_until(lambda: "nothing came for 0.3 s" in node.health.report().message, "a complaint")
    assert "/test_client publishes it" in node.health.report().message
    nodes.wait_until(
        lambda: [item for item in node.subscriptions if item.topic_name == "/image"] not in ([], before),
        "another subscription",
    )
    latents = nodes.collect(Latent, "latent", latest_qos())
    nodes.wait_until(lambda: nodes.client.count_publishers("latent"), "the encoder's publisher")

    def seen() -> bool:
        # One that is sent while the encoder subscribes anew is lost, as a camera's would be.
        camera.publish(camera_image(picture, time.time()))
        time.sleep(0.05)
        return bool(latents)

    nodes.wait_until(seen, "a latent")


def test_without_a_camera_nothing_is_complained_about(nodes, tiny_model):
    node = nodes.make(EncoderNode, model=str(tiny_model.path), renew_seconds=0.2)
    nodes.run(node.start)
    time.sleep(1.0)
    assert node.health.report().values["errors"] == "0"
