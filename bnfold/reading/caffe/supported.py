"""The table of layers that can be read, for docs/caffe.md: made from the registry, never written by hand."""

from __future__ import annotations

from itertools import groupby

from . import layers as _layers  # noqa: F401  (registers every built-in layer)
from .registry import LAYERS, Kind

FIRST = "<!-- Caffe layers: made by python -m bnfold.reading.caffe.supported -->"
LAST = "<!-- end of Caffe layers -->"
GROUPS = {  # file of the function -> what its layers are
    "convolution": "convolution",
    "pooling": "pooling",
    "batchnorm": "batch norm",
    "coefficient": "scale and bias",
    "normalization": "normalisation",
    "activation": "element-wise",
    "product": "products",
    "shape": "shape",
    "statistics": "statistics",
    "recurrent": "recurrent",
    "ctc": "sequences of labels",
    "resize": "resolution",
    "flow": "optical flow",
    "detection": "detection",
    "region": "regions",
    "loss": "loss and accuracy",
    "data": "data",
    "": "dropped with a note",
}


def group(kind: Kind) -> str:
    """The group of a kind: the file that its function is in."""
    return kind.function.__module__.rpartition(".")[2] if kind.function else ""


def markdown() -> str:
    """The table: a row for each group, layers that are a fork's with its name."""
    order = list(GROUPS)
    kinds = sorted(
        (kind for kind in LAYERS.values() if group(kind) in GROUPS),
        key=lambda kind: (order.index(group(kind)), kind.type.lower()),
    )
    lines = ["| kind | Caffe layers |", "|---|---|"]
    for name, members in groupby(kinds, group):
        lines.append(
            f"| {GROUPS[name]} | "
            + ", ".join(kind.type + (f" ({kind.origin})" if kind.origin else "") for kind in members)
            + " |"
        )
    return "\n".join(lines)


def renewed(text: str) -> str:
    """A text with the table between its two marks renewed."""
    head, _, rest = text.partition(FIRST)
    _, _, tail = rest.partition(LAST)
    return f"{head}{FIRST}\n{markdown()}\n{LAST}{tail}"


if __name__ == "__main__":
    import sys
    from pathlib import Path

    for path in map(Path, sys.argv[1:]):
        path.write_text(renewed(path.read_text()))
