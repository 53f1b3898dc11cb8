"""`bnfold verify`: two models, are they numerically the same?"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..files.discovery import WEIGHTS
from ..pipeline import compare, pipeline
from ..pipeline.job import default_target
from ..reporting import json as documents
from ..results.fold_result import origin_of
from ..results.options import Option, ReadOptions
from ..results.value_kinds import Choice
from . import options as rows
from . import request
from .ending import Ending, of_comparison
from .help import Command
from .options import LIMIT, READ, READ_FILE, REPORT, VERIFY, options

ORACLE = rows.own(
    "Verification",
    "oracle",
    Option(
        Choice(("opencv",)),
        "--oracle",
        "Hold NETWORK WEIGHTS, as bnfold reads them, against OpenCV's reading of the same files.",
    ),
)
_EXPECTED = "REFERENCE [WEIGHTS] CANDIDATE"


@click.command(
    "verify",
    cls=Command,
    examples=(
        ("Is the output of another tool the same model?", "bnfold verify net.onnx optimised.onnx"),
        (
            "A network with weights of its own, on real inputs.",
            "bnfold verify net.prototxt net.caffemodel net.onnx --inputs data:images.npy",
        ),
    ),
)
@click.argument("files", nargs=-1, required=True, type=READ_FILE, metavar=_EXPECTED)
@options((ORACLE,))
@options(VERIFY, READ, LIMIT, REPORT)
def command(files: tuple[Path, ...], oracle: str | None, **values: Any) -> Ending:
    """Run REFERENCE and CANDIDATE on the same inputs and hold both against a float64 run of REFERENCE.

    They are the same when the error of CANDIDATE is within the noise of REFERENCE's own arithmetic.
    """
    view = request.view_of(values)
    with request.documented("verify", values, files) as content:
        network, weights, candidate = _roles(files, oracle)
        rows.check_format(pipeline.kind_of(network), values)
        wanted = rows.verify_options(values)
        assert wanted is not None
        with view.working():
            view.say("reading")
            sides = [pipeline.load(network, weights, rows.read_options(values))]
            if candidate is None:
                report = compare.compare_with_opencv(network, weights, sides[0], wanted, view.say)
            else:
                sides.append(
                    pipeline.load(
                        candidate, None, ReadOptions(freeze_initializers=wanted.freeze_initializers)
                    )
                )
                report = compare.compare(sides[0], sides[1], wanted, view.say)
        strict = rows.read_options(values).strict
        if strict:
            report = report.strictly()
        origins = [origin_of(loaded) for loaded in sides]
        ending = of_comparison(report)
        content.update(
            {
                "code": ending.code,
                "verification": report,
                **{
                    role: documents.of_origin(o)
                    for role, o in zip(("input", "candidate"), origins, strict=False)
                },
            }
        )
    for origin in origins:
        request.tell(view, origin)
    if report.unseen and not strict:
        view.warn(report.unseen)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.comparison(report, verbose=view.verbose))
    return ending


def _is_weights_of(file: Path, network: Path) -> bool:
    """Does a file have the name of weights, as the network's format has them?"""
    return file.suffix.lower() == WEIGHTS.get(network.suffix.lower())


def _roles(files: tuple[Path, ...], oracle: str | None) -> tuple[Path, Path | None, Path | None]:
    """(network, weights, candidate); no candidate where an oracle is asked."""
    if oracle is not None:
        if pipeline.kind_of(files[0]) == "onnx":
            raise UsageError(
                "--oracle is for Caffe and darknet networks",
                way_out="for an ONNX model onnxruntime is the oracle",
            )
        if len(files) > 2:
            raise UsageError(
                f"unexpected argument {files[2]}", expected="--oracle with NETWORK WEIGHTS alone"
            )
        given = files[1] if len(files) == 2 else None
        return files[0], pipeline.weights_for(files[0], given, ReadOptions()), None
    if len(files) == 1 or (len(files) == 2 and _is_weights_of(files[1], files[0])):
        raise UsageError(
            f"{' with '.join(map(str, files))} is the reference, and the candidate is missing",
            expected=_EXPECTED,
            way_out=f"as in 'bnfold verify {shlex.join(map(str, (*files, default_target(files[0]))))}'",
        )
    if len(files) > 3:
        raise UsageError(f"unexpected argument {files[3]}", expected=_EXPECTED)
    network, *weights, candidate = files
    if len(weights) == 1 and pipeline.kind_of(network) == "onnx":
        raise UsageError(
            f"unexpected argument {weights[0]}",
            expected=_EXPECTED,
            way_out=f"{network} is an ONNX model, which carries its weights",
        )
    return network, weights[0] if weights else None, candidate
