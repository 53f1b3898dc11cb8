"""ONNX files and models: parsed, validated, and brought into the IR. `read` imports what it needs when it is
called."""

from __future__ import annotations

from typing import Any

from ...results.options import ReadOptions
from ...results.plan import Loaded

__all__ = ["read"]


def read(source: Any, options: ReadOptions) -> Loaded:
    """The model of a path, bytes, a ModelProto, an onnx_ir model or an exporter's result.
    Raises Malformed, Unreadable (exit code 3) and Unsupported (4)."""
    from .reader import read as read_model

    return read_model(source, options)
