"""Hazards of files that are no valid ONNX: what onnx's own checker says."""

from collections.abc import Iterator

import onnx
from google.protobuf.message import EncodeError

from .findings import Finding
from .subject import Subject

_TOO_LARGE = 2**31


def invalid_model(subject: Subject) -> Iterator[Finding]:
    """Find what onnx's checker refuses: missing inputs, wrong attributes, values computed twice.

    Models that keep tensors in other files are not given to it: it would look for the files beside
    the working directory. Those above 2 GiB it cannot take.
    """
    too_new = subject.model.ir_version > onnx.IR_VERSION  # `unknown_version` names it
    if too_new or subject.has_external_data or subject.model.ByteSize() >= _TOO_LARGE:
        return
    try:
        onnx.checker.check_model(subject.model)
    except (onnx.checker.ValidationError, EncodeError, ValueError) as error:
        lines = [line for line in str(error).splitlines() if line.strip()]
        said = lines[0].rstrip(". ") if lines else repr(error)
        advice = "Export it again; what the lint says of an invalid file may be incomplete."
        yield Finding("error", "invalid-model", "", "", "the file", f"{said}.", advice)
