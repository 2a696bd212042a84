"""A layer of attention and what follows it, and what may be done to its export."""

from pathlib import Path
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from graphstill.export.passes import ours
from graphstill.export.splitting import split_updates
from graphstill.serve import Bundle, Session


class Network(nn.Module):
    """A layer and what follows it."""

    def __init__(self, conv: nn.Module, after: Any = torch.relu) -> None:
        super().__init__()
        self.conv, self.after = conv, after

    def forward(self, x: Tensor, edge_index: Tensor) -> Tensor:
        return self.after(self.conv(x, edge_index))


def assert_the_same_taken_apart(
    bundle: Bundle, model: onnx.ModelProto, operator: str, path: Path
) -> None:
    """Take a bundle's model apart; check that nothing of one kind is left and answers stay."""
    split_updates(model)
    assert not ours(model, operator)
    onnx.checker.check_model(model)
    files = {n: bundle.read(n) for n in bundle.manifest.files}
    files |= {"model.onnx": model.SerializeToString()}
    split = Bundle.write(path, bundle.manifest, files)
    x, edges = torch.randn(30, 12).numpy(), torch.randint(0, 30, (2, 90)).numpy()
    (wanted,), (got,) = (Session(b)(x=x, edge_index=edges).values() for b in (bundle, split))
    torch.testing.assert_close(torch.from_numpy(got), torch.from_numpy(wanted))
