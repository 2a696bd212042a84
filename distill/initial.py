"""Where a student's first weights come from, as settings."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from .pruning import Importance


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Pruned(_Frozen):
    """The student is cut out of its teacher (`pruning`).

    Attributes:
        importance: What makes a channel worth keeping.
    """

    kind: Literal["pruned"] = "pruned"
    importance: Importance = "activation"


class Absorbed(_Frozen):
    """The student has one layer: of the network that is asked for, which is distilled first, the
    layer that absorbs most of the teacher (`absorbed`).
    """  # noqa: D205 -- one sentence

    kind: Literal["attention"] = "attention"


Initial = Annotated[Pruned | Absorbed, Field(discriminator="kind")]
