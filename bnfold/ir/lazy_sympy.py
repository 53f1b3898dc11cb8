"""Import onnx_ir without paying for sympy, until somebody computes with symbolic dimensions.

onnx_ir imports sympy when it is imported and uses it for arithmetic on symbolic dimensions alone, which
bnfold never asks for. That is half of onnx_ir's 0.3 to 0.5 s. While this module imports onnx_ir, the two
modules named in DEFERRED are given Python's own LazyLoader: they are the real modules, executed at the first
access of one of their attributes. Nothing is replaced, and whoever imported sympy before, or uses it later,
gets sympy.

Import this before onnx_ir; only tensor.py and graph.py need to.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from types import ModuleType

DEFERRED = {"sympy", "onnx_ir._symbolic_shapes"}
if "bnfold.cli" in sys.modules:  # a process of our own, which asks neither of these for anything
    DEFERRED |= {
        "google.protobuf.json_format",
        "google.protobuf.text_format",
        "onnx.compose",
        "onnx.gen_proto",
        "onnx.parser",
        "onnx.printer",
        "onnx.utils",
        "onnx.version_converter",
    }


class _Deferring:
    """Finds the modules of DEFERRED where they are anyway, and makes their execution late."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in DEFERRED:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = importlib.util.LazyLoader(spec.loader)
        return spec


_finder = _Deferring()
sys.meta_path.insert(0, _finder)
try:
    import onnx_ir  # noqa: F401
finally:
    sys.meta_path.remove(_finder)
