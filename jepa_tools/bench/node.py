"""``jepa bench node``: from a camera image's stamp to its latent's arrival, through the real encoder node."""

from __future__ import annotations

import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from jepa_tools.bench.machine import describe_machine
from jepa_tools.bench.report import print_table, write_report

if TYPE_CHECKING:
    from rclpy.publisher import Publisher
    from rclpy.subscription import Subscription
    from sensor_msgs.msg import Image

    from jepa_tools.operation.ros_client import RosClient

_START_SECONDS = 60.0
_LATENT_SECONDS = 10.0
_FIRST_SECONDS = 1.0


@dataclass(frozen=True)
class NodeBench:
    """Time the encoder node.

    Attributes:
        model: checkpoint that the node loads.
        images: how many are sent, one after another's latent has come.
        warm_up: further images before those that count.
        width: pixels.
        height: pixels.
        device: of the node.
        threads: of the node.
        out: the JSON file.
    """

    model: str = "franka-table-small"
    images: int = 100
    warm_up: int = 10
    width: int = 256
    height: int = 256
    device: str = "cpu"
    threads: int = 1
    out: Path = Path("out/bench_node.json")


def bench_node(config: NodeBench) -> Path:
    """Run the benchmark; returns the JSON file."""
    from jepa_tools.bring_up.process_runner import ProcessRunner, ProcessSpec
    from jepa_tools.operation.ros_client import RosClient

    machine = describe_machine(torch.device("cpu"))
    command = (sys.executable, "-m", "jepa_perception.encoder_node", "--ros-args", *_parameters(config))
    with ProcessRunner() as runner, RosClient("bench_node", check=runner.check) as client:
        runner.start(ProcessSpec("encoder", command))
        client.wait_until_active(["encoder"], _START_SECONDS)
        delays = _round_trips(config, client)
    ordered = sorted(1e3 * delay for delay in delays)
    row = {
        "images": len(ordered),
        "median ms": statistics.median(ordered),
        "90 % ms": ordered[int(0.9 * (len(ordered) - 1))],
        "most ms": ordered[-1],
    }
    print_table(f"camera stamp to latent, {config.width} x {config.height}, {config.model}", [row])
    return write_report(config.out, config, machine, {"node": [row], "delays_ms": ordered})


def _parameters(config: NodeBench) -> list[str]:
    values = {"autostart": "true", "model": config.model, "device": config.device, "threads": str(config.threads)}
    return [word for name, value in values.items() for word in ("-p", f"{name}:={value}")]


def _round_trips(config: NodeBench, client: RosClient) -> list[float]:
    """Seconds from each image's stamp to the arrival of its latent."""
    from jepa_ros.msg import Latent
    from sensor_msgs.msg import Image
    from std_msgs.msg import Header

    from jepa_common.qos_profiles import camera_qos, latest_qos
    from jepa_perception.image_conversion import rgb_to_image

    latents = client.node.create_subscription(Latent, "latent", lambda _: None, latest_qos())
    publisher = client.node.create_publisher(Image, "image", camera_qos())
    client.wait_until(lambda: publisher.get_subscription_count() > 0, "the encoder to listen", _START_SECONDS)
    pixels = np.random.default_rng(0).integers(0, 256, (config.height, config.width, 3), dtype=np.uint8)
    image = rgb_to_image(pixels, Header(frame_id="camera_optical_frame"))
    _reach(client, publisher, latents, image)
    delays = [_round_trip(client, publisher, latents, image) for _ in range(config.warm_up + config.images)]
    return delays[config.warm_up :]


def _reach(client: RosClient, publisher: Publisher, latents: Subscription, image: Image) -> None:
    """Sends images until one is answered: the encoder may know this publisher a little later than that one knows it."""
    from jepa_tools.operation.ros_client import RosTimeoutError

    deadline = time.monotonic() + _START_SECONDS
    while True:
        try:
            _round_trip(client, publisher, latents, image, _FIRST_SECONDS)
        except RosTimeoutError:
            if time.monotonic() > deadline:
                raise
        else:
            return


def _round_trip(
    client: RosClient, publisher: Publisher, latents: Subscription, image: Image, patience: float = _LATENT_SECONDS
) -> float:
    from jepa_common.stamps import to_nanoseconds, to_stamp

    sent, arrival = time.time_ns(), 0
    image.header.stamp = to_stamp(sent)
    publisher.publish(image)

    def latent_is_there() -> bool:
        # The middleware notes when a message came, so that looking for it now and then measures no worse.
        nonlocal arrival
        taken = latents.handle.take_message(latents.msg_type, False)
        if taken is not None and to_nanoseconds(taken[0].header.stamp) == sent:
            arrival = taken[1]["received_timestamp"]
        return arrival > 0

    client.wait_until(latent_is_there, "the image's latent", patience)
    return 1e-9 * (arrival - sent)
