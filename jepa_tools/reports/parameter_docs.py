"""docs/parameters.md: every parameter of every node, written from where the parameters are declared.

`python -m jepa_tools.reports.parameter_docs` writes it; with `--check` it only says whether it is current, as `make
lint` does.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args, get_origin

from jepa_common.parameters import DeclaredParameter, declared_parameters
from jepa_common.resources import share_folder
from jepa_common.whole_files import write_whole

DOCUMENT = Path("docs", "parameters.md")

_INTRODUCTION = """\
<!-- Written by `python -m jepa_tools.reports.parameter_docs` from the declarations in the code: change those. -->

# Parameters

Every node declares its parameters with description, range and choices; `ros2 param describe /planner solver.samples`
shows them while it runs. Deployments set them in one YAML file: `config/sim.yaml`, `config/robot.yaml`, or your own
with `params_file:=FILE`. Launch arguments count before the file. `ros2 param set` changes those marked *live* while the
node runs; all others can be set while the node is unconfigured. Every node also has `use_sim_time`, and every lifecycle
node `autostart` and `max_silence` (0.7): the time without a sign of life after which it takes another node for hung, s.
"""


@dataclass(frozen=True)
class DocumentedNode:
    """A node, and where its parameters are declared."""

    name: str
    module: str
    parameters: str


NODES = (
    DocumentedNode("encoder", "jepa_perception.encoder_node", "EncoderParameters"),
    DocumentedNode("predictor", "jepa_world_model.predictor_node", "PredictorParameters"),
    DocumentedNode("planner", "jepa_planner.planner_parameters", "PlannerParameters"),
    DocumentedNode("sim", "jepa_sim.sim_node", "SimParameters"),
)


def parameter_document() -> str:
    """The whole document."""
    return "\n".join([_INTRODUCTION, *(_section(node) for node in NODES)])


def _section(node: DocumentedNode) -> str:
    configuration = getattr(importlib.import_module(node.module), node.parameters)
    rows = [_row(declared) for declared in declared_parameters(configuration)]
    head = [f"## {node.name}", "", "| parameter | default | allowed | what it is |", "|---|---|---|---|"]
    return "\n".join([*head, *rows, ""])


def _row(declared: DeclaredParameter) -> str:
    live = " (live)" if declared.info.live else ""
    cells = (f"`{declared.name}`{live}", _value(declared.default), _allowed(declared), declared.info.description)
    return f"| {' | '.join(cell.replace('|', '/') for cell in cells)} |"


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(str(item) for item in value)}]`"
    return f"`{value}`" if value != "" else "empty"


def _allowed(declared: DeclaredParameter) -> str:
    return ", ".join(_constraints(declared)) or _type_name(declared.type)


def _constraints(declared: DeclaredParameter) -> Iterator[str]:
    info = declared.info
    if info.choices:
        yield ", ".join(f"`{choice}`" if choice else "empty" for choice in info.choices)
    if info.minimum is not None and info.maximum is not None:
        yield f"{info.minimum:g} to {info.maximum:g}"
    elif info.minimum is not None:
        yield f"from {info.minimum:g}"
    elif info.maximum is not None:
        yield f"up to {info.maximum:g}"


def _type_name(kind: Any) -> str:
    if get_origin(kind) is tuple:
        return f"list of {_type_name(get_args(kind)[0])}"
    return {bool: "true, false", int: "integer", float: "number", str: "text"}[kind]


def main() -> int:
    """Writes the document of a source tree, or compares it with the code."""
    parser = argparse.ArgumentParser(description="Writes docs/parameters.md from the declarations of the parameters.")
    parser.add_argument("--check", action="store_true", help="write nothing; fail when the document is not current")
    check: bool = parser.parse_args().check
    path = share_folder() / DOCUMENT
    if not check:
        write_whole(path, parameter_document())
        print(path)
    elif not path.exists() or path.read_text(encoding="utf-8") != parameter_document():
        print(f"{path} is not current; run: python -m jepa_tools.reports.parameter_docs", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
