"""Train teachers and distil students on any PyG graph. Needs torch and torch_geometric."""

from . import methods
from .data import NodeData, Observed, Split
from .datasets import digits, load
from .errors import DataError, TapError, TrainingError
from .evaluate import accuracies, agreement, predict
from .groups import OnlineSettings, train_together
from .losses import LogitKD, Objective, Pass, Supervised, Term
from .models import Architecture, build, call, hidden_layers
from .online import Peer, fit_together
from .runs import DistillSettings, Run, distill, load as load_run, train
from .selection import Result, TrainSettings
from .taps import Taps
from .training import Student, fit, observe

__all__ = [
    "Architecture",
    "DataError",
    "DistillSettings",
    "LogitKD",
    "NodeData",
    "Objective",
    "Observed",
    "OnlineSettings",
    "Pass",
    "Peer",
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
    "fit_together",
    "hidden_layers",
    "load",
    "load_run",
    "methods",
    "observe",
    "predict",
    "train",
    "train_together",
]
