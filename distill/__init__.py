"""Train teachers and distil students on any PyG graph. Needs torch and torch_geometric."""

from . import methods
from .data import NodeData, Observed, Split
from .datasets import digits, load
from .distiller import Distiller, Role, observe
from .errors import DataError, TapError, TrainingError
from .evaluate import accuracies, agreement, predict
from .groups import OnlineSettings, train_together
from .losses import LogitKD, Objective, Pass, Supervised, Term
from .many_graphs import join
from .models import Architecture, build, call, hidden_layers
from .online import Peer, fit_together
from .runs import DistillSettings, Run, distill, load as load_run, train
from .selection import Result, TrainSettings
from .store import TeacherStore, fingerprint
from .taps import Taps
from .training import fit

__all__ = [
    "Architecture",
    "DataError",
    "DistillSettings",
    "Distiller",
    "LogitKD",
    "NodeData",
    "Objective",
    "Observed",
    "OnlineSettings",
    "Pass",
    "Peer",
    "Result",
    "Role",
    "Run",
    "Split",
    "Supervised",
    "TapError",
    "Taps",
    "TeacherStore",
    "Term",
    "TrainSettings",
    "TrainingError",
    "accuracies",
    "agreement",
    "build",
    "call",
    "digits",
    "distill",
    "fingerprint",
    "fit",
    "fit_together",
    "hidden_layers",
    "join",
    "load",
    "load_run",
    "methods",
    "observe",
    "predict",
    "train",
    "train_together",
]
