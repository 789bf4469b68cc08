"""``jepa bench``: how fast planning, encoding and the encoder node are on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import subcommand

from jepa_tools.bench.encode import EncodeBench, bench_encode
from jepa_tools.bench.node import NodeBench, bench_node
from jepa_tools.bench.plan import PlanBench, bench_plan

BenchConfig = (
    Annotated[PlanBench, subcommand("plan")]
    | Annotated[EncodeBench, subcommand("encode")]
    | Annotated[NodeBench, subcommand("node")]
)


def bench(config: BenchConfig) -> Path:
    """Run one benchmark, print its table, write its JSON file and return the file's path."""
    if isinstance(config, PlanBench):
        return bench_plan(config)
    if isinstance(config, EncodeBench):
        return bench_encode(config)
    return bench_node(config)
