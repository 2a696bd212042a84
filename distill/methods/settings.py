"""Terms as settings: what a file or a command line says of them, checked, and made into modules."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from ..losses import Pass, Rows, Term
from ..schedule import Points
from .abkd import abkd
from .closed_form import cka, unexplained
from .contrast import GCRD
from .features import AttentionTransfer, FitNet
from .mustad import MustaD
from .pairs import AttentionKind
from .stride import stride
from .structure import GSP, LSP, Kernel


class _Setting(BaseModel):
    """What every term has.

    Attributes:
        weight: Weight of the term, or (epoch, weight) points of a `Schedule`.
        cap: How large its gradient may be, relative to that of labels and logits; None: no limit.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: Annotated[float, Field(gt=0)] | Points = 1.0
    cap: float | None = Field(default=None, gt=0)


class _Pairs(_Setting):
    """What terms over all layer pairs have.

    Attributes:
        dim: Width of the common space.
        attention: Which pairs count; see `methods.pairs`.
    """

    dim: int = Field(default=64, gt=0)
    attention: AttentionKind = "learned"


class ABKDSetting(_Pairs):
    """Pooled distances (`methods.abkd`)."""

    term: Literal["abkd"] = "abkd"

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        return abkd(_widths(teacher), _widths(student), self.dim, self.attention)


class STRIDESetting(_Pairs):
    """Distances node by node, and of structure (`methods.stride`)."""

    term: Literal["stride"] = "stride"
    embedding: bool = True
    structure: bool = True
    gamma: float = Field(default=1.0, gt=0)
    temperature: float = Field(default=0.075, gt=0)
    nodes: int = Field(default=128, gt=1)

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        return stride(
            _widths(teacher),
            _widths(student),
            self.dim,
            self.attention,
            embedding=self.embedding,
            structure=self.structure,
            gamma=self.gamma,
            temperature=self.temperature,
            nodes=self.nodes,
        )


class R2Setting(_Pairs):
    """What a ridge regression on the student's layers misses (`methods.closed_form`)."""

    term: Literal["r2"] = "r2"
    attention: AttentionKind = "uniform"
    cap: float | None = Field(default=0.3, gt=0)
    ridge: float = Field(default=1e-3, gt=0)
    nodes: int | None = Field(default=None, gt=1)

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        widths = (_widths(teacher), _widths(student))
        return unexplained(*widths, self.dim, self.attention, ridge=self.ridge, nodes=self.nodes)


class CKASetting(_Pairs):
    """Centred kernel alignment (`methods.closed_form`)."""

    term: Literal["cka"] = "cka"
    attention: AttentionKind = "uniform"
    cap: float | None = Field(default=0.3, gt=0)
    nodes: int | None = Field(default=None, gt=1)

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        widths = (_widths(teacher), _widths(student))
        return cka(*widths, self.dim, self.attention, nodes=self.nodes)


class FitNetSetting(_Setting):
    """Projected features of the last hidden layers (`methods.features`)."""

    term: Literal["fitnet"] = "fitnet"
    dim: int = Field(default=64, gt=0)

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        return FitNet(*_last(teacher, student), self.dim)


class AttentionTransferSetting(_Setting):
    """Where activations are large (`methods.features`)."""

    term: Literal["attention-transfer"] = "attention-transfer"

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term."""
        return AttentionTransfer()


class LSPSetting(_Setting):
    """Similarities along edges (`methods.structure`)."""

    term: Literal["lsp"] = "lsp"
    kernel: Kernel = "rbf"

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term."""
        return LSP(self.kernel)


class GSPSetting(_Setting):
    """Similarities between any two nodes (`methods.structure`)."""

    term: Literal["gsp"] = "gsp"
    kernel: Kernel = "rbf"
    nodes: int = Field(default=512, gt=1)

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term."""
        return GSP(self.kernel, self.nodes)


class GCRDSetting(_Setting):
    """Contrast of nodes (`methods.contrast`)."""

    term: Literal["g-crd"] = "g-crd"
    dim: int = Field(default=64, gt=0)
    temperature: float = Field(default=0.075, gt=0)
    nodes: int = Field(default=2048, gt=1)

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        return GCRD(*_last(teacher, student), self.dim, self.temperature, self.nodes)


class MustaDSetting(_Setting):
    """Predictions and the last hidden layer as distributions (`methods.mustad`).

    The paper's loss is this term beside labels alone: `DistillSettings(alpha=0, terms=(…,))`.
    """

    term: Literal["mustad"] = "mustad"
    predictions: float = Field(default=1.0, ge=0)
    embeddings: float = Field(default=0.01, ge=0)
    temperature: float = Field(default=2.0, gt=0)
    rows: Rows = "train"

    def make(self, teacher: Pass, student: Pass) -> Term:
        """Return the term for what the two networks answered."""
        weights = (self.predictions, self.embeddings)
        return MustaD(*_last(teacher, student), *weights, self.temperature, self.rows)


TermSetting = Annotated[
    ABKDSetting
    | STRIDESetting
    | R2Setting
    | CKASetting
    | FitNetSetting
    | AttentionTransferSetting
    | LSPSetting
    | GSPSetting
    | GCRDSetting
    | MustaDSetting,
    Field(discriminator="term"),
]


def _widths(made: Pass) -> list[int]:
    return [layer.shape[1] for layer in made.layers]


def _last(teacher: Pass, student: Pass) -> tuple[int, int]:
    return teacher.last_hidden.shape[1], student.last_hidden.shape[1]
