"""Train teachers and distil students on any PyG graph. Needs torch and torch_geometric."""

from . import methods
from .data import NodeData, Observed, Split
from .datasets import digits, load
from .distiller import Distiller, Role, observe
from .errors import DataError, TapError, TrainingError
from .evaluate import accuracies, agreement, predict
from .groups import OnlineSettings, train_together
from .initial import Absorbed, Pruned
from .int8 import Int8Simulation
from .losses import LogitKD, Objective, Pass, Supervised, Term
from .models import Architecture, build, call, hidden_layers
from .online import Peer, fit_together
from .runs import DistillSettings, Run, distill, load as load_run, train
from .selection import Result, TrainSettings
from .single import one_layer_of
from .store import TeacherStore, fingerprint
from .taps import Taps
from .training import fit

__all__ = [
    "Absorbed",
    "Architecture",
    "DataError",
    "DistillSettings",
    "Distiller",
    "Int8Simulation",
    "LogitKD",
    "NodeData",
    "Objective",
    "Observed",
    "OnlineSettings",
    "Pass",
    "Peer",
    "Pruned",
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
    "load",
    "load_run",
    "methods",
    "observe",
    "one_layer_of",
    "predict",
    "train",
    "train_together",
]
