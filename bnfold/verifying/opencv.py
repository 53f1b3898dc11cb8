"""Against the original, not only against ourselves: OpenCV runs the Caffe or darknet files, and shares no
code with our readers.

The converted model is the reference here (its float64 run the truth, its run in onnxruntime the yardstick),
OpenCV's answer the candidate. Its algorithms are its own, so the limit on noise is wider than the gate's:
right conversions measure up to a few units, a wrong padding or a layer out of order thousands. For ONNX
sources the oracle is onnxruntime itself: that is `compare`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import Unsupported, UsageError
from ..ir.graph import ir, nodes
from ..ir.provenance import SOURCE_KEY, parse
from ..results.comparison import Comparison, Figures, ProviderResult, Side
from ..results.options import VerifyOptions
from .case import Case, Progress, Runs
from .engines.environment import environment
from .gate import Triple, judge
from .inputs.interface import interface
from .inputs.samples import Unfillable
from .truth.interpreter import CannotEvaluate

LIMIT = 64.0
# Layers that OpenCV's importer gives another meaning than the framework does.
OTHERWISE = {
    "Axpy": "for Axpy Caffe computes a·x + y of its bottoms a, x and y, and OpenCV (seen in 4.14) x + a·y"
}


def against_opencv(
    network: Path, weights: Path | None, model: Side, options: VerifyOptions, progress: Progress | None = None
) -> Comparison:
    """Does the converted model compute what OpenCV computes from the source files?

    `network` is a .prototxt or .cfg, `weights` its .caffemodel or .weights. Raises UsageError where OpenCV is
    not there or too new, Unsupported where it cannot read or run the network.
    """
    started = time.perf_counter()
    net = _load(network, weights)
    try:
        case = Case(model, model, options, interface(model, model), progress or (lambda what, share: None))
        runs = case.reference_runs()
        case.truth(runs)
    except (CannotEvaluate, Unfillable) as error:
        raise Unsupported(
            f"the converted model cannot be run here: {error}", where=model.name or None
        ) from error
    case.progress("running OpenCV", 0.6)
    before = time.perf_counter()
    runs.candidates = [_run(net, feed, case.interface.outputs, network) for feed in runs.feeds]
    runs.seconds = (runs.seconds[0], time.perf_counter() - before)
    figures = tuple(_figures(case, runs, name) for name in case.interface.outputs)
    return replace(_comparison(case, runs, figures), seconds=time.perf_counter() - started, noise_limit=LIMIT)


def _load(network: Path, weights: Path | None) -> Any:
    try:
        import cv2
    except ImportError as error:
        raise UsageError(
            "the oracle needs OpenCV", way_out="pip install 'opencv-python-headless<5'"
        ) from error
    if int(cv2.__version__.split(".")[0]) >= 5:
        raise UsageError(
            f"OpenCV {cv2.__version__} no longer reads Caffe and darknet files",
            expected="OpenCV 4",
            way_out="pip install 'opencv-python-headless<5'",
        )
    readers: dict[str, Any] = {".prototxt": cv2.dnn.readNetFromCaffe, ".cfg": cv2.dnn.readNetFromDarknet}
    reader = readers.get(network.suffix.lower())
    if reader is None or weights is None:
        raise UsageError(
            f"OpenCV cannot be the oracle for '{network.name}'",
            expected="a .prototxt and a .caffemodel, or a .cfg and .weights",
            way_out="for ONNX sources onnxruntime is the oracle: bnfold verify REFERENCE CANDIDATE",
        )
    try:
        net = reader(str(network), str(weights))
    except (cv2.error, SystemError) as error:
        raise Unsupported(
            f"OpenCV {cv2.__version__} cannot read it ({_first(error)})", where=network
        ) from error
    net.enableFusion(False)
    net.enableWinograd(False)
    return net


def _run(
    net: Any, feed: Mapping[str, np.ndarray], outputs: list[str], network: Path
) -> dict[str, np.ndarray]:
    import cv2

    try:
        for name, value in feed.items():
            net.setInput(np.ascontiguousarray(value), *([name] if len(feed) > 1 else []))
        names = list(net.getUnconnectedOutLayersNames())
        found = net.forward(names)
    except cv2.error as error:
        raise Unsupported(
            f"OpenCV {cv2.__version__} cannot run it ({_first(error)})", where=network
        ) from error
    if len(names) != len(outputs):
        raise Unsupported(
            f"OpenCV gives {len(names)} outputs ({', '.join(names)}), the converted model {len(outputs)}",
            where=network,
        )
    by_name = dict(zip(names, found, strict=True))
    return by_name if set(names) == set(outputs) else dict(zip(outputs, found, strict=True))


def _first(error: BaseException) -> str:
    return " ".join(str(error).split())[:200]


def _figures(case: Case, runs: Runs, name: str) -> Figures:
    triples = []
    for truth, reference, candidate in zip(runs.truths, runs.references, runs.candidates, strict=True):
        answer = candidate[name]
        if np.isnan(answer).any() and not np.isnan(truth[name]).any():
            raise Unsupported(
                f"OpenCV's own result for '{name}' contains NaN or infinity",
                way_out="OpenCV cannot be the oracle for this network",
            )
        if answer.size == reference[name].size:  # OpenCV drops and adds axes of one
            answer = answer.reshape(reference[name].shape)
        triples.append(Triple(truth[name], reference[name], answer))
    return judge(name, triples, case.kind(name, triples[0]), replace(case.demands(name, runs), limit=LIMIT))


def _comparison(case: Case, runs: Runs, figures: tuple[Figures, ...]) -> Comparison:
    failed = next((f for f in figures if not f.passed), None)
    noise, error = (
        max((f.noise for f in figures), default=math.nan),
        max((f.candidate_error for f in figures), default=math.nan),
    )
    result = ProviderResult(
        provider="opencv",
        engine="opencv",
        outputs=figures,
        passed=failed is None,
        noise=noise,
        max_error=error,
        seconds=runs.seconds,
    )
    inputs = tuple((name, "x".join(map(str, shape))) for name, shape in case.shapes.items())
    return Comparison(
        equivalent=failed is None,
        providers=(result,),
        noise=noise,
        max_error=error,
        truth=runs.truth,
        seed=case.options.seed,
        inputs=inputs,
        divergence=None,
        reason=f"{failed.value}: {failed.reason}" if failed else "",
        notes=(*case.notes, *_otherwise(case.reference.model)),
        folds=(),
        environment=environment("opencv-python-headless"),
    )


def _otherwise(model: ir.Model) -> list[str]:
    """What OpenCV may compute otherwise in this network, in words."""
    types = {parse(text).type for node in nodes(model) if (text := node.metadata_props.get(SOURCE_KEY))}
    return [text for type_, text in OTHERWISE.items() if type_ in types]
