"""The runtimes in which latency is measured: one row each, as users run them, with all optimisations that are
on by default. Only the number of threads is set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from ..engines.providers import CPU
from ..engines.providers import OPTIONS as PROVIDER_OPTIONS

Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], object]


class NotThere(Exception):
    """The runtime did not do what it was asked for. The text says what it did."""


def _onnxruntime(model: Path, provider: str, threads: int) -> Run:
    onnxruntime: Any = import_module("onnxruntime")
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 4
    settings.intra_op_num_threads = threads
    # The other model's process waits for its turn: threads that spin on after a run would be in its way.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    providers: list[Any] = [(provider, PROVIDER_OPTIONS.get(provider, {}))]
    session = onnxruntime.InferenceSession(
        str(model), settings, providers=providers + ([CPU] if provider != CPU else [])
    )
    if provider not in session.get_providers():
        raise NotThere(f"onnxruntime dropped {provider}")
    names = {value.name for value in session.get_inputs()}
    return lambda feeds: session.run(None, {k: v for k, v in feeds.items() if k in names})


def _openvino(model: Path, provider: str, threads: int) -> Run:
    openvino: Any = import_module("openvino")
    settings = {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    compiled = openvino.Core().compile_model(str(model), "CPU", settings)
    names = {name for value in compiled.inputs for name in value.names}
    request = compiled.create_infer_request()
    return lambda feeds: request.infer({k: v for k, v in feeds.items() if k in names})


def _opencv(model: Path, provider: str, threads: int) -> Run:
    cv2: Any = import_module("cv2")
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(str(model))
    outputs = net.getUnconnectedOutLayersNames()

    def run(feeds: Feeds) -> object:
        for name, value in feeds.items():
            net.setInput(np.ascontiguousarray(value), *([name] if len(feeds) > 1 else []))
        return net.forward(outputs)

    return run


RUNTIMES: dict[str, tuple[str, Callable[[Path, str, int], Run]]] = {
    "onnxruntime": ("onnxruntime", _onnxruntime),
    "openvino": ("openvino", _openvino),
    "opencv": ("cv2", _opencv),
}


def opened(runtime: str, model: Path, provider: str, threads: int) -> Run:
    """A model that is ready to run. Raises what the runtime raises, and NotThere."""
    return RUNTIMES[runtime][1](model, provider, threads)


def installed() -> list[str]:
    """The runtimes that are installed."""
    return [name for name, (module, _) in RUNTIMES.items() if find_spec(module) is not None]
