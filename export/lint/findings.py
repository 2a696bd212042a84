"""What the lint says: findings, and the report that holds them."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Finding:
    """One hazard at one place.

    Attributes:
        severity: "error" where answers are wrong or the file does not load, "warning" where it is
            slow or right only under a condition, "note" for what is worth knowing.
        hazard: Its name, such as "racing-scatter".
        operator: The operator, empty where the hazard is none of an operator.
        node: The node, tensor or file it is about.
        place: The graph, subgraph or function that holds it.
        message: What is wrong.
        advice: What to do about it.
    """

    severity: Severity
    hazard: str
    operator: str
    node: str
    place: str
    message: str
    advice: str

    def __str__(self) -> str:
        name = " ".join(part for part in (self.operator, self.node) if part)
        where = f"{name} in {self.place}" if name else self.place
        return f"{self.severity}: {self.hazard}: {where}: {self.message} {self.advice}"


@dataclass(frozen=True)
class LintReport:
    """All findings of one file, errors first.

    Attributes:
        path: The file or bundle, empty for a model in memory.
        providers: Execution providers that were asked about.
        findings: What was found.
    """

    path: str
    providers: tuple[str, ...]
    findings: list[Finding]

    @property
    def errors(self) -> list[Finding]:
        """The findings that make a file wrong."""
        return [finding for finding in self.findings if finding.severity == "error"]

    @property
    def ok(self) -> bool:
        """Whether there are no errors."""
        return not self.errors

    @property
    def summary(self) -> str:
        """How many findings there are, in words."""
        counts = [(kind, sum(f.severity == kind for f in self.findings)) for kind in SEVERITIES]
        said = [f"{count} {kind}{'s' * (count > 1)}" for kind, count in counts if count]
        return ", ".join(said) or "nothing found"

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain values."""
        return {
            "path": self.path,
            "ok": self.ok,
            "providers": list(self.providers),
            "findings": [asdict(finding) for finding in self.findings],
        }
