"""Every option of every command, once: a table of rows, groups of rows for the commands, and the way from
values to records.

Rule 1: an option that was not given is None (or empty), so that what was given can be told from what is
        default.
Rule 2: an option that the format or the call has no use for is said, never ignored (`check_format`,
        `useless`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from ..errors import UsageError
from ..files.memory import UNITS, size_of
from ..results.options import NOISE_LIMIT, FoldOptions, ReadOptions, VerifyOptions
from .limit import limit_time

F = TypeVar("F", bound=Callable[..., Any])
FILE = click.Path(path_type=Path, readable=False)  # whether it can be read is found by reading it
TIMEOUT = 3600  # seconds for one model of many
_LONGEST = 10**9  # seconds


def _size(text: str) -> int:
    """Bytes: a number, or as in 500MB."""
    size = size_of(text)
    if not size:
        raise click.BadParameter(
            f"{text!r} is no size; bytes, or a number of "
            f"{', '.join(unit for unit in UNITS if unit)}, as in 500MB"
        )
    return size


def _seconds(text: str) -> float:
    """A time; 0 for any."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _LONGEST:  # not a number is out of every range, which click's own ranges let pass
        raise click.BadParameter(f"{text!r} is no time; seconds, at most {_LONGEST:,}, or 0 for any")
    return seconds


