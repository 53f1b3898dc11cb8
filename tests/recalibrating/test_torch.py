"""torch's `update_bn` on the same network and data (the extra `torch`): in one pass both average the statistics
of the same batches."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from ..models import model
from .nets import CHAIN, data, renewed, stored

torch = pytest.importorskip("torch", reason="torch is not installed (the extra 'torch')")


@pytest.fixture
def twin() -> tuple[Any, onnx.ModelProto]:
    """CHAIN in torch, and as ONNX with the same weights."""
    torch.manual_seed(0)
    nn = torch.nn
    net = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 5, 1, bias=False),
        nn.BatchNorm2d(5),
    )
    with torch.no_grad():
        for norm in (net[1], net[4]):
            norm.weight.uniform_(0.5, 2)
            norm.bias.normal_()
    weights = {
        "w": net[0].weight, "g": net[1].weight, "b": net[1].bias, "m": net[1].running_mean, "v": net[1].running_var,
        "w2": net[3].weight, "g2": net[4].weight, "b2": net[4].bias, "m2": net[4].running_mean, "v2": net[4].running_var,
    }  # fmt: skip
    proto = model(CHAIN)
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(numpy_helper.from_array(weights[tensor.name].detach().numpy(), tensor.name))
    return net, proto


def updated(net: Any, x: np.ndarray, batch: int) -> None:
    batches = [torch.from_numpy(x[at : at + batch]) for at in range(0, len(x), batch)]
    torch.optim.swa_utils.update_bn(batches, net)


def test_one_batch_of_everything(twin: tuple[Any, onnx.ModelProto]) -> None:
    """torch multiplies variances by n/(n-1)."""
    net, proto = twin
    x = data(16)
    updated(net, x, 16)
    made, _ = renewed(proto, np.concatenate([x, x]), one_pass=True, batch_size=16)
    n = 16 * 36
    for norm, mean, variance in ((net[1], "m", "v"), (net[4], "m2", "v2")):
        assert np.allclose(stored(made, mean), norm.running_mean.numpy(), rtol=1e-5, atol=1e-5)
        assert np.allclose(stored(made, variance) * n / (n - 1), norm.running_var.numpy(), rtol=1e-5)


def test_means_of_many_batches(twin: tuple[Any, onnx.ModelProto]) -> None:
    net, proto = twin
    x = data(64)
    updated(net, x, 8)
    made, _ = renewed(proto, x, one_pass=True, batch_size=8)
    for norm, mean in ((net[1], "m"), (net[4], "m2")):
        assert np.allclose(stored(made, mean), norm.running_mean.numpy(), rtol=1e-5, atol=1e-5)


def test_variances_of_many_batches(twin: tuple[Any, onnx.ModelProto]) -> None:
    """torch averages the variances within batches alone; PreciseBN has the one between them as well."""
    net, proto = twin
    x = data(64)
    updated(net, x, 8)
    made, _ = renewed(proto, x, one_pass=True, batch_size=8)
    with torch.no_grad():
        c = net[0](torch.from_numpy(x)).numpy().astype(np.float64)
    between = np.stack([part.mean(axis=(0, 2, 3)) for part in np.split(c, 8)]).var(axis=0)
    n = 8 * 36
    within = net[1].running_var.numpy() * (n - 1) / n
    assert np.allclose(stored(made, "v"), within + between, rtol=1e-5)
