"""The machine and the libraries for which a verdict is valid."""

from __future__ import annotations

import platform
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

# Builds of onnxruntime: each installs the same module, so only one of them may be there.
ONNXRUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml")
PACKAGES = ("numpy", "onnx", "onnx-ir", *ONNXRUNTIMES)


def environment(*more: str) -> tuple[tuple[str, str], ...]:
    """Versions and the processor's name; what is not there is left out. `more` are further packages."""
    machine = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "cpu": cpu_name(),
    }
    return (*((key, value) for key, value in machine.items() if value), *installed((*PACKAGES, *more)))


def installed(packages: Iterable[str] = PACKAGES) -> tuple[tuple[str, str], ...]:
    """(name, version) of those packages that are installed."""
    found = []
    for package in packages:
        try:
            found.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    return tuple(found)


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
