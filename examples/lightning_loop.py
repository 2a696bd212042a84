"""Distil inside PyTorch Lightning: a Distiller is a module, so a LightningModule holds one.

    pip install lightning
    python examples/lightning_loop.py

The digits that come with scikit-learn, 1,797 nodes, whole graph at a time. Lightning brings the
loop, gradient clipping, early stopping by validation and the best checkpoint; batches are PyG's
`Data`.
"""

import logging
import tempfile
import warnings

import lightning as L
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from torch_geometric.data import Data
from torch_geometric.loader import DataLoader
from torch_geometric.nn import GCN

from graphstill.distill import Distiller, LogitKD, Objective, Role, Supervised, digits
from graphstill.distill.methods import abkd
from graphstill.kernels import accelerate

nodes = digits()
mask = torch.zeros(nodes.num_nodes, dtype=torch.bool)
mask[nodes.split.train] = True
graph = Data(x=nodes.x, edge_index=nodes.edge_index, y=nodes.y, train_mask=mask)


def accuracy(model: torch.nn.Module, which: torch.Tensor) -> float:
    """Return accuracy on some nodes."""
    with torch.no_grad():
        right = model(nodes.x, nodes.edge_index).argmax(dim=1) == nodes.y
    return float(right[which].double().mean())


class Distillation(L.LightningModule):
    """What a distiller trains, as Lightning wants it."""

    def __init__(self, distiller: Distiller, lr: float = 0.01) -> None:
        super().__init__()
        self.distiller, self.lr = distiller, lr

    def training_step(self, batch: Data, _: int) -> torch.Tensor:
        losses = self.distiller(batch)
        self.log_dict({f"train/{name}": loss for name, loss in losses.items()}, batch_size=1)
        return losses["total"]

    def on_train_epoch_start(self) -> None:
        self.distiller.objective.begin(self.current_epoch)  # for what changes with the epoch

    def validation_step(self, batch: Data, _: int) -> None:
        self.log("val/accuracy", accuracy(self.distiller.student, nodes.split.val), batch_size=1)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # the student's parameters and those of the terms; the teacher is no part of them
        return torch.optim.Adam(self.parameters(), lr=self.lr)


def fit(distiller: Distiller, epochs: int) -> None:
    """Train with Lightning; the student holds the best epoch's weights afterwards."""
    with tempfile.TemporaryDirectory() as folder:
        best = ModelCheckpoint(folder, monitor="val/accuracy", mode="max")
        stop = EarlyStopping("val/accuracy", patience=20, mode="max")
        trainer = L.Trainer(
            max_epochs=epochs,
            accelerator="cpu",
            callbacks=[best, stop],
            gradient_clip_val=1.0,
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        module = Distillation(distiller)
        trainer.fit(module, DataLoader([graph]), DataLoader([graph]))
        module.load_state_dict(torch.load(best.best_model_path, weights_only=True)["state_dict"])
    distiller.eval()


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*num_workers.*")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    L.seed_everything(0, verbose=False)
    teacher, student = GCN(64, 128, 3, 10, dropout=0.3), GCN(64, 8, 3, 10)
    accelerate(teacher)
    accelerate(student)
    fit(Distiller(Role(teacher), Objective({"labels": (1.0, Supervised())})), epochs=60)

    taps = ["act#0", "act#1"]
    objective = Objective(
        {
            "labels": (0.1, Supervised()),
            "logits": (0.9, LogitKD(temperature=2.0)),
            "layers": (0.01, abkd([128, 128], [8, 8])),
        }
    )
    fit(Distiller(Role(student, taps), objective, Role(teacher, taps)), epochs=150)
    found = [accuracy(model.eval(), nodes.split.test) for model in (teacher, student)]
    print(f"teacher {found[0]:.3f}, student {found[1]:.3f}")
