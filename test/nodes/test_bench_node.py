"""`jepa bench node` measures the real encoder node."""

from __future__ import annotations

import json

from jepa_tools.bench.command import bench
from jepa_tools.bench.node import NodeBench


def test_delays_of_the_encoder_node_are_measured_and_written_down(ros_domain, tiny_model, tmp_path, capsys):
    out = tmp_path / "node.json"
    config = NodeBench(model=str(tiny_model.path), images=3, warm_up=1, width=64, height=48, out=out)
    assert bench(config) == out
    results = json.loads(out.read_text())["results"]
    assert len(results["delays_ms"]) == results["node"][0]["images"] == 3
    # On a machine with anything else to do a delay may be long, but no latent comes before its image.
    assert all(0 < delay < 10_000 for delay in results["delays_ms"])
    assert "camera stamp to latent" in capsys.readouterr().out
