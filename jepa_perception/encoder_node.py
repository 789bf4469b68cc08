"""The encoder node: camera and goal images in, latents out. Pixels stop here.

Subscribes to `image`, `image/compressed`, `goal_image` and `goal_image/compressed`; publishes `latent` and
`goal_latent` with the header of the image that caused them.
"""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, TypeAlias

import torch
from jepa_ros.msg import Latent
from rclpy.clock import Clock, ClockType
from sensor_msgs.msg import CompressedImage, Image

from jepa_common.latent_messages import DTYPES, latent_to_message
from jepa_common.latest_slot_worker import LatestSlotWorker
from jepa_common.life_signs import AwakeClock
from jepa_common.managed_node import ManagedNode
from jepa_common.parameters import parameter
from jepa_common.qos_profiles import OVERRIDABLE, camera_qos, latched_qos, latest_qos
from jepa_common.rate_limit import RateLimit
from jepa_common.run_node import run_node
from jepa_common.stamps import to_nanoseconds
from jepa_perception.frame_filter import Decision, FrameFilter
from jepa_perception.image_conversion import compressed_to_rgb, image_to_rgb
from jepa_world_model.world_model import WorldModel

LOG_PERIOD_SECONDS = 2.0
GOAL_DEPTH = 8  # sub-goals come in quick succession
GOAL_BURST = 16
TICK_SECONDS = 0.1  # between two looks for a goal image whose turn has come, and for pictures that do not come

ImageMessage: TypeAlias = Image | CompressedImage


@dataclass(frozen=True)
class EncoderParameters:
    """Parameters of the encoder node."""

    model: str = parameter("franka-table-small", "Checkpoint: a path, or a name in models/checkpoints")
    device: str = parameter("cpu", "Device of the network: cpu, cuda or cuda:<number>")
    dtype: str = parameter("float32", "Arithmetic of the network", choices=("float32", "bfloat16", "float16"))
    latent_dtype: str = parameter("float32", "Numbers in the latent messages", choices=DTYPES)
    threads: int = parameter(1, "CPU threads of an inference; 0 leaves it to torch", minimum=0, maximum=256)
    max_goal_rate: float = parameter(
        5.0, "Goal images encoded per second in the long run, Hz; sixteen may come at once", minimum=0.1, maximum=100.0
    )
    max_rate: float = parameter(0.0, "Camera frames encoded per second, Hz; 0 encodes all", minimum=0.0)
    renew_seconds: float = parameter(
        2.0,
        "Time without a picture from a camera that is there, after which it is subscribed to anew, s; 0: never",
        minimum=0.0,
        maximum=3600.0,
    )


@dataclass(frozen=True)
class _Job:
    """One image to encode and the publisher that its latent goes to."""

    message: ImageMessage
    publisher: Any


