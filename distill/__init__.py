"""Train teachers and distil students on any PyG graph. Needs torch and torch_geometric."""

from . import methods
from .batches import BatchSettings, NeighborLoader
from .data import NodeData, Observed, Split
from .datasets import digits, load
from .distillation import DistillSettings, distill
from .distiller import Distiller, Role, observe
from .errors import DataError, TapError, TrainingError
from .evaluate import accuracies, agreement, predict
from .groups import OnlineSettings, train_together
from .heterogeneous import HeteroNodeData
from .initial import Absorbed, Pruned
from .int8 import Int8Simulation
from .losses import LogitKD, Objective, Pass, Supervised, Term
from .many_graphs import join
from .models import Architecture, build, call, fitting, hidden_layers, parameters_of
from .online import Peer, fit_together
from .relational import RelationalData
from .runs import Run, load as load_run, train
from .sampler import NeighborSampler, Sample
from .selection import Result, TrainSettings
from .single import one_layer_of
from .store import TeacherStore, fingerprint
from .taps import Taps
from .training import fit

__all__ = [
    "Absorbed",
    "Architecture",
    "BatchSettings",
    "DataError",
    "DistillSettings",
    "Distiller",
    "HeteroNodeData",
    "Int8Simulation",
    "LogitKD",
    "NeighborLoader",
    "NeighborSampler",
    "NodeData",
    "Objective",
    "Observed",
    "OnlineSettings",
    "Pass",
    "Peer",
    "Pruned",
    "RelationalData",
    "Result",
    "Role",
    "Run",
    "Sample",
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
    "fitting",
    "hidden_layers",
    "join",
    "load",
    "load_run",
    "methods",
    "observe",
    "one_layer_of",
    "parameters_of",
    "predict",
    "train",
    "train_together",
]
