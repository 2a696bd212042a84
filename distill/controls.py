"""Controls: layers that carry less than a trained teacher's, in their place.

A term over layers can help because of what the teacher knows, or because any target smooths a
student's training. Layers that know nothing tell the two apart.
"""

from collections.abc import Sequence
from typing import Literal

import torch

from .data import Observed
from .distiller import Role, observe
from .losses import Pass
from .models import Architecture, build

Control = Literal["untrained", "shuffled"]


def controlled(
    control: Control,
    taught: Pass,
    architecture: Architecture,
    taps: Sequence[str],
    data: Observed,
    seed: int,
) -> Pass:
    """Return a teacher's pass with its own logits and a control's layers.

    Args:
        control: "untrained": the layers of the same network before training; "shuffled": the
            teacher's layers, each node holding another's.
        taught: What the trained teacher answered.
        architecture: The teacher's.
        taps: Its layers.
        data: The data.
        seed: Seed of initialisation or of the order.
    """
    generator = torch.Generator().manual_seed(seed)
    if control == "shuffled":
        order = torch.randperm(taught.logits.shape[0], generator=generator)
        return Pass(taught.logits, [layer[order] for layer in taught.layers])
    with torch.random.fork_rng(devices=()):
        torch.manual_seed(seed)
        untrained = observe(Role(build(architecture), taps), data)
    return Pass(taught.logits, untrained.layers)
