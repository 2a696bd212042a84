"""The lint: hazards in any ONNX file, ours or not, each named with its place and what to do.

Reading a file never runs it, so a hazard is what the file says and not what a run showed. Function
bodies and subgraphs are read like the graph itself.
"""

from .findings import Finding, LintReport
from .operators import known_providers
from .reading import lint, lint_model

__all__ = ["Finding", "LintReport", "known_providers", "lint", "lint_model"]
