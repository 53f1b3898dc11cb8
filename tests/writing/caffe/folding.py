"""Networks folded to prototxt and caffemodel, and what the two pairs compute under the same names."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import bnfold
from bnfold.reading.caffe.caffemodel import load
from bnfold.results.fold_result import FoldResult

from ...reading.caffe.files import Net, caffemodel, input_layer, normal, same

INPUT = input_layer("data", 2, 3, 8, 8)
STATISTICS = [normal(4, seed=1), np.abs(normal(4, seed=2)) + 0.5, np.float32([2.0])]
SCALE = [normal(4, seed=3), normal(4, seed=4)]


def conv(bottom: str, top: str, name: str = "conv", params: str = "", extra: str = "") -> str:
    """A 3 x 3 convolution to 4 channels."""
    return (
        f'layer {{ name: "{name}" type: "Convolution" bottom: "{bottom}" top: "{top}" {extra}\n'
        f"  convolution_param {{ num_output: 4 kernel_size: 3 {params} }} }}\n"
    )


def norm(bottom: str, top: str, name: str = "bn", extra: str = "") -> str:
    """A batch norm and its scale."""
    return (
        f'layer {{ name: "{name}" type: "BatchNorm" bottom: "{bottom}" top: "{top}" {extra} }}\n'
        f'layer {{ name: "{name}/scale" type: "Scale" bottom: "{top}" top: "{top}" {extra}\n'
        "  scale_param { bias_term: true } }\n"
    )


def relu(bottom: str, top: str, name: str = "relu") -> str:
    """A ReLU."""
    return f'layer {{ name: "{name}" type: "ReLU" bottom: "{bottom}" top: "{top}" }}\n'


class Folded:
    """A network, folded in its own format. `text` is the new prototxt, `blobs` the new weights by layer."""

    def __init__(
        self,
        folder: Path,
        text: str,
        layers: dict[str, list[np.ndarray]] | None = None,
        *,
        weights: bytes | None = None,
        **options: object,
    ) -> None:
        self.folder, self.before = folder, text
        self.network, self.weights = folder / "net.prototxt", folder / "net.caffemodel"
        self.network.write_bytes(text.encode())
        self.weights.write_bytes(weights if weights is not None else caffemodel(layers or {}))
        self.out = folder / "merged.prototxt"
        self.result: FoldResult = bnfold.fold_file(self.network, self.weights, out=self.out, **options)
        self.text = self.out.read_bytes().decode()
        self.stored = load(folder / "merged.caffemodel")
        self.blobs = {entry.name: [blob.values() for blob in entry.blobs] for entry in self.stored}

    @property
    def codes(self) -> list[str]:
        """Why something stayed."""
        return [kept.code for kept in self.result.plan.kept]

    def check(self, *names: str, **options: object) -> None:
        """Blobs of the same name have the same values, the outputs and `names` among them."""
        before, after = self._run("net", **options), self._run("merged", **options)
        there = [name for name in after if name in before and "/" not in name]
        assert {*names, *self.outputs} <= set(there)
        for name in there:
            same(after[name], before[name], 2e-5)

    def _run(self, stem: str, **options: object) -> dict[str, np.ndarray]:
        (folder := self.folder / stem).mkdir(exist_ok=True)
        text, weights = (self.folder / f"{stem}{end}" for end in (".prototxt", ".caffemodel"))
        net = Net(folder, text.read_text(), weights=weights.read_bytes(), **options)
        self.outputs = net.outputs
        feeds = {v.name: normal(*v.shape.numpy(), seed=9) for v in net.model.graph.inputs}
        return net.run(**feeds)
