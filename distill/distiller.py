"""Distiller: roles and an objective, for whoever brings the loop.

    distiller = Distiller(Role(student, ["convs.0"]), objective, Role(teacher, ["convs.2"]))
    optimizer = torch.optim.Adam(distiller.parameters())
    for batch in loader:
        losses = distiller(batch)
        losses["total"].backward()
        optimizer.step()
        optimizer.zero_grad()

The teacher is no part of `parameters()` or of the state dict: it runs without gradients, in
evaluation mode. `fit` is a loop over a distiller too.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch_geometric.data import Data, HeteroData

from ..kernels import CSRGraph
from .data import Observed
from .errors import DataError, TrainingError
from .losses import Objective, Pass
from .models import call
from .store import TeacherStore
from .taps import Taps


def feed(module: torch.nn.Module, batch: Any) -> Tensor:
    """Call a network on a batch's features and, if it takes an `edge_index`, on its graph."""
    if isinstance(batch, Observed):
        return call(module, batch.x, batch.graph)
    relations = [batch.edge_type] if "edge_type" in batch else []
    return call(module, batch.x, batch.edge_index, *relations)


@dataclass(frozen=True, eq=False)
class Role:
    """A network, the layers of it that losses see, and how it eats a batch.

    Attributes:
        module: Any module; it is not changed.
        taps: Layers by module path, as in `Taps`.
        feed: Called with module and batch, returns logits [N, C]. A teacher and a student may be
            fed differently: an MLP takes no graph, and of a heterogeneous network's answers it
            picks those of the nodes that are classified.
    """

    module: torch.nn.Module
    taps: Sequence[str] = ()
    feed: Callable[[torch.nn.Module, Any], Tensor] = feed


class Distiller(torch.nn.Module):
    """What a student learns by, as a module: a batch goes in, a dictionary of losses comes out.

    Args:
        student: The network to train.
        objective: The losses. Their parameters are trained too.
        teacher: A network that answers on every batch, a `TeacherStore` that looks answers up by
            the batch's `n_id`, what a frozen teacher answered on the one graph there is (of a
            sampled batch it is looked up too), or None.
        node_type: Of a heterogeneous batch, the type of the nodes that are classified.
        precision: What the student computes in where torch may choose (`torch.autocast`): float32,
            or bfloat16. Losses are float32 in any case.
    """

    def __init__(
        self,
        student: Role,
        objective: Objective,
        teacher: Role | TeacherStore | Pass | None = None,
        *,
        node_type: str | None = None,
        precision: torch.dtype = torch.float32,
    ) -> None:
        super().__init__()
        self._node_type = node_type
        self._precision = precision
        self.student = student.module
        self.objective = objective
        self._feed, self._teacher = student.feed, teacher
        self._watched = Taps(student.module, student.taps)

    def forward(self, batch: Data | HeteroData | Observed) -> dict[str, Tensor]:
        """Return the losses by name, and their weighted sum as "total".

        Args:
            batch: What training may see, or a PyG batch. Where it comes from a neighbour loader,
                losses see its first `batch_size` nodes alone, the seeds, and of those train the
                ones of `train_mask`, or all if there is none. Else the nodes of `train_mask` train.

        Raises:
            DataError: If the batch does not say which nodes train, or labels are out of range.
            TapError: If a layer did not behave.
            TrainingError: If the teacher's answer is not finite, or of another number of nodes.
        """
        own = self.answer(batch)
        data = self._observed(batch, own.logits.shape[1])
        taught = self._taught(batch, data, own.logits.shape[0])
        return self.objective(own, taught, data, list(self.student.parameters()))

    def _observed(self, batch: Data | HeteroData | Observed, num_classes: int) -> Observed:
        if isinstance(batch, Observed):
            return batch
        if isinstance(batch, HeteroData):
            return observed(_one_type(batch, self._node_type), num_classes)
        return observed(batch, num_classes)

    def answer(self, batch: Data | HeteroData | Observed) -> Pass:
        """Run the student and return its logits and tapped layers."""
        lower = self._precision != torch.float32
        with self._watched, torch.autocast(_device(self.student), self._precision, enabled=lower):
            logits = self._feed(self.student, batch)
            answer = Pass(logits, self._watched.outputs())
        return _in_float32(answer) if lower else answer

    def _taught(
        self, batch: Data | HeteroData | Observed, data: Observed, count: int
    ) -> Pass | None:
        if self._teacher is None:
            return None
        if isinstance(self._teacher, Role):
            taught = observe(self._teacher, batch)
        elif data.num_seeds is None and isinstance(self._teacher, Pass):
            taught = self._teacher
        else:
            # of nodes around the seeds only losses over edges want to know
            count = count if self.objective.over_edges else data.num_seeds or count
            taught = _looked_up(self._teacher, data.n_id, count)
        if taught.logits.shape[0] != count:
            raise TrainingError(
                f"the teacher answered for {taught.logits.shape[0]} nodes, the student for "
                f"{count}; both must answer for the nodes of the batch"
            )
        return taught


