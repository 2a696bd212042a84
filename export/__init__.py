"""Export to ONNX, prove that the export is right, and measure it. Needs torch and onnx.

Names are imported when they are first used: the measuring processes of the harness live in this
package and must not carry torch where what they measure does not.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .checking import CheckReport, check
    from .errors import ExportError
    from .exporter import export
    from .formats import convert
    from .formats.aoti import export_aoti
    from .formats.aoti_session import PackageSession
    from .harness import MeasurementError, measure
    from .manifests import About
    from .opening import open_session
    from .parity import Difference, ParityReport, check_parity
    from .quantisation import (
        AgreementError,
        Evidence,
        QuantisationReport,
        QuantiseSettings,
        quantise,
    )
    from .rebuilding import rebuild
    from .report import Report, Row, Scenario, Settings
    from .runs import export_run

__all__ = [
    "About",
    "AgreementError",
    "CheckReport",
    "Difference",
    "Evidence",
    "ExportError",
    "MeasurementError",
    "PackageSession",
    "ParityReport",
    "QuantisationReport",
    "QuantiseSettings",
    "Report",
    "Row",
    "Scenario",
    "Settings",
    "check",
    "check_parity",
    "convert",
    "export",
    "export_aoti",
    "export_run",
    "measure",
    "open_session",
    "quantise",
    "rebuild",
]

_HOMES = {
    "checking": ("CheckReport", "check"),
    "errors": ("ExportError",),
    "exporter": ("export",),
    "formats": ("convert",),
    "harness": ("MeasurementError", "measure"),
    "formats.aoti": ("export_aoti",),
    "formats.aoti_session": ("PackageSession",),
    "quantisation": (
        "AgreementError",
        "Evidence",
        "QuantisationReport",
        "QuantiseSettings",
        "quantise",
    ),
    "manifests": ("About",),
    "opening": ("open_session",),
    "parity": ("Difference", "ParityReport", "check_parity"),
    "rebuilding": ("rebuild",),
    "report": ("Report", "Row", "Scenario", "Settings"),
    "runs": ("export_run",),
}


def __getattr__(name: str) -> Any:
    for home, names in _HOMES.items():
        if name in names:
            return getattr(importlib.import_module(f".{home}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
