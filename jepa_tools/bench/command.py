"""``jepa bench``: how fast planning, encoding, nodes, training and bags are, and what a model knows of its world."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import subcommand

from jepa_tools.bench.bags import BagsBench, bench_bags
from jepa_tools.bench.encode import EncodeBench, bench_encode
from jepa_tools.bench.node import NodeBench, bench_node
from jepa_tools.bench.plan import PlanBench, bench_plan
from jepa_tools.bench.train import TrainBench, bench_train
from jepa_tools.bench.world import WorldBench, bench_world

BenchConfig = (
    Annotated[PlanBench, subcommand("plan")]
    | Annotated[EncodeBench, subcommand("encode")]
    | Annotated[NodeBench, subcommand("node")]
    | Annotated[TrainBench, subcommand("train")]
    | Annotated[BagsBench, subcommand("bags")]
    | Annotated[WorldBench, subcommand("world")]
)


def bench(config: BenchConfig) -> Path:
    """Run one benchmark, print its table, write its JSON file and return the file's path."""
    if isinstance(config, PlanBench):
        return bench_plan(config)
    if isinstance(config, EncodeBench):
        return bench_encode(config)
    if isinstance(config, TrainBench):
        return bench_train(config)
    if isinstance(config, BagsBench):
        return bench_bags(config)
    if isinstance(config, WorldBench):
        return bench_world(config)
    return bench_node(config)
