"""`bnfold bench`: how long do models take, one or two of them?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from ..errors import UsageError
from ..files.discovery import MODELS
from ..pipeline import compare, pipeline
from ..reporting import json as documents
from ..results.fold_result import origin_of
from ..results.options import ReadOptions
from . import options as rows
from . import request
from .ending import Ending, of_bench
from .help import Command
from .options import LIMIT, READ, READ_FILE, REPORT, TIME, TIMED, VERIFY, options

_NOT_TIMED = tuple(row.name for row in VERIFY if row.name not in TIMED)


@click.command(
    "bench",
    cls=Command,
    examples=(
        ("Is the folded model faster?", "bnfold bench net.onnx net.folded.onnx"),
        (
            "Four threads, a batch of eight, on the GPU too.",
            "bnfold bench net.onnx out.onnx --threads 4 --input-shape 8x3x224x224 --ep cpu,cuda",
        ),
    ),
)
@click.argument("files", nargs=-1, required=True, type=READ_FILE, metavar="BEFORE [WEIGHTS] [AFTER]")
@options(TIME, VERIFY, READ, LIMIT, REPORT, without=("time", *_NOT_TIMED))
def command(files: tuple[Path, ...], **values: Any) -> Ending:
    """Measure latency (median and quartiles), load time and memory of BEFORE and AFTER.

    Both run in onnxruntime with its default optimisations, on every provider of --ep, and in OpenVINO and
    OpenCV where they are installed. The two models take turns on the same inputs, so that other load on the
    machine disturbs both alike. Free dims are small unless --input-shape sets them.
    """
    view = request.view_of(values)
    with request.documented("bench", values, files) as content:
        network, weights, after = _roles(files)
        rows.check_format(pipeline.kind_of(network), values)
        inputs = rows.verify_options(values)
        assert inputs is not None
        with view.working():
            view.say("reading")
            read = rows.read_options(values)
            models = [pipeline.load(network, weights, read)]
            if after is not None:
                frozen = ReadOptions(freeze_initializers=read.freeze_initializers)
                models.append(pipeline.load(after, None, frozen))
            found = compare.bench(
                models[0],
                models[1] if after is not None else None,
                rows.time_options(values),
                inputs,
                view.say,
            )
        origins = [origin_of(loaded) for loaded in models]
        content["latency"] = found
        content.update(
            {role: documents.of_origin(o) for role, o in zip(("input", "candidate"), origins, strict=False)}
        )
    for origin in origins:
        request.tell(view, origin)
    if view.shows_results:
        from ..reporting import text

        view.show(*text.latencies(found))
    return of_bench(found)


def _roles(files: tuple[Path, ...]) -> tuple[Path, Path | None, Path | None]:
    """(network, weights, the second model), which is what bears the name of a network behind the first
    file."""
    first, rest = files[0], list(files[1:])
    after = rest.pop() if rest and (rest[-1].suffix.lower() in MODELS or len(rest) > 1) else None
    if len(rest) > 1 or (rest and pipeline.kind_of(first) == "onnx"):
        raise UsageError(
            f"unexpected argument {rest[0]}",
            expected=f"BEFORE [WEIGHTS] [AFTER], where AFTER ends in one of {', '.join(MODELS)}",
        )
    return first, rest[0] if rest else None, after
