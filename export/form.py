"""Form: the lowering of a model, and the form it takes the graph in."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from .errors import ExportError

GRAPH_FORMS = ("edge_index", "csr")
LOWERINGS = ("fused", "blocks", "baked")


@dataclass(frozen=True)
class Form:
    """How a network is written; see `export` for what each means.

    Attributes:
        lowering: "fused", "blocks" or "baked".
        graph: "edge_index" or "csr".
        fanouts: In-neighbours in each hop of blocks.
        batch: Seeds in every call of blocks; any number if None.
        fold: Whether weights take in BatchNorms and linear layers.
        fuse: Whether sums and attention are one node with what follows them.

    Raises:
        ExportError: If these do not go together.
    """

    lowering: str = "fused"
    graph: str = "edge_index"
    fanouts: Sequence[int] | None = None
    batch: int | None = None
    fold: bool = True
    fuse: bool = True

    def __post_init__(self) -> None:
        if self.lowering not in LOWERINGS:
            raise ExportError(
                f"lowering must be one of {', '.join(LOWERINGS)}, got {self.lowering!r}"
            )
        if self.graph not in GRAPH_FORMS:
            raise ExportError(f"graph must be one of {', '.join(GRAPH_FORMS)}, got {self.graph!r}")
        if (self.fanouts is None) == (self.lowering == "blocks"):
            raise ExportError('lowering="blocks" and fanouts go together: give both or neither')
        if self.batch is not None and self.lowering != "blocks":
            raise ExportError('batch fixes the number of seeds of lowering="blocks" alone')
        if self.graph == "csr" and self.lowering == "baked":
            raise ExportError('lowering="baked" holds the graph; graph="csr" has no meaning then')

    def check_types(self, typed: bool) -> None:
        """Raise ExportError if a graph of several types has no such form."""
        if self.lowering == "blocks" and (typed or self.graph == "csr"):
            raise ExportError('lowering="blocks" takes a graph of one type of nodes as edge_index')


FORM = {field.name for field in fields(Form)}