@dataclass(frozen=True)
class Row:
    """One option: its flags, click's settings, and the formats that it is for (none: for all)."""

    flags: tuple[str, ...]
    help: str
    settings: dict[str, Any]
    formats: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The keyword that click passes it as."""
        return next(
            (f for f in self.flags if not f.startswith("-")), self.flags[-1].lstrip("-").replace("-", "_")
        )

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return max((f for f in self.flags if f.startswith("-")), key=len)

    @property
    def models(self) -> str:
        """Which models it is for, in words."""
        return f"{' and '.join(self.formats)} models"

    def fits(self, format: str) -> bool:
        """Has this format a use for it? One that is not known ("") may have."""
        return not self.formats or not format or format in self.formats


def _row(*flags: str, help: str, format: str = "", **settings: Any) -> Row:
    return Row(flags, help, settings, _formats(format))


def _switch(*flags: str, help: str, format: str = "") -> Row:
    return Row(flags, help, {"is_flag": True}, _formats(format))


def _formats(text: str) -> tuple[str, ...]:
    return tuple(text.split(", ")) if text else ()


READ = (
    _row(
        "--input-shape",
        "input_shapes",
        multiple=True,
        metavar="[NAME:]DIMS",
        help="Shape of an input: data:1,3,224,224 or 1x3x224x224 for the only one.",
    ),
    _switch("--strict", help="Warnings are errors."),
    _row(
        "--opset",
        type=click.IntRange(7),
        format="caffe, darknet",
        metavar="N",
        help="Opset of the model that is built (default 17).",
    ),
    _switch(
        "--freeze-initializers", format="onnx", help="Initializers that a caller may override are constants."
    ),
    _row(
        "--dialect",
        metavar="NAME",
        format="caffe, darknet",
        help="Dialect of the format (default: found from the files).",
    ),
    _row(
        "--random-weights",
        type=int,
        metavar="SEED",
        format="caffe, darknet",
        help="The network alone, with seeded weights and healthy statistics.",
    ),
    _row("--phase", metavar="NAME", format="caffe", help="TEST (default) or TRAIN."),
    _row(
        "--stage",
        "stages",
        multiple=True,
        metavar="NAME",
        format="caffe",
        help="A stage to build (repeatable).",
    ),
    _row("--level", type=int, metavar="N", format="caffe", help="The level to build (default 0)."),
    _row(
        "--cut-at",
        multiple=True,
        metavar="BLOB",
        format="caffe",
        help="End the network at this blob (repeatable).",
    ),
    _switch(
        "--assume-global-stats",
        format="caffe",
        help="BatchNorm layers use their stored statistics, whatever the file says.",
    ),
    _row(
        "--heads",
        type=click.Choice(("layer", "raw", "boxes")),
        format="darknet",
        help="What detection layers give (default layer).",
    ),
    _row(
        "--batch",
        type=click.IntRange(1),
        metavar="N",
        format="darknet",
        help="A fixed batch size (default: any).",
    ),
    _switch(
        "--allow-partial", format="darknet", help="Take a weights file that ends early, as darknet does."
    ),
)
FOLD = (
    _row(
        "--keep", multiple=True, metavar="PATTERN", help="Node names not to touch (repeatable, with * and ?)."
    ),
    _switch(
        "--duplicate-producers",
        help="Fold a node although its producer has other readers: the producer is computed twice.",
    ),
    _switch(
        "--no-merge-branches", help="Leave parallel linear branches apart, though merging them folds more."
    ),
    _switch(
        "--simplify-leftovers",
        help="Bring what stays to its cheapest exact form: affine nodes in a row become one.",
    ),
)
WRITE = (
    _switch("--external-data", help="Weights go to one file beside the model (always so above 2 GB)."),
    _switch("--keep-failed", help="Leave a model that failed verification under another name."),
    _switch("--no-verify", help="Write without checking."),
)
VERIFY = (
    _row("--ep", metavar="NAMES", help="Execution providers to verify on: cpu,cuda (default cpu)."),
    _row(
        "--inputs",
        multiple=True,
        metavar="[NAME:]FILE",
        help="Real inputs: name:file.npy, or a .npz with all.",
    ),
    _row("--mean", metavar="R,G,B", help="Subtracted from the channels of image inputs."),
    _row("--std", metavar="R,G,B", help="Divides the channels of image inputs, after --mean."),
    _row("--layout", type=click.Choice(("NCHW", "NHWC")), help="Layout of image inputs (default NCHW)."),
    _row("--samples", type=click.IntRange(1), metavar="N", help="How many random samples (default 3)."),
    _row("--seed", type=int, metavar="N", help="Seed of the random samples (default 0)."),
    _row(
        "--noise-limit",
        type=float,
        metavar="X",
        help=f"Largest noise ratio that passes (default {NOISE_LIMIT:g}).",
    ),
    _switch("--every-value", help="Judge every value that both models have, not outputs alone."),
    _row(
        "--truth",
        type=click.Choice(("auto", "float64", "unfolded")),
        help="What errors are measured against: a float64 run, or the unfolded model itself (weaker; "
        "for huge models).",
    ),
    _row(
        "--max-memory",
        type=_size,
        metavar="SIZE",
        help="Own memory that verification may take, as in 500MB or 2GiB; mapped files do not count.",
    ),
    _row(
        "--rtol", multiple=True, metavar="[OUTPUT:]X", help="A relative tolerance on top of the noise gate."
    ),
    _row(
        "--atol", multiple=True, metavar="[OUTPUT:]X", help="An absolute tolerance on top of the noise gate."
    ),
)
INTERFACE = (
    _row(
        "--rename",
        multiple=True,
        metavar="A=B",
        help="An input or output that is A in the reference is B in the candidate (repeatable).",
    ),
    _switch("--by-position", help="Pair inputs and outputs by position, whatever their names."),
    _switch("--any-order", help="The same inputs and outputs may stand in another order."),
    _switch("--fixed-shapes", help="A free dim may be a number in the candidate."),
    _switch(
        "--drop-overridable",
        help="The candidate may lack an input that has a default value in the reference.",
    ),
)
BATCH = (
    _row(
        "--jobs",
        type=click.IntRange(1),
        metavar="N",
        help="Models at the same time (default: one for each core).",
    ),
    _row(
        "--scheduler",
        metavar="ADDRESS",
        help="Run on the Dask cluster of this scheduler (tcp://host:8786); its workers need "
        "this bnfold, and the same files under the same paths, or URLs.",
    ),
    _row(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        help=f"Longest time for one model (default {TIMEOUT}; 0: any).",
    ),
    _row(
        "--memory-limit",
        type=_size,
        metavar="SIZE",
        help="Most memory of its own that one model may take, as in '4 GB' (Linux).",
    ),
    _switch("--force", help="Make every model again, finished or not."),
    _row(
        "--policy",
        "policy_path",
        type=FILE,
        metavar="FILE",
        help="Hold every result against a policy, as 'bnfold check' does.",
    ),
    _row(
        "--allow-kept",
        multiple=True,
        metavar="CODE",
        help="A reason for which a batch norm may be kept (repeatable, with *; default: any).",
    ),
    _row(
        "--max-size",
        type=click.IntRange(0),
        metavar="BYTES",
        help="Largest size of a result's files together.",
    ),
    _row("--junit", "junit_path", metavar="PATH", help="Write the result as JUnit XML."),
)
REPORT = (
    _row(
        "--json",
        "json_path",
        metavar="PATH",
        help="Write the result as JSON ('-': to stdout, and nothing else there).",
    ),
    _row(
        "--report",
        "report_path",
        metavar="PATH",
        help="Write the result as a page to look at (HTML, one file).",
    ),
    _switch("-q", "--quiet", "quiet", help="The last line alone."),
    _switch("-v", "--verbose", "verbose", help="Every node of the plan, and the time of each stage."),
)
LIMIT = (
    _row(
        "--timeout",
        type=_seconds,
        metavar="SECONDS",
        expose_value=False,
        is_eager=True,
        callback=limit_time,
        help="Longest time for the whole run; then it is ended, exit code 6, nothing is written "
        "(default 0: any).",
    ),
)
_ROWS = {row.name: row for group in (READ, FOLD, WRITE, VERIFY, INTERFACE, REPORT) for row in group}


def options(*groups: tuple[Row, ...], without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """A decorator that gives a command the options of some groups."""

    def decorate(command: F) -> F:
        for row in reversed([row for group in groups for row in group if row.name not in without]):
            said = f"[{', '.join(row.formats)}] {row.help}" if row.formats else row.help
            command = click.option(*row.flags, help=said, **row.settings)(command)
        return command

    return decorate


def given(values: Mapping[str, Any]) -> list[Row]:
    """The rows of the options that were given."""
    return [row for name, row in _ROWS.items() if _is_given(values.get(name))]


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != ()


def check_format(format: str, values: Mapping[str, Any]) -> None:
    """Refuse an option that this format has no use for."""
    for row in given(values):
        if not row.fits(format):
            raise UsageError(f"{row.flag} is for {row.models}; this one is {format}", way_out="leave it out")


def useless(values: Mapping[str, Any]) -> list[str]:
    """Flags that have no effect beside --no-verify."""
    if not values.get("no_verify"):
        return []
    names = {row.name for row in VERIFY} | {"keep_failed"}
    return [row.flag for row in given(values) if row.name in names]


def read_options(values: Mapping[str, Any]) -> ReadOptions:
    """What reading needs of a command's values."""
    wanted = {k: values[k] for k in ReadOptions.__dataclass_fields__ if _is_given(values.get(k))}
    return ReadOptions(**{**wanted, "input_shapes": shapes(values)})


