"""Distil a student of one layer from a deeper student that is distilled first.

    first/  the run directory of the deeper one
    …       that of the student of one layer

Which layer is kept, and why, is in `absorbed`.
"""

import json
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import safetensors.torch

from .absorbed import absorbing, attention_map, check_linear_ends, layer_of, one_layer
from .data import NodeData
from .directory import OBJECTIVE, SETTINGS
from .distillation import DistillSettings, distill, objective_of, whole_answer
from .distiller import Role, observe
from .errors import TrainingError
from .evaluate import accuracies, predict
from .models import Architecture, build, hidden_layers
from .runs import Run, load
from .selection import TrainSettings


def distill_one_layer(
    teacher: Run,
    architecture: Architecture,
    data: NodeData,
    settings: TrainSettings,
    method: DistillSettings,
    *,
    directory: Path | None = None,
    progress: bool = True,
) -> Run:
    """Distil a deep student, keep the layer that absorbs most of the teacher, and go on with it.

    Arguments as in `distill`; the architecture is the deep student's, the run's that of one layer.
    Its provenance says how accurate it was before it was trained itself.

    Raises:
        ValueError: If no term has learned attention, or the network has no linear ends.
    """
    check_linear_ends(architecture)
    first = method.model_copy(update={"initialise": None})
    with tempfile.TemporaryDirectory() as spare:
        folder = Path(spare) if directory is None else directory / "first"
        distill(teacher, architecture, data, settings, first, directory=folder, progress=progress)
        start = one_layer_of(teacher, folder, data)
    single = method.model_copy(update={"student_layers": None})
    return distill(
        teacher,
        start.architecture,
        data,
        settings,
        single,
        directory=directory,
        progress=progress,
        start=start.module.state_dict(),
    )


def one_layer_of(teacher: Run, directory: Path, data: NodeData) -> Run:
    """Make a network of one layer of a finished run of `distill`, without training it.

    Args:
        teacher: The teacher of that run.
        directory: The run's directory, which holds the attention it learnt.
        data: The data of that run.

    Returns:
        The network of one layer; its provenance says which layer it was, counted from 0, and which
        share of the teacher's layers chose it.

    Raises:
        TrainingError: If the directory holds no finished run, or one of another teacher.
        ValueError: If no term had learned attention, or the network has no linear ends.
    """
    run, settings = load(directory), json.loads((directory / SETTINGS).read_text())
    if settings.get("teacher") != teacher.architecture.model_dump():
        raise TrainingError(f"{directory} holds no student of this teacher")
    check_linear_ends(run.architecture)
    method, observed = DistillSettings(**settings["distill"]), data.observed()
    taught = whole_answer(teacher, observed, method, settings["train"]["seed"])
    taps = list(method.student_layers or hidden_layers(run.module))
    own = observe(Role(run.module, taps), observed)
    objective = objective_of(own, taught, method)
    objective.load_state_dict(_learnt(directory))
    attention = attention_map(objective, own, taught)
    column = absorbing(attention)
    layer = layer_of(taps[column])
    architecture, state = one_layer(run.architecture, run.module.state_dict(), layer)
    module = build(architecture)
    module.load_state_dict(state)
    chosen = (attention.argmax(dim=1) == column).double().mean()
    known: dict[str, Any] = {**run.provenance, "layer": layer, "absorbed": float(chosen)}
    return replace(
        run,
        module=module.eval(),
        architecture=architecture,
        accuracy=accuracies(predict(module, data), data),
        provenance=known,
    )


def _learnt(directory: Path) -> dict[str, Any]:
    try:
        return safetensors.torch.load_file(directory / OBJECTIVE)
    except FileNotFoundError:
        raise ValueError(
            f"{directory} learnt by no term with trained attention; use one such as abkd or stride"
        ) from None