class EncoderNode(ManagedNode[EncoderParameters]):
    """Encodes the newest image on a thread of its own; goals wait in their own slots and are never dropped."""

    def __init__(self, **options: Any) -> None:
        """Declares the parameters; `configure` loads the model."""
        super().__init__("encoder", EncoderParameters, **options)

    def configure(self, parameters: EncoderParameters) -> None:
        """Loads the encoder's weights."""
        if parameters.threads:
            torch.set_num_threads(parameters.threads)
        self._latent_dtype = parameters.latent_dtype
        self._model = WorldModel.load(
            parameters.model, device=parameters.device, dtype=parameters.dtype, parts=("encoder",)
        )
        self._filter = FrameFilter(parameters.max_rate)
        self._renew_seconds = parameters.renew_seconds
        self._goal_limit = RateLimit[ImageMessage](parameters.max_goal_rate, GOAL_BURST)
        self._latents = self.publisher_while_configured(Latent, "latent", latest_qos())
        self._goal_latents = self.publisher_while_configured(Latent, "goal_latent", latched_qos())
        self._worker = LatestSlotWorker[_Job]("encoder", self._encode, self._refuse)
        self.configured.callback(self._worker.stop)
        self.get_logger().info(f"encodes with {self._model.card.model_id} on {parameters.device}")

    def activate(self) -> None:
        """Listens to the camera and to goals."""
        self._camera = ExitStack()
        self.activated.push(self._camera)
        self._subscribe_to_camera()
        for topic, message_type in _topics("goal_image"):
            self.subscribe_while_active(message_type, topic, self._on_goal, latched_qos(GOAL_DEPTH))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        timer = self.create_timer(TICK_SECONDS, self._on_tick, clock=steady)
        self.activated.callback(self.destroy_timer, timer)

    def _subscribe_to_camera(self) -> None:
        self._awake = AwakeClock()
        for topic, message_type in _topics("image"):
            subscription = self.create_subscription(
                message_type, topic, self._on_image, camera_qos(), qos_overriding_options=OVERRIDABLE
            )
            self._camera.callback(self.destroy_subscription, subscription)

    def _on_tick(self) -> None:
        message = self._goal_limit.due(time.monotonic())
        if message is not None:
            self._take_goal(message)
        if 0.0 < self._renew_seconds < self._awake.advance():
            self._renew_camera()

    def _renew_camera(self) -> None:
        """No picture came for a while: if there is a camera, the way from it to here is broken."""
        found = {
            f"{info.node_namespace.rstrip('/')}/{info.node_name}"
            for topic, _ in _topics("image")
            for info in self.get_publishers_info_by_topic(self.resolve_topic_name(topic))
        }
        self._awake = AwakeClock()
        if not found:
            return
        self._refuse(
            RuntimeError(
                f"image: nothing came for {self._renew_seconds:g} s although {', '.join(sorted(found))} publishes it: "
                "subscribes anew; if that does not help, start the camera again"
            )
        )
        self._camera.close()
        self._subscribe_to_camera()

    def _on_image(self, message: ImageMessage) -> None:
        self._awake = AwakeClock()
        decision = self._filter.decide(to_nanoseconds(message.header.stamp))
        if decision is Decision.NO_STAMP:
            self._refuse(ValueError(f"image: {decision.value}"))
        elif decision is Decision.TAKE:
            self._worker.submit(_Job(message, self._latents), slot="image")

    def _on_goal(self, message: ImageMessage) -> None:
        if self._goal_limit.offer(message, time.monotonic()):
            self._take_goal(message)
        else:
            self._refuse(ValueError("goal_image: they come faster than max_goal_rate; only the newest is encoded"))

    def _take_goal(self, message: ImageMessage) -> None:
        if to_nanoseconds(message.header.stamp) == 0:
            # A goal's age does not matter, only its name, so a person may leave the stamp out.
            message.header.stamp = self.get_clock().now().to_msg()
        slot = f"goal {to_nanoseconds(message.header.stamp)}"
        self._worker.submit(_Job(message, self._goal_latents), slot)

    def _encode(self, job: _Job) -> None:
        """Encodes and publishes one image, on the worker's thread."""
        start = time.perf_counter()
        convert = compressed_to_rgb if isinstance(job.message, CompressedImage) else image_to_rgb
        latent = self._model.encode(convert(job.message)[None]).cpu().numpy()
        card = self._model.card
        job.publisher.publish(latent_to_message(latent, job.message.header, card.model_id, self._latent_dtype))
        self.health.succeeded(time.perf_counter() - start)

    def _refuse(self, error: Exception) -> None:
        """Reports an image that cannot be used; the node goes on with the next one."""
        if not self.context.ok():
            return  # the node is being ended while the worker publishes
        self.health.failed(str(error))
        self.get_logger().error(str(error), throttle_duration_sec=LOG_PERIOD_SECONDS)


def _topics(image: str) -> tuple[tuple[str, type], ...]:
    """Where pictures called ``image`` come, and as what."""
    return (image, Image), (f"{image}/compressed", CompressedImage)


def main() -> int:
    """Runs the node."""
    return run_node(EncoderNode)


if __name__ == "__main__":
    sys.exit(main())
