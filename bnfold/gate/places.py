"""Where the gate's files lie: a policy in the folder of the call, a certificate beside its model. Apart from
what reads them, because every fold looks whether they are there, and few find them."""

from __future__ import annotations

import os
from pathlib import Path

POLICIES = ("bnfold.toml", "pyproject.toml")
CERTIFICATE = ".cert.json"


def beside(model: Path) -> Path:
    """`net.onnx` -> `net.cert.json`, where `bnfold check` looks for it."""
    return model.with_suffix(CERTIFICATE)


def found_beside(model: Path) -> Path | None:
    """The certificate of a model, if there is one. What lies beside net.prototxt is that of the net.onnx that
    was made of it."""
    path = beside(model)
    return path if model.suffix.lower() == ".onnx" and os.path.isfile(path) else None  # noqa: PTH113 - a name too long is not there
