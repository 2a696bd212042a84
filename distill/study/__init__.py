"""Studies: arms × seeds × data sets, paired, tuned with the same budget, resumable."""

from .arms import Place
from .curves import Curves, read_curves
from .diagnostics import read_diagnostics
from .estimate import estimate
from .processes import Progress
from .report import ArmSummary, Summary, reference_of, summarise
from .resuming import TakenOver, kept_files
from .runner import StudyRunner
from .settings import Arm, StudySettings, read_study
from .statistics import Difference, holm, interval, paired

__all__ = [
    "Arm",
    "ArmSummary",
    "Curves",
    "Difference",
    "Place",
    "Progress",
    "StudyRunner",
    "StudySettings",
    "Summary",
    "TakenOver",
    "estimate",
    "holm",
    "interval",
    "kept_files",
    "paired",
    "read_curves",
    "read_diagnostics",
    "read_study",
    "reference_of",
    "summarise",
]
