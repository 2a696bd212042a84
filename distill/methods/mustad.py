"""MustaD: a teacher's logits and last hidden layer, as distributions over classes and channels.

With z the logits, h the last hidden layers and M a trained linear map to the teacher's width, which
is there only where the widths differ, both as means over the training nodes,

    loss = λ_pred · KL(softmax(z_t / T) ‖ softmax(z_s)) + λ_embd · KL(softmax(h_t) ‖ softmax(M h_s))

beside the labels' cross-entropy with weight 1. That only the teacher's logits are divided by T = 2,
and that training nodes alone count, is read from the released code. Its λ are 1 and 0.01 on Cora,
0.1 and 0.01 on CiteSeer, 100 and 10 on PubMed. The student it is meant for is in `shared`.

Reference: Kim, Jung and Kang, "Compressing deep graph convolution network with multi-staged
knowledge distillation", PLoS ONE 2021, https://doi.org/10.1371/journal.pone.0256187, code at
https://github.com/snudatalab/MustaD
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..data import Observed
from ..losses import Pass, Rows, Term, given


class MustaD(Term):
    """Predictions and last hidden embeddings, by Kullback-Leibler divergence.

    Args:
        teacher_width: Width of the teacher's last hidden layer.
        student_width: Width of the student's.
        predictions: λ_pred.
        embeddings: λ_embd.
        temperature: T, of the teacher's logits.
        rows: Which nodes count: those that train, or all.
    """

    def __init__(
        self,
        teacher_width: int,
        student_width: int,
        predictions: float = 1.0,
        embeddings: float = 0.01,
        temperature: float = 2.0,
        rows: Rows = "train",
    ) -> None:
        super().__init__()
        same = teacher_width == student_width
        self.match = torch.nn.Identity() if same else torch.nn.Linear(student_width, teacher_width)
        self.predictions, self.embeddings = predictions, embeddings
        self.temperature = temperature
        self.rows: Rows = rows

    def forward(self, student: Pass, teacher: Pass | None, data: Observed) -> Tensor:
        """Return the weighted sum of both divergences."""
        taught = given(teacher)
        nodes = data.train if self.rows == "train" else slice(None)
        said = _divergence(taught.logits[nodes] / self.temperature, student.logits[nodes])
        embedded = self.match(student.last_hidden[nodes])
        felt = _divergence(taught.last_hidden[nodes], embedded)
        return self.predictions * said + self.embeddings * felt


def _divergence(teacher: Tensor, student: Tensor) -> Tensor:
    """Return KL(softmax(teacher) ‖ softmax(student)), the mean over rows."""
    p, q = F.log_softmax(teacher, dim=1), F.log_softmax(student, dim=1)
    return F.kl_div(q, p, reduction="batchmean", log_target=True)
