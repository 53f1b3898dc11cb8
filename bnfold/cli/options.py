"""The options of every command: rows made from the fields of results/options.py, rows that belong to commands
alone, and the way from what click passes to the frozen options.

Rule 1: click passes what was written: a text, or several; True for a switch. The row's kind makes a value of
        it, the same for every door, in `Row.value`. An option that was not given is None (or empty), so that
        what was given can be told from what is default.
Rule 2: an option that the format or the call has no use for is said, never ignored (`check_format`,
        `useless`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import field
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

import click
from click.shell_completion import CompletionItem

from ..batch.downloads import FOLLOW, MOST_WORDS
from ..errors import UsageError
from ..files.discovery import is_url
from ..records import dataclass
from ..results import options as asked
from ..results.options import (
    FoldOptions,
    Option,
    ReadOptions,
    RecalibrateOptions,
    SlimOptions,
    TimeOptions,
    VerifyOptions,
    schema,
)
from ..results.value_kinds import Choice, Codes, Name, Number, Size, Switch, Whole, Wrong, refusal
from .help import option as grouped
from .limit import limit_time
from .standard_streams import received

F = TypeVar("F", bound=Callable[..., Any])
TIMEOUT = 3600  # seconds for one model of many
_LONGEST = 10**9  # seconds
_SECONDS = Number(low=0, high=_LONGEST)
_GROUP_OF: dict[tuple[str, ...], str] = {
    ("caffe",): "Caffe",
    ("darknet",): "darknet",
}  # of options that one format alone has


class _File(click.Path):
    """The path of a file on this machine. Whether it can be read is found by reading it; `-` stands for
    standard input where the command reads the file itself (`reads`)."""

    def __init__(self, *, reads: bool = False) -> None:
        super().__init__(path_type=Path, readable=False)
        self._reads = reads

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises UsageError for a URL, and for an empty name, as an unset variable of a script gives it."""
        if not str(value):
            name = param.opts[0] if isinstance(param, click.Option) else "an argument"
            raise UsageError(f"{name} is empty", expected="the name of a file")
        if is_url(str(value)):
            command = f"'{ctx.command_path}'" if ctx is not None else "this command"
            raise UsageError(
                f"{value} is a URL, and {command} takes files",
                way_out="download it first, or give it to 'bnfold batch', which takes URLs",
            )
        path = Path(super().convert(value, param, ctx))  # type: ignore[arg-type]  # it is one: path_type
        return received(path) if self._reads and ctx is not None and not ctx.resilient_parsing else path


FILE, READ_FILE = _File(), _File(reads=True)


