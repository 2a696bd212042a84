"""The best student within a budget: a search over kind, depth and width. Needs optuna."""

from .errors import BudgetError
from .front import Facts, best, dominates, front, is_within, nearest
from .run import Found, Watcher, find_student
from .settings import BudgetSettings, Candidate, Limits, Measuring, Space

__all__ = [
    "BudgetError",
    "BudgetSettings",
    "Candidate",
    "Facts",
    "Found",
    "Limits",
    "Measuring",
    "Space",
    "Watcher",
    "best",
    "dominates",
    "find_student",
    "front",
    "is_within",
    "nearest",
]
