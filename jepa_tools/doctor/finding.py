"""What an examination found, and how a person reads it."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from enum import Enum


class Status(Enum):
    """How good a finding is. UNKNOWN could not be checked here, which is no problem by itself."""

    OK = "ok"
    WARNING = "warning"
    PROBLEM = "problem"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: what, in a few words.
        status: how good it is.
        found: what is there, or why it could not be checked.
        remedy: what to do; empty when nothing is to be done.
    """

    subject: str
    status: Status
    found: str
    remedy: str = ""


Check = Callable[[], Iterable[Finding]]


def ok(subject: str, found: str) -> Finding:
    """All is well."""
    return Finding(subject, Status.OK, found)


def warning(subject: str, found: str, remedy: str) -> Finding:
    """Works, but not as well as it could."""
    return Finding(subject, Status.WARNING, found, remedy)


def problem(subject: str, found: str, remedy: str) -> Finding:
    """Something does not work."""
    return Finding(subject, Status.PROBLEM, found, remedy)


def unknown(subject: str, why: str, remedy: str = "") -> Finding:
    """Could not be checked."""
    return Finding(subject, Status.UNKNOWN, why, remedy)


def as_text(findings: Sequence[Finding]) -> str:
    """One line per finding, its remedy below it, and the sum at the end."""
    lines = []
    for finding in findings:
        lines.append(f"{finding.status.value:8s} {finding.subject}: {finding.found}")
        if finding.remedy:
            lines.append(f"{'':8s}   -> {finding.remedy}")
    counts = {status: sum(finding.status is status for finding in findings) for status in Status}
    lines += ["", ", ".join(f"{count} {status.value}" for status, count in counts.items() if count)]
    return "\n".join(lines)


def as_json(findings: Sequence[Finding]) -> str:
    """The findings as a JSON list of objects with subject, status, found and remedy."""
    return json.dumps([asdict(finding) | {"status": finding.status.value} for finding in findings], indent=2)
