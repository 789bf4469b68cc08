"""The short form of `benchmarks/soak.py`: everything that it needs works, and the nodes survive a few of its faults."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FAULTS = (
    "stop predictor",
    "kill -9 planner",
    "nonsense on joint_states",
    "nonsense on latent",
    "nonsense on goal_image",
)
# What is wrong with a command whatever the machine's load.
WRONG_IN_ITSELF = ("position", "velocity", "acceleration", "shape", "finite", "increase", "at its end")


def test_nodes_survive_faults_and_nonsense_and_say_what_they_noticed(tmp_path: Path, ros_domain: int):
    results, command = tmp_path / "soak.json", [sys.executable, str(ROOT / "benchmarks" / "soak.py")]
    command += ["--seconds", "15", "--pause", "0.5", "--seed", "1", "--append", str(results), "--faults", *FAULTS]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=220)
    assert results.exists(), done.stdout[-3000:] + done.stderr[-3000:]
    soaked = json.loads(results.read_text())
    assert soaked["rows"] and [row for row in soaked["rows"] if row["failure"]] == []
    assert soaked["crashes"] == 0 and soaked["commands"] > 0 and soaked["states"] > 0
    found = {violation["kind"] for violation in soaked["violations"] if violation["kind"].startswith("a command")}
    assert not {kind for kind in found if any(word in kind for word in WRONG_IN_ITSELF)}
    assert "| fault | times |" in done.stdout
    assert set(soaked["memory"]) == {"sim", "encoder", "predictor", "planner"}
