"""`bnfold recalibrate`: statistics of batch norms, estimated again from real inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..gate import certificate
from ..pipeline import pipeline
from ..reporting import json as documents
from ..results.model_names import DATA
from ..results.options import Option
from ..results.value_kinds import Data
from . import request
from .ending import Ending, of_recalibration
from .help import Command
from .help import option as grouped
from .options import (
    EXTERNAL_DATA,
    FILE,
    LIMIT,
    NO_READING_BACK,
    OF_IMAGES,
    READ,
    RECALIBRATE,
    REPORT,
    VERIFY,
    WEIGHTS_OUT,
    Row,
    certificate_option,
    options,
)
from .progress import Bar
from .standard_streams import is_mark

INPUTS = Row(
    "recalibrate",
    Option(
        Data(),
        "--inputs",
        "Estimate from this data: .npy, .npz, images or a folder of them; several may follow each other, and "
        "name:DATA is for one input of several (repeatable).",
        "DATA...",
    ),
    "Recalibration",
)
_IMAGES = tuple(row for row in VERIFY if row.name in OF_IMAGES)
_WAYS = tuple(row for row in RECALIBRATE if row.name != "recalibrate")


@click.command(
    "recalibrate",
    cls=Command,
    examples=(
        (
            "From 1,000 pictures; writes net.recalibrated.onnx beside the model.",
            "bnfold recalibrate net.onnx --inputs pictures/ --mean 124,116,104 --std 58,57,57",
        ),
        (
            "A Caffe network, from arrays in two files.",
            "bnfold recalibrate net.prototxt net.caffemodel --inputs one.npy two.npy -o net.onnx",
        ),
        ("Quicker, as PreciseBN does it.", "bnfold recalibrate net.onnx --inputs data.npz --one-pass"),
    ),
)
@click.argument("files", nargs=-1, required=True, type=FILE, metavar="MODEL [WEIGHTS] [OUT]")
@options((INPUTS,), _WAYS, _IMAGES)
@grouped(
    "Output",
    "-o",
    "--out",
    type=FILE,
    metavar="OUT",
    help="Write the model to this file, or to standard output with '-' (default: <stem of "
    "MODEL>.recalibrated.onnx beside it). A .prototxt or .cfg asks for MODEL's own format, with the weights "
    "in a file beside it.",
)
@WEIGHTS_OUT
@EXTERNAL_DATA
@certificate_option("the statistics, for 'bnfold audit'")
@NO_READING_BACK
@options(READ, LIMIT, REPORT)
def command(
    files: tuple[Path, ...],
    out: Path | None,
    weights_out: Path | None,
    certificate_path: Path | None,
    recalibrate: tuple[str, ...],
    **values: Any,
) -> Ending:
    """Estimate mean and variance of every batch norm of MODEL again, from real inputs, and write MODEL with
    these statistics.

    This is no fold: MODEL computes something else afterwards. Use it where the stored statistics do not fit
    the data: after weight averaging, pruning or quantisation, in another domain, or where batches were too
    small in training.
    """
    values["certificate_path"] = certificate_path
    view = request.view_of(values)
    files, more = _told_apart(files)
    values["recalibrate"] = data = (*recalibrate, *more)
    read = [*files, *(Path(file) for text in data for _, file in Data().parse(text))]
    with request.documented("recalibrate", values, read) as content:
        if not files:
            raise UsageError("no model is named", expected="MODEL [WEIGHTS] --inputs DATA")
        if is_mark(weights_out):
            raise UsageError("--weights-out cannot be '-'", expected="the name of a file")
        if not recalibrate:
            raise UsageError(
                "no inputs are given to estimate the statistics from",
                expected="--inputs with a .npy, a .npz or a folder of images",
            )
        with Bar(view) as bar:
            work = request.make(files, out, values, view)
            work = replace(work, weights_out=weights_out, made="recalibrated", say=bar.say, progress=bar.tell)
            if certificate_path is not None:
                work = request.certified(work, certificate_path)
            result = pipeline.recalibrate_file(work)
        request.hand_over(result, work, view)
        content.update(documents.of_recalibration(result))
        if certificate_path is not None:
            text = certificate.text(certificate.made(work, result, certificate_path))
            request.write_file(certificate_path, text)
    request.tell(view, result.origin)
    for finding in result.findings:
        view.warn(str(finding))
    if view.shows_results:
        from ..reporting import text as reports

        view.show(*reports.recalibrated(result, verbose=view.verbose))
    return of_recalibration(result, in_place=work.replaces_source)


def _told_apart(files: tuple[Path, ...]) -> tuple[tuple[Path, ...], tuple[str, ...]]:
    """The model's files, and data that follow the first value of --inputs, as a shell writes *.npy out."""
    models = tuple(path for path in files if not _is_data(path))
    return models, tuple(str(path) for path in files if _is_data(path))


def _is_data(path: Path) -> bool:
    return path.suffix.lower() in DATA or path.is_dir()
