"""bnfold: fold every batch norm that can be folded exactly, in Caffe, darknet and ONNX models, and prove that
nothing changed.

    model  = bnfold.load("net.prototxt", "net.caffemodel")
    result = bnfold.fold(model)
    report = bnfold.verify(model, result.model)
    bnfold.save(result.model, "net.onnx")

The public API and the errors; nothing else is public. Names are imported when they are first used, so that
`import bnfold` costs nothing (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False  # as type checkers know it: `import bnfold` needs no module `typing`
if TYPE_CHECKING:
    from typing import Any

    from .api import convert_file, fold, fold_file, load, recalibrate, save, to_onnx, verify
    from .errors import (
        BnfoldError,
        InputError,
        Malformed,
        Mismatch,
        NotEquivalent,
        ProviderUnavailable,
        Stopped,
        Unreadable,
        Unsupported,
        UsageError,
        WouldReplace,
        WriteError,
    )
    from .results.comparison import Comparison
    from .results.fold_result import FoldResult, Recalibration
    from .version import __version__ as __version__

__all__ = [
    "BnfoldError",
    "Comparison",
    "FoldResult",
    "InputError",
    "Malformed",
    "Mismatch",
    "NotEquivalent",
    "ProviderUnavailable",
    "Recalibration",
    "Stopped",
    "Unreadable",
    "Unsupported",
    "UsageError",
    "WouldReplace",
    "WriteError",
    "convert_file",
    "fold",
    "fold_file",
    "load",
    "recalibrate",
    "save",
    "to_onnx",
    "verify",
]

_FUNCTIONS = {"convert_file", "fold", "fold_file", "load", "recalibrate", "save", "to_onnx", "verify"}
_HOMES = {
    "FoldResult": "results.fold_result",
    "Comparison": "results.comparison",
    "Recalibration": "results.fold_result",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name == "caffe":  # a module of its own: bnfold.caffe.layer
        return import_module(".caffe", __name__)
    if name == "__version__":
        return import_module(".version", __name__).__version__
    if name not in __all__:
        raise AttributeError(f"module 'bnfold' has no attribute '{name}'")
    home = "api" if name in _FUNCTIONS else _HOMES.get(name, "errors")
    found = globals()[name] = getattr(import_module(f".{home}", __name__), name)
    return found


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
