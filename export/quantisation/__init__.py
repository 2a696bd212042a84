"""Make an exported model smaller and faster, and show what it costs.

`quantise` is the one way in. `rows`, `static` and `storage` change a graph, each in its own way;
`evidence` and `report` say what came of it.
"""

from .evidence import Evidence
from .quantise import AgreementError, measured_processes, quantise
from .report import QuantisationReport
from .settings import QuantiseSettings

__all__ = [
    "AgreementError",
    "Evidence",
    "QuantisationReport",
    "QuantiseSettings",
    "measured_processes",
    "quantise",
]
