"""The machine and the libraries for which a verdict is valid."""

from __future__ import annotations

import platform
from importlib import metadata
from pathlib import Path


def environment(*more: str) -> tuple[tuple[str, str], ...]:
    """Versions and the processor's name; what is not there is left out. `more` are further packages."""
    found = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
    }
    for package in ("numpy", "onnx", "onnx-ir", "onnxruntime", "onnxruntime-gpu", *more):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return tuple((key, value) for key, value in found.items() if value)


def cpu_name() -> str:
    """As the system tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")),
        platform.processor(),
    )
