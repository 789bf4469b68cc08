"""A benchmark's result: a table for people and a JSON file for machines."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jepa_common.whole_files import write_whole


def print_table(title: str, rows: Sequence[Mapping[str, object]]) -> None:
    """Rows under the names of their entries, right-aligned."""
    names = list(rows[0])
    cells = [names] + [[_text(row.get(name, "")) for name in names] for row in rows]
    widths = [max(len(line[column]) for line in cells) for column in range(len(names))]
    print(title)
    for line in cells:
        print("  " + "  ".join(text.rjust(width) for text, width in zip(line, widths, strict=True)))


def _text(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
    return str(value)


def write_report(path: Path, config: Any, machine: Mapping[str, Any], results: Mapping[str, Any]) -> Path:
    """Write configuration, machine, command, results and the process's largest memory as JSON."""
    report = {
        "command": " ".join(["jepa", *sys.argv[1:]]),
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": dict(machine),
        "config": asdict(config),
        "peak_memory_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20,
        "results": dict(results),
    }
    write_whole(path, json.dumps(report, indent=2, default=str) + "\n")
    return path
