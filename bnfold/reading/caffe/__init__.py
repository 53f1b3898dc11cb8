"""Caffe: prototxt and caffemodel to a complete, unfolded model. `sniff` is light; `read` imports what it
needs when it is called."""

from __future__ import annotations

from pathlib import Path

from ...results.options import ReadOptions
from ...results.plan import Loaded
from .prototxt import sniff

__all__ = ["read", "read_pair", "sniff"]


def read(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The model of a prototxt and its weights: standard ONNX operators, batch norms and scales as separate
    nodes.

    network   a prototxt of any generation
    weights   a .caffemodel or .caffemodel.h5; None for networks without weights, or with
              options.random_weights
    Raises Malformed, Mismatch, Unreadable (exit code 3), Unsupported (4) and UsageError (2).
    """
    from .net import read_network

    return read_network(network, weights, options)


def read_pair(network: Path, weights: Path | None, options: ReadOptions) -> Loaded:
    """The same for a result in Caffe's own format: `Loaded.pair` says where everything stands that a fold may
    change, and layers that ONNX cannot express are carried as they are."""
    from .pair import read_pair as read_it

    return read_it(Path(network), Path(weights) if weights is not None else None, options)
