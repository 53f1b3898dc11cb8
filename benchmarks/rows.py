"""What is measured: a row is a model, how it is made, what a tool is given, and which tools can read it."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import foreign
import growing
from models import Chain, make

LARGE = 90e6  # bytes from which on a file counts as large: there start-up no longer decides


@dataclass(frozen=True)
class Row:
    """`make` writes the files into a folder; the first `arguments` of them are what a tool is called with.
    `suffix` is that of the output. A row with `exported` is made by torch, in an environment of its own."""

    make: Callable[[Path], list[Path]] | None = None
    arguments: int = 1
    peers: bool = True
    suffix: str = ".onnx"
    exported: str = ""

    def made(self, folder: Path, torch: str | None) -> list[Path]:
        """The files; `torch` is the Python that has torch and timm."""
        if self.make is not None:
            return self.make(folder)
        assert torch is not None, "rows that torch makes are asked for where it is given"
        script = Path(__file__).with_name("latency_networks.py")
        subprocess.run([torch, str(script), str(folder), self.exported], check=True, capture_output=True)
        return [folder / f"{self.exported}.onnx"]


def chain(blocks: int, channels: int, *, external: bool = False) -> Row:
    """An ONNX model: so many Conv-BN-ReLU."""
    return Row(lambda folder: make(Chain(blocks, channels, external), folder / "model.onnx"))


def grown(make: Callable[[int], growing.Graph], count: int) -> Row:
    """A model with many of one thing (growing.py), which peers are not asked for: some take minutes."""
    return Row(lambda folder: make(count).saved(folder / "model.onnx"), peers=False)


START = "start-up"
ROWS = {
    START: chain(1, 4),
    "10 MB": chain(17, 128),
    "100 MB": chain(42, 256),
    "400 MB": chain(42, 512),
    "1.9 GB": chain(50, 1024),
    "2.3 GB, external data": chain(61, 1024, external=True),
    "5 GB, external data": chain(133, 1024, external=True),
    "CoAtNet, 110 MB": Row(exported="coatnet_0"),
    "20,000 nodes": chain(6_667, 4),
    "100,000 nodes": chain(33_334, 4),
    "1,000 constants that nothing holds": grown(growing.depth, 1_000),
    "30,000 constants that nothing holds": grown(growing.depth, 30_000),
    "400,000 initializers": grown(growing.initializers, 400_000),
    "Caffe, 550 MB": Row(foreign.caffe, 2, peers=False),
    "darknet, 250 MB": Row(foreign.darknet, 2, peers=False),
    "Caffe to Caffe, 550 MB": Row(foreign.caffe, 2, peers=False, suffix=".prototxt"),
    "darknet to darknet, 250 MB": Row(foreign.darknet, 2, peers=False, suffix=".cfg"),
}
# What tells most in a few minutes.
QUICK = (
    START,
    "100 MB",
    "400 MB",
    "20,000 nodes",
    "1,000 constants that nothing holds",
    "30,000 constants that nothing holds",
    "400,000 initializers",
)