@dataclass(frozen=True)
class Row:
    """One option of the command line.

    name      the keyword that click passes it as
    option    its schema
    group     the group of the help that it stands in
    short     a second, short flag
    default   the value where it is not given
    settings  more of click's settings
    """

    name: str
    option: Option
    group: str
    short: str = ""
    default: Any = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def flag(self) -> str:
        """The flag that messages name."""
        return self.option.flag

    @property
    def is_switch(self) -> bool:
        """Is it given without a value?"""
        return isinstance(self.option.kind, Switch)

    @property
    def help(self) -> str:
        """What it is for, with its default."""
        text = (
            f"[{', '.join(self.option.formats)}] {self.option.help}"
            if self.option.formats
            else self.option.help
        )
        default = self.option.unset or ("" if self.is_switch else _in_words(self.default))
        space = "" if default.startswith(":") else " "
        return f"{text.removesuffix('.')} (default{space}{default})." if default else text

    @property
    def metavar(self) -> str | None:
        """What stands for its value in the help."""
        kind = self.option.kind
        return self.option.metavar or ("|".join(kind.names) if isinstance(kind, Choice) else None)

    def _completions(
        self, context: click.Context, parameter: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """What a shell offers for its value: the names to choose from, or files."""
        kind = self.option.kind
        if isinstance(kind, Choice):
            return [CompletionItem(name) for name in kind.names if name.startswith(incomplete)]
        of_files = any(word in self.option.metavar for word in ("FILE", "PATH", "DATA"))
        return [CompletionItem(incomplete, type="file")] if of_files else []

    def fits(self, format: str) -> bool:
        """Has this format a use for it? One that is not known ("") may have."""
        return not self.option.formats or not format or format in self.option.formats

    def value(self, written: Any) -> Any:
        """What was written, as a value: the one line for the command line and manifests. Raises Wrong."""
        if self.is_switch:  # --no-merge-branches given is merge_branches off
            return not self.default
        kind = self.option.kind
        if not kind.repeatable:
            return kind.parse(written)
        return kind.check(tuple(chain.from_iterable(map(kind.parse, written))))

    def click_option(self) -> Callable[[F], F]:
        """The decorator that gives it to a command."""
        flags = [self.short] if self.short else []
        settings: dict[str, Any] = {"help": self.help, "shell_complete": self._completions, **self.settings}
        if self.is_switch:
            settings["is_flag"] = True
        else:
            settings |= {"metavar": self.metavar, "multiple": self.option.kind.repeatable}
        return grouped(self.group, *flags, self.flag, self.name, **settings)


def _in_words(default: Any) -> str:
    if isinstance(default, tuple):
        return ",".join(map(_in_words, default))
    return "" if default is None else f"{default:g}" if isinstance(default, float) else str(default)


class _Value(click.ParamType):  # type: ignore[type-arg,unused-ignore]  # generic from click 8.5 on
    """A value that its command needs as such: its kind makes it of the text."""

    name = "value"

    def __init__(self, option: Option) -> None:
        self.option = option

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Raises UsageError."""
        if not isinstance(value, str):
            return value
        try:
            made = self.option.kind.parse(value)
        except Wrong as error:
            raise refusal(self.option.flag, value, error) from error
        return made[0] if self.option.kind.repeatable else made


def _rows(options: Any, group: str, *, without: tuple[Row, ...] = ()) -> tuple[Row, ...]:
    """A row for every option of a class, but for those that stand in other rows. What is for one format alone
    has a group of its own."""
    known = {row.name for row in without}
    return tuple(
        Row(
            _parameter(name, option),
            option,
            _GROUP_OF.get(option.formats, group),
            default=options.__dataclass_fields__[name].default,
        )
        for name, option in schema(options).items()
        if option.flag and name not in known
    )


def _parameter(name: str, option: Option) -> str:
    """Switches are named by their flag, which may say the contrary of the keyword."""
    return option.flag.lstrip("-").replace("-", "_") if isinstance(option.kind, Switch) else name


def own(group: str, name: str, option: Option, **settings: Any) -> Row:
    """A row of commands alone: click passes its value."""
    typed = {} if isinstance(option.kind, Switch) else {"type": _Value(option)}
    return Row(name, option, group, settings={**typed, **settings})


def _switch(flag: str, help: str, short: str = "", *, group: str = "Output") -> Row:
    option = Option(Switch(), flag, help)
    return Row(_parameter("", option), option, group, short, default=False)


def _file(flag: str, name: str, help: str) -> Row:
    option = Option(Name("a path"), flag, help, "PATH")
    return Row(name, option, "Output", settings={"type": _Value(option)})


READ = _rows(ReadOptions, "Reading")
FOLD = _rows(FoldOptions, "Folding", without=READ)
VERIFY = _rows(VerifyOptions, "Verification", without=READ)
TIME = _rows(TimeOptions, "Latency")
SLIM = _rows(SlimOptions, "Slimming", without=READ)
RECALIBRATE = _rows(RecalibrateOptions, "Recalibration", without=(*READ, *VERIFY))
WRITE = (
    _switch(
        "--external-data", "Put the weights into one file beside the model (above 2 GB they always go there)."
    ),
    _switch("--keep-failed", "Keep a model that failed verification, under another name."),
    _switch("--no-verify", "Write the model without verifying it.", group="Verification"),
)
ALLOW_KEPT = own(
    "Policy",
    "allow_kept",
    Option(
        Codes(),
        "--allow-kept",
        "Allow a batch norm to be kept for this reason (repeatable, with *; default: any reason).",
        "CODE",
    ),
)
MAX_SIZE = own(
    "Policy",
    "max_size",
    Option(Size(0), "--max-size", "Limit the size of a model's files together, as in '100 MB'.", "SIZE"),
)
JUNIT = _file("--junit", "junit_path", "Write the result as JUnit XML.")
POLICY = (ALLOW_KEPT, MAX_SIZE)
BATCH = (
    own(
        "Running",
        "jobs",
        Option(
            Whole(1), "--jobs", "Process this many models at the same time.", "N", unset=": one for each core"
        ),
    ),
    own(
        "Running",
        "scheduler",
        Option(
            Name("an address, as in tcp://host:8786"),
            "--scheduler",
            "Run on the Dask cluster of this scheduler (tcp://host:8786); its workers need "
            "this bnfold, and the same files under the same paths, or URLs.",
            "ADDRESS",
        ),
    ),
    own(
        "Running",
        "timeout",
        Option(
            _SECONDS, "--timeout", "Limit the time of one model.", "SECONDS", unset=f"{TIMEOUT}; 0: no limit"
        ),
    ),
    own(
        "Running",
        "memory_limit",
        Option(
            Size(),
            "--memory-limit",
            "Limit the memory of one model, as in '4 GB'; memory-mapped files do not count (Linux).",
            "SIZE",
        ),
    ),
    own(
        "Running",
        "max_download",
        Option(
            Size(),
            "--max-download",
            "Download at most this much for one model, as in '20 GB'.",
            "SIZE",
            unset=f": {MOST_WORDS}, or 90 % of the free space where that is less",
        ),
    ),
    _switch(
        FOLLOW,
        "Follow a server that names other servers, by redirects or in a manifest that it serves.",
        group="Running",
    ),
    own(
        "Output",
        "format",
        Option(
            Choice(("onnx", "same")),
            "--format",
            "Write ONNX (onnx), or the format that each model has (same).",
            unset="onnx",
        ),
    ),
    _switch("--force", "Process every model again, also those that are finished.", group="Running"),
    Row(
        "policy_path",
        Option(
            Name("a path"), "--policy", "Hold every result against a policy, as 'bnfold check' does.", "FILE"
        ),
        "Policy",
        settings={"type": FILE},
    ),
    *POLICY,
    JUNIT,
)
REPORT = (
    _file("--json", "json_path", "Write the result as JSON."),
    _file("--report", "report_path", "Write the result as an HTML page (one file)."),
    _switch("--quiet", "Print the last line only.", "-q"),
    _switch("--verbose", "Print every node of the plan, and the time of each stage.", "-v"),
)
LIMIT = (
    own(
        "Running",
        "timeout",
        Option(
            _SECONDS,
            "--timeout",
            "Limit the time of the run. A run that takes longer ends with exit code 6 and writes nothing.",
            "SECONDS",
            unset="0: no limit",
        ),
        expose_value=False,
        is_eager=True,
        callback=limit_time,
    ),
)
TIMED = {"providers", "inputs", "mean", "std", "layout", "seed"}  # options of VERIFY that say what is timed
OF_IMAGES = {"mean", "std", "layout"}  # options of VERIFY that data for recalibration have, too
_ROWS = {
    row.name: row for group in (READ, SLIM, FOLD, WRITE, VERIFY, TIME, RECALIBRATE, REPORT) for row in group
}


def certificate_option(what: str) -> Callable[[F], F]:
    """The decorator that gives a command the option for a certificate of something."""
    return grouped(
        "Output",
        "--certificate",
        "certificate_path",
        type=FILE,
        metavar="PATH",
        help=f"Write a certificate of {what} (best: <stem of OUT>.cert.json beside OUT).",
    )


WEIGHTS_OUT = grouped(
    "Output",
    "--weights-out",
    type=FILE,
    metavar="PATH",
    help="Write the weights of such an OUT to this file (default: <stem of OUT>.caffemodel or .weights "
    "beside it).",
)
# Of commands that write a model, and run none.
EXTERNAL_DATA = grouped(
    "Output",
    "--external-data",
    is_flag=True,
    help="Put the weights into one file beside the model (above 2 GB they always go there).",
)
NO_READING_BACK = grouped(
    "Verification", "--no-verify", is_flag=True, help="Do not read the written file back to compare it."
)


def options(*groups: tuple[Row, ...], without: tuple[str, ...] = ()) -> Callable[[F], F]:
    """A decorator that gives a command the options of some groups."""

    def decorate(command: F) -> F:
        for row in reversed([row for group in groups for row in group if row.name not in without]):
            command = row.click_option()(command)
        return command

    return decorate


def given(values: Mapping[str, Any]) -> list[Row]:
    """The rows of the options that were given."""
    return [row for name, row in _ROWS.items() if _is_given(values.get(name))]


def _is_given(value: Any) -> bool:
    return value is not None and value is not False and value != ()


def check_format(format: str, values: Mapping[str, Any]) -> None:
    """Refuse an option that this format has no use for."""
    asked.check_format(format, [row.name for row in given(values)])


def fitting(format: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The values without the options that this format has no use for."""
    return {name: value for name, value in values.items() if name not in _ROWS or _ROWS[name].fits(format)}


def useless(values: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Flags that have no effect, each with why: beside --no-verify, or without --time. A slimming that
    approximates is measured and timed in any case."""
    found = []
    timed = bool(values.get("time")) or any(values.get(name) is not None for name in ("ratio", "below"))
    if values.get("no_verify"):
        names = {row.name for row in VERIFY} | {"keep_failed"}
        if timed:
            names -= TIMED
        if values.get("recalibrate"):
            names -= OF_IMAGES
        found += [(row.flag, "with --no-verify") for row in given(values) if row.name in names]
    if not timed:
        names = {row.name for row in TIME}
        found += [(row.flag, "without --time") for row in given(values) if row.name in names]
    if not values.get("recalibrate"):
        names = {row.name for row in RECALIBRATE}
        found += [(row.flag, "without --recalibrate") for row in given(values) if row.name in names]
    return found


def read_options(values: Mapping[str, Any]) -> ReadOptions:
    """What reading needs of a command's values."""
    return ReadOptions(**_keywords(ReadOptions, values))


def fold_options(values: Mapping[str, Any]) -> FoldOptions:
    """What folding needs of a command's values."""
    return FoldOptions(**_keywords(FoldOptions, values))


def slim_options(values: Mapping[str, Any]) -> SlimOptions:
    """What slimming needs of a command's values."""
    return SlimOptions(**_keywords(SlimOptions, values))


def inputs_of(values: Mapping[str, Any]) -> VerifyOptions:
    """What models are run on, whether or not anything is verified."""
    return VerifyOptions(**_keywords(VerifyOptions, values))


def verify_options(values: Mapping[str, Any]) -> VerifyOptions | None:
    """What verification needs of a command's values; None where there is to be none."""
    made = VerifyOptions(**_keywords(VerifyOptions, values))
    return None if values.get("no_verify") else made


def time_options(values: Mapping[str, Any]) -> TimeOptions:
    """What timing needs of a command's values."""
    return TimeOptions(**_keywords(TimeOptions, values))


def estimate_options(values: Mapping[str, Any]) -> RecalibrateOptions:
    """What recalibration needs of a command's values."""
    return RecalibrateOptions(**_keywords(RecalibrateOptions, values))


def _keywords(options: Any, values: Mapping[str, Any]) -> dict[str, Any]:
    """What was given of the options of a class. Raises UsageError, which names the flag."""
    found = {}
    for name, option in schema(options).items():
        row = _ROWS.get(_parameter(name, option)) if option.flag else None
        if row is None or not _is_given(written := values.get(row.name)):
            continue
        try:
            found[name] = row.value(written)
        except Wrong as error:
            shown = written[0] if isinstance(written, tuple) and len(written) == 1 else written
            raise refusal(row.flag, shown, error) from error
    return found
