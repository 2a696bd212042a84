"""Studies: arms × seeds × data sets, paired, tuned with the same budget, resumable."""

from .estimate import estimate
from .report import Summary, summarise
from .runner import Progress, StudyRunner
from .settings import Arm, StudySettings, read_study
from .statistics import Difference, holm, interval, paired

__all__ = [
    "Arm",
    "Difference",
    "Progress",
    "StudyRunner",
    "StudySettings",
    "Summary",
    "estimate",
    "holm",
    "interval",
    "paired",
    "read_study",
    "summarise",
]
