"""The formats that a model may be written in as a pair of files, text and weights: PAIRS, one row a format.

What such a pair is made of stands in pair.py, which a model of one file has no need of.
"""

from __future__ import annotations

from pathlib import Path

from ..records import dataclass


@dataclass(frozen=True)
class PairFormat:
    """A format of text and weights, and how its files are called."""

    format: str
    network: str
    weights: str

    def weights_of(self, network: Path) -> Path:
        """`merged.prototxt` -> `merged.caffemodel`, beside it."""
        return network.with_suffix(self.weights)


PAIRS = (PairFormat("caffe", ".prototxt", ".caffemodel"), PairFormat("darknet", ".cfg", ".weights"))


def asked(out: Path | None) -> PairFormat | None:
    """The pair that an output's name asks for; None for ONNX."""
    suffix = out.suffix.lower() if out is not None else ""
    return next((row for row in PAIRS if row.network == suffix), None)


def of_format(format: str) -> PairFormat | None:
    """The pair of a format; None where it is one file."""
    return next((row for row in PAIRS if row.format == format), None)
