"""The planner's process has no torch in it, and neither has one that only reads a checkpoint's card."""

from __future__ import annotations

import subprocess
import sys

import pytest

PLANNER = """
from jepa_planner.planner_node import PlannerNode
from jepa_planner.solvers import SolverConfig, make_solver
from jepa_world_model.checkpoint_header import open_header
for solver in ("cem", "icem", "mppi"):
    make_solver(SolverConfig(solver=solver))
print(open_header("franka-table-small").card.model_id)
"""
DOCTOR = """
from jepa_tools.doctor.weights import model_loads
print(*(finding.status.name for finding in model_loads("franka-table-small")))
"""


@pytest.mark.parametrize(("program", "printed"), [(PLANNER, "franka-table-small@"), (DOCTOR, "OK")])
def test_a_card_is_read_without_torch(program: str, printed: str) -> None:
    program += "import sys\nprint(sorted({'torch', 'timm', 'torchvision'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(printed)
    assert lines[1] == "[]"
