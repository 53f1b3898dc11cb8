"""Execution providers other than the CPU's: really there, really used, in a process of their own.

What users cannot tell apart is taken apart here, all relative to the value's magnitude:

    fold error       candidate against reference on this provider, judged as on the CPU
    provider error   the reference on this provider against the reference on the CPU
    TF32 error       the reference with TF32 against without (CUDA alone; correctness is judged without)
    spread           the reference against itself over REPEATS runs; the gate never demands less

Rule: a provider that is missing, that onnxruntime drops from the session, or that leaves a heavy node to
another one raises ProviderUnavailable. Nothing falls back in silence.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import ProviderUnavailable, UsageError
from ...files.temporary import scratch
from ...records import dataclass
from ...results.comparison import Side
from ...results.options import spelled
from ...results.value_kinds import did_you_mean
from .engines import Values
from .runtime import on_disk

SUFFIX = "ExecutionProvider"
CPU = "CPU" + SUFFIX
REPEATS = 3
TIMEOUT_S = 3600
OPTIONS: dict[str, dict[str, str]] = {"CUDAExecutionProvider": {"cudnn_conv_algo_search": "HEURISTIC"}}
WAY_OUT = {
    "CUDAExecutionProvider": "pip uninstall onnxruntime, then pip install onnxruntime-gpu "
    "(both provide the same module)",
    "TensorrtExecutionProvider": "pip uninstall onnxruntime, then pip install onnxruntime-gpu and tensorrt",
    "OpenVINOExecutionProvider": "pip uninstall onnxruntime, then pip install onnxruntime-openvino",
    "DmlExecutionProvider": "pip uninstall onnxruntime, then pip install onnxruntime-directml (Windows)",
}


def full_name(name: str) -> str:
    """onnxruntime's name of a provider: "cuda" -> "CUDAExecutionProvider". Raises UsageError for one that it
    has never heard of."""
    import onnxruntime

    known: list[str] = onnxruntime.get_all_providers()
    table = {one.lower(): one for one in known} | {one.removesuffix(SUFFIX).lower(): one for one in known}
    found = table.get(name.lower())
    if found is None:
        short = ", ".join(sorted(one.removesuffix(SUFFIX).lower() for one in known))
        raise UsageError(
            f"{spelled('providers')} names '{name}', which is no execution provider of onnxruntime",
            expected=f"one of {short}",
            way_out=did_you_mean(name, short.split(", ")),
        )
    return found


def required(names: Sequence[str]) -> list[str]:
    """Full names of the requested providers. Raises ProviderUnavailable for one that this installation has
    not."""
    import onnxruntime

    available = onnxruntime.get_available_providers()
    wanted = list(dict.fromkeys(full_name(name) for name in names)) or [CPU]
    for name in wanted:
        if name not in available:
            raise ProviderUnavailable(
                f"the execution provider {name} is not available",
                expected=f"one of {', '.join(available)}",
                way_out=WAY_OUT.get(name, "install the build of onnxruntime that has it"),
            )
    return wanted


@dataclass
class ProviderRuns:
    """What a provider computed for each feed; `repeats` are further runs of the reference, `tf32` the
    reference with TF32."""

    provider: str
    references: list[Values] = field(default_factory=list)
    candidates: list[Values] = field(default_factory=list)
    repeats: list[list[Values]] = field(default_factory=list)
    tf32: list[Values] = field(default_factory=list)
    seconds: tuple[float, float] = (0.0, 0.0)
    versions: tuple[tuple[str, str], ...] = ()


def run_on(
    provider: str, reference: Side, candidate: Side, feeds: list[Values], candidate_feeds: list[Values]
) -> ProviderRuns:
    """Both models on one provider. Raises ProviderUnavailable where it is not really used."""
    with on_disk(reference) as one, on_disk(candidate) as two:
        first = _child(provider, one, feeds, REPEATS, tf32=False)
        second = _child(provider, two, candidate_feeds, 1, tf32=False)
        tf32 = _child(provider, one, feeds, 1, tf32=True) if provider == "CUDAExecutionProvider" else None
    runs = ProviderRuns(
        provider,
        first.values[0],
        second.values[0],
        first.values[1:],
        tf32.values[0] if tf32 else [],
        (first.seconds / REPEATS, second.seconds),
    )
    runs.versions = tuple(first.versions.items())
    return runs


@dataclass
class _Answer:
    values: list[list[Values]]
    seconds: float
    versions: dict[str, str]


def _child(provider: str, model: Path, feeds: list[Values], repeats: int, *, tf32: bool) -> _Answer:
    """A process of its own: TF32 is a switch of the whole process, and a driver that dies takes only that one
    down."""
    options = dict(OPTIONS.get(provider, {}))
    if provider == "CUDAExecutionProvider":
        options["use_tf32"] = "1" if tf32 else "0"
    environment = {**os.environ, "NVIDIA_TF32_OVERRIDE": "1" if tf32 else "0", "PYTHONPATH": search_path()}
    if tf32:
        environment.pop("NVIDIA_TF32_OVERRIDE")
    with scratch() as folder:
        for index, feed in enumerate(feeds):
            np.savez(folder / f"feed{index}.npz", **feed)  # type: ignore[arg-type]
        request = {
            "model": str(model.resolve()),
            "provider": provider,
            "options": options,
            "feeds": len(feeds),
            "repeats": repeats,
        }
        (folder / "request.json").write_text(json.dumps(request), encoding="utf-8")
        command = [sys.executable, "-m", "bnfold.verifying.engines.child", str(folder)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
        )
        return _answer(provider, folder, done, len(feeds), repeats)


def search_path() -> str:
    """This package comes first in the child, wherever it was started."""
    root = str(Path(__file__).resolve().parents[3])
    return os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])


def _answer(
    provider: str, folder: Path, done: subprocess.CompletedProcess[str], feeds: int, repeats: int
) -> _Answer:
    place = folder / "answer.json"
    if not place.exists():
        last = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ProviderUnavailable(
            f"the process that ran {provider} ended with code {done.returncode} ({last[:200]})",
            way_out="check the driver and the libraries of this provider",
        )
    answer: dict[str, Any] = json.loads(place.read_text(encoding="utf-8"))
    if "error" in answer:
        raise ProviderUnavailable(
            f"{provider}: {answer['error']}",
            expected="every heavy node on the requested provider",
            way_out=WAY_OUT.get(provider, ""),
        )
    values = [
        [_load(folder, f"out{r}_{i}.npz", answer["outputs"]) for i in range(feeds)] for r in range(repeats)
    ]
    return _Answer(values, answer["seconds"], answer["versions"])


def _load(folder: Path, file: str, names: dict[str, list[str]]) -> Values:
    with np.load(folder / file) as arrays:
        return {name: arrays[f"arr_{index}"] for index, name in enumerate(names[file])}
