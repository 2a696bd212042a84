"""Train teachers and distil students on any PyG graph. Needs torch and torch_geometric."""

from .abkd import ABKD
from .data import NodeData, Observed, Split
from .datasets import digits, load
from .errors import DataError, TapError, TrainingError
from .evaluate import accuracies, agreement, predict
from .losses import LogitKD, Objective, Pass, Supervised, Term
from .models import Architecture, build, call, hidden_layers
from .runs import DistillSettings, Run, distill, load as load_run, train
from .taps import Taps
from .training import Result, Student, TrainSettings, fit, observe

__all__ = [
    "ABKD",
    "Architecture",
    "DataError",
    "DistillSettings",
    "LogitKD",
    "NodeData",
    "Objective",
    "Observed",
    "Pass",
    "Result",
    "Run",
    "Split",
    "Student",
    "Supervised",
    "TapError",
    "Taps",
    "Term",
    "TrainSettings",
    "TrainingError",
    "accuracies",
    "agreement",
    "build",
    "call",
    "digits",
    "distill",
    "fit",
    "hidden_layers",
    "load",
    "load_run",
    "observe",
    "predict",
    "train",
]