def _looked_up(teacher: TeacherStore | Pass, n_id: Tensor | None, count: int) -> Pass:
    if n_id is None:
        raise DataError(
            "a teacher's stored answers are looked up by node id: the batch has no n_id"
        )
    return (teacher.rows if isinstance(teacher, Pass) else teacher.look_up)(n_id[:count])


def _one_type(batch: HeteroData, node_type: str | None) -> Data:
    """Return the nodes of one type, and their edges among themselves, if there are any."""
    if node_type not in batch.node_types:
        raise DataError(
            f"a heterogeneous batch needs node_type, one of {', '.join(batch.node_types)}, "
            f"got {node_type}"
        )
    nodes = batch[node_type]
    own = [batch[kind].edge_index for kind in batch.edge_types if kind[0] == kind[2] == node_type]
    none = torch.zeros(2, 0, dtype=torch.int64, device=nodes.x.device)
    return Data(**nodes.to_dict(), edge_index=torch.cat([none, *own], dim=1))


def _device(module: torch.nn.Module) -> str:
    return next((p.device.type for p in module.parameters()), "cpu")


def _in_float32(answer: Pass) -> Pass:
    logits = answer.logits.float()
    return Pass(logits, [logits if h is answer.logits else h.float() for h in answer.layers])


def observe(role: Role, batch: Data | HeteroData | Observed) -> Pass:
    """Run a frozen network once and return its logits and tapped layers.

    Raises:
        TrainingError: If an answer is not finite.
    """
    role.module.eval()
    with torch.no_grad(), Taps(role.module, role.taps) as watched:
        logits = role.feed(role.module, batch)
        answer = Pass(logits, watched.outputs())
    if not bool(logits.isfinite().all()):
        node = int((~logits.isfinite()).any(dim=1).nonzero()[0])
        raise TrainingError(f"the teacher's answer for node {node} is not finite")
    return answer


def observed(batch: Data, num_classes: int) -> Observed:
    """Return what losses see of a PyG batch: labels of all nodes that do not train are hidden.

    Raises:
        DataError: If the batch does not say which nodes train, or labels are out of range.
    """
    x, y, edge_index = batch.x, batch.y, batch.edge_index
    if not isinstance(x, Tensor) or not isinstance(y, Tensor) or edge_index is None:
        raise DataError("a batch needs x, y and edge_index")
    count, mask = batch.get("batch_size"), batch.get("train_mask")
    if count is None and not isinstance(mask, Tensor):
        raise DataError("a batch says which nodes train by batch_size or train_mask; it has none")
    seeds = None if count is None else int(count)
    train = torch.arange(len(y), device=x.device) if mask is None else mask.nonzero().squeeze(1)
    train = train if seeds is None else train[train < seeds]
    graph = batch.get("graph")
    edges = graph if isinstance(graph, CSRGraph) else edge_index
    return Observed.of_batch(x, edges, y, train, num_classes, batch.get("n_id"), seeds)
