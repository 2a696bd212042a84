"""Alignahead: students that teach each other, each layer by a layer of another depth.

No teacher is trained. Every student learns from labels and from the local structure in its peers'
layers, with h the outputs of hidden layers before their activation and L their number:

    p_e  = softmax over the in-edges of i of exp(-‖h[col[e]] - h[i]‖₁ / 100)
    loss = Σ_l mean_i KL(p of the peer's layer l + shift ‖ p of the own layer l)

Layers wrap around: behind the last comes the first. Shift +1 is the published figure (a layer
learns from the peer's next one), -1 is what the released code does, 0 is one-to-one. The softmax of
a kernel is the released code's too. A peer is a teacher that is still learning: `fit_together`
gives each student's term the others' layers.

References:
    Guo et al., "Alignahead: Online Cross-Layer Knowledge Extraction on Graph Neural Networks",
    IJCNN 2022, https://arxiv.org/abs/2205.02468
    Guo et al., "Alignahead++", Neural Computing and Applications 2023,
    https://doi.org/10.1007/s00521-023-08900-7
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from ...kernels import CSRGraph, edge_l1
from ..data import Observed
from ..errors import TapError
from ..labels import label_loss
from ..losses import Pass, Term, given
from .structure import divergence, local_structure


class Alignahead(Term):
    """The structure, and if asked the features, of a peer's shifted layers.

    Args:
        shift: Which of the peer's layers teaches layer l: l + shift.
        features: Weight of Alignahead++'s features, mean over nodes of ‖h - h_peer‖² / width.
    """

    over_edges = True

    def __init__(self, shift: int = 1, features: float = 0.0) -> None:
        super().__init__()
        self.shift = shift
        self.features = features

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the sum over layers.

        Raises:
            TapError: If the two have different layers.
        """
        own, peer = student.layers, given(teacher).layers
        if [h.shape for h in own] != [h.shape for h in peer]:
            raise TapError(
                f"students must have layers of one width, got {[h.shape[1] for h in own]} and "
                f"{[h.shape[1] for h in peer]}"
            )
        order = [(index + self.shift) % len(peer) for index in range(len(peer))]
        structures, others = (_structures(some, data) for some in (student, given(teacher)))
        losses = [
            divergence(structure, others[index]).sum() / len(own[0])
            for structure, index in zip(structures, order, strict=True)
        ]
        if self.features:
            losses += [
                self.features * F.mse_loss(h, peer[index].detach())
                for h, index in zip(own, order, strict=True)
            ]
        return torch.stack(losses).sum()


class DeepSupervision(Term):
    """A classifier on every hidden layer, which is thrown away after training: Σ_l CE(W_l h_l, y).

    Args:
        widths: Width of each layer.
        num_classes: Number of classes.
    """

    def __init__(self, widths: Sequence[int], num_classes: int) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(torch.nn.Linear(width, num_classes) for width in widths)

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the sum over layers of the mean over the training nodes."""
        labels = data.y[data.train]
        losses = [
            label_loss(head(h[data.train]), labels)
            for head, h in zip(self.heads, student.layers, strict=True)
        ]
        return torch.stack(losses).sum()


def _structures(answer: Pass, data: Observed) -> list[Tensor]:
    """Return the local structure of each layer, made once for all peers."""
    return answer.kept(
        "alignahead",
        lambda: [local_structure(h, data.edges, _laplacian) for h in answer.layers],
    )


def _laplacian(layer: Tensor, graph: CSRGraph) -> Tensor:
    return (-edge_l1(graph, layer, layer) / 100).exp()
