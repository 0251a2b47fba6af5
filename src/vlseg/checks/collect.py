"""Cases of the same kind gathered to findings."""

from dataclasses import dataclass, field
from pathlib import Path

from vlseg.records import Finding, Severity

EXAMPLES = 5
FILES = 24
"""Thumbnails a page shows of one finding."""


@dataclass
class Collector:
    """Cases by (code, severity, split, message), in order of first appearance."""

    dataset: str
    cases: dict[tuple[str, Severity, str | None, str], list[tuple[str, tuple[Path, ...]]]] = field(default_factory=dict)

    def add(self, code: str, severity: Severity, split: str | None, message: str, example: str, *files: Path) -> None:
        """One case, with the image and mask files that show it."""
        self.cases.setdefault((code, severity, split, message), []).append((example, files))

    def findings(self) -> list[Finding]:
        """Worst first."""
        order = {"error": 0, "warning": 1, "note": 2}
        found = [
            Finding(
                code=code,
                severity=severity,
                dataset=self.dataset,
                split=split,
                count=len(cases),
                examples=tuple(example for example, _ in cases[:EXAMPLES]),
                message=message,
                files=tuple(file for _, files in cases for file in files)[:FILES],
            )
            for (code, severity, split, message), cases in self.cases.items()
        ]
        return sorted(found, key=lambda finding: order[finding.severity])