def fold_options(values: Mapping[str, Any]) -> FoldOptions:
    """What folding needs of a command's values."""
    return FoldOptions(
        keep=tuple(values.get("keep", ())),
        freeze_initializers=bool(values.get("freeze_initializers")),
        duplicate_producers=bool(values.get("duplicate_producers")),
        merge_branches=not values.get("no_merge_branches"),
        simplify_leftovers=bool(values.get("simplify_leftovers")),
    )


def verify_options(values: Mapping[str, Any]) -> VerifyOptions | None:
    """What verification needs of a command's values; None where there is to be none."""
    if values.get("no_verify"):
        return None
    plain = {
        k: values[k]
        for k in ("samples", "seed", "noise_limit", "truth", "layout")
        if values.get(k) is not None
    }
    return VerifyOptions(
        providers=_providers(values.get("ep")),
        input_shapes=shapes(values),
        inputs=tuple(_named(text, "--inputs") for text in values.get("inputs", ())),
        rtol=tuple(_tolerance(text, "--rtol") for text in values.get("rtol", ())),
        atol=tuple(_tolerance(text, "--atol") for text in values.get("atol", ())),
        every_value=bool(values.get("every_value")),
        mean=_numbers(values.get("mean"), "--mean"),
        std=_numbers(values.get("std"), "--std"),
        freeze_initializers=bool(values.get("freeze_initializers")),
        max_memory=values.get("max_memory"),
        rename=tuple(_renaming(text) for text in values.get("rename", ())),
        by_position=bool(values.get("by_position")),
        any_order=bool(values.get("any_order")),
        fixed_shapes=bool(values.get("fixed_shapes")),
        drop_overridable=bool(values.get("drop_overridable")),
        **plain,
    )


def shapes(values: Mapping[str, Any]) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """(input name, dims) of every --input-shape; the name is "" where none was given."""
    return tuple(_shape(text) for text in values.get("input_shapes", ()))


def _shape(text: str) -> tuple[str, tuple[int, ...]]:
    name, _, dims = text.rpartition(":")
    if not re.fullmatch(r"\d+([,x]\d+)*", dims):
        raise UsageError(f"--input-shape {text!r} is no shape", expected="name:1,3,224,224 or 1x3x224x224")
    return name, tuple(int(d) for d in re.split("[,x]", dims))


def _named(text: str, flag: str) -> tuple[str, str]:
    """`name:file`; a file alone has the name "". A path that exists is never split."""
    name, colon, rest = text.partition(":")
    if not colon or Path(text).exists():
        return "", text
    if not rest:
        raise UsageError(
            f"{flag} {text!r} names no file", expected="name:file.npy, or a .npz with all inputs"
        )
    return name, rest


def _renaming(text: str) -> tuple[str, str]:
    before, equals, after = text.partition("=")
    if not (before and equals and after):
        raise UsageError(
            f"--rename {text!r} is no pair of names", expected="A=B: A in the reference, B in the candidate"
        )
    return before, after


def _tolerance(text: str, flag: str) -> tuple[str, float]:
    name, _, number = text.rpartition(":")
    try:
        value = float(number)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise UsageError(f"{flag} {text!r} is no tolerance", expected="1e-4 or output:1e-4")
    return name, value


def _numbers(text: str | None, flag: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(",")) if text else ()
    except ValueError:
        raise UsageError(
            f"{flag} {text!r} are no numbers", expected="one for each channel, as in 123.7,116.8,103.9"
        ) from None


def _providers(text: str | None) -> tuple[str, ...]:
    names = tuple(part.strip() for part in (text or "cpu").split(",") if part.strip())
    if not names:
        raise UsageError(f"--ep {text!r} names no execution provider", expected="cpu,cuda")
    return names
