"""From a command's positionals and options to a Job, and from its end to the JSON document.

fold MODEL                    fold MODEL OUT.onnx                    (ONNX carries its weights)
fold NETWORK WEIGHTS          fold NETWORK WEIGHTS OUT.onnx          (Caffe, darknet)
                              fold NETWORK WEIGHTS OUT.prototxt      (in its own format, or OUT.cfg)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..errors import BnfoldError, NotEquivalent, UsageError, WouldReplace, WriteError
from ..files import atomic
from ..files.names import identity
from ..pipeline import pipeline
from ..pipeline.job import Job
from ..reporting import json as documents
from ..results.comparison import Comparison
from ..results.fold_result import Origin
from ..results.pair import PAIRS
from . import options, screen

_MODELS = (".onnx", ".prototxt", ".caffemodel", ".cfg", ".weights")
_OUT_SUFFIXES = (".onnx", *(row.network for row in PAIRS))
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f\x1b")
_OUTPUTS = {
    "--json": "json_path",
    "--report": "report_path",
    "--junit": "junit_path",
    "--sarif": "sarif_path",
    "--certificate": "certificate_path",
}


def make(files: Sequence[Path], out: Path | None, values: Mapping[str, Any], view: screen.Screen) -> Job:
    """The job that a command line asks for. Raises UsageError where the parts do not go together."""
    model, weights, last = _roles(list(files))
    if out is not None and last is not None:
        raise UsageError(f"two outputs: {last} and -o {out}", expected="one of them")
    check_is_file("--out", out)
    options.check_format(pipeline.kind_of(model), values)
    for flag in options.useless(values):
        view.warn(f"{flag} has no effect with --no-verify")
    return Job(
        source=model,
        weights=weights,
        out=out or last,
        read=options.read_options(values),
        fold=options.fold_options(values),
        verify=options.verify_options(values),
        external_data=bool(values.get("external_data")),
        keep_failed=bool(values.get("keep_failed")),
        say=view.say,
        detail=bool(values["report_path"] or values["json_path"]),
        others=tuple(path for _, path in _targets(values) if not atomic.is_stream(path)),
    )


def network(files: Sequence[Path], values: Mapping[str, Any]) -> tuple[Path, Path | None]:
    """MODEL [WEIGHTS], for commands that write no model."""
    model, weights, out = _roles(list(files))
    if out is not None:
        raise UsageError(
            f"what is {out} for?", expected="one model, with its weights where it has a file of them"
        )
    options.check_format(pipeline.kind_of(model), values)
    return model, weights


def _roles(files: list[Path]) -> tuple[Path, Path | None, Path | None]:
    """(model, weights, output). An output is told by its name, so that no file of the user is ever taken for
    one."""
    model, rest = files[0], files[1:]
    out = rest.pop() if rest and rest[-1].suffix.lower() in _OUT_SUFFIXES else None
    if pipeline.kind_of(model) == "onnx" and rest:
        raise UsageError(
            f"what is {rest[0]} for?",
            expected="MODEL and, where it is wanted, an output that ends in .onnx",
            way_out=f"{model} is an ONNX model, which carries its weights",
        )
    if len(rest) > 1:
        raise UsageError(f"too many files: {', '.join(map(str, rest))}", expected="MODEL [WEIGHTS] [OUT]")
    return model, rest[0] if rest else None, out


def view_of(values: Mapping[str, Any]) -> screen.Screen:
    """The screen that -q, -v and --json ask for."""
    return screen.Screen(
        quiet=values["quiet"], verbose=values["verbose"], json_on_stdout=values["json_path"] == "-"
    )


def tell(view: screen.Screen, origin: Origin) -> None:
    """What the reader noticed."""
    for finding in origin.findings:
        (view.warn if finding.level == "warning" else view.note)(str(finding))


def tell_failure(view: screen.Screen, error: NotEquivalent) -> None:
    """What verification measured of a model that it refused."""
    if view.shows_results and isinstance(error.report, Comparison):
        from ..reporting import text

        view.show(*text.comparison(error.report, verbose=view.verbose))


@contextmanager
def documented(
    command: str, values: Mapping[str, Any], reads: Sequence[Path | None] = ()
) -> Iterator[dict[str, Any]]:
    """The JSON document of a command: what the command puts into the dict that it gets, or the error that
    ended it. What a command `reads` no option may write, also when it fails."""
    check_targets(_targets(values), reads)
    content: dict[str, Any] = {}
    try:
        yield content
    except Exception as error:
        ours = (
            error
            if isinstance(error, BnfoldError)
            else BnfoldError(f"internal error: {type(error).__name__}: {error}")
        )
        try:
            _deliver(
                command,
                {**content, **documents.of_error(ours), "code": ours.exit_code},
                values if not isinstance(error, WouldReplace) else _on_stdout_alone(values),
            )
        except WriteError as second:  # what came first is what the user has to know first
            view_of(values).warn(str(second))
        raise
    _deliver(command, {"code": 0, **content}, values)


def _targets(values: Mapping[str, Any]) -> list[tuple[str, Path]]:
    """The options that name a file to write, with the file."""
    return [
        (flag, Path(path))
        for flag, name in _OUTPUTS.items()
        if (path := values.get(name)) is not None and not (flag == "--json" and str(path) == "-")
    ]


def check_targets(targets: Sequence[tuple[str, Path]], reads: Sequence[Path | None]) -> None:
    """Every (option, file) can be written, no file is written twice, and none that is read. Raises
    UsageError, WriteError."""
    for flag, path in targets:
        _check_target(flag, path)
    met = {identity(path): "" for path in reads if path is not None}
    for flag, path in targets:
        other = met.setdefault(identity(path), flag)
        if not other:
            raise UsageError(f"{flag} would replace {path}, which is read", expected="another file")
        if other != flag:
            raise UsageError(f"{other} and {flag} both write {path}", expected="a file for each")


def _check_target(flag: str, path: Path) -> None:
    """Found now, not after the work: a folder that is not there, a report that would replace a model."""
    check_is_file(flag, path)
    if path.suffix.lower() in _MODELS:
        raise UsageError(
            f"{flag} {path} has the name of a model", expected="a name such as result.json or net.html"
        )
    atomic.replaceable(path)
    if path.is_file() and not _is_text(path):
        raise UsageError(
            f"{flag} {path} would replace a file that is no text",
            expected="a name such as result.json or net.html",
            way_out="remove it first if it is of no use",
        )


def check_is_file(flag: str, path: Path | str | None) -> None:
    """`-` is the standard output for --json alone, and elsewhere most likely a slip. Raises UsageError."""
    if str(path) == "-":
        raise UsageError(
            f"{flag} cannot be '-'", expected="the name of a file: the standard output is for --json alone"
        )


def _is_text(path: Path) -> bool:
    """Does it begin as reports do? A model's data that is met under such a name may be one that the reader
    would not come to name."""
    with atomic.failing(path), path.open("rb") as file:
        return _CONTROLS.isdisjoint(file.read(4096))


def _on_stdout_alone(values: Mapping[str, Any]) -> dict[str, Any]:
    return {"json_path": "-" if values["json_path"] == "-" else None, "report_path": None}


def _deliver(command: str, content: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """The document as JSON and as a page, as far as they were asked for: one of ten thousands of rows is not
    made for nobody."""
    if values["json_path"] is None and values["report_path"] is None:
        return
    document = documents.document(command, **content)
    if values["json_path"] == "-":
        screen.write(documents.text(document) + "\n")
    elif values["json_path"] is not None:
        write_file(values["json_path"], documents.text(document) + "\n")
    if values["report_path"] is not None:
        from ..reporting import html

        write_file(values["report_path"], html.page(document, Path(values["report_path"]).absolute().parent))


def write_file(path: str | Path, text: str) -> None:
    """A report's file. Raises WriteError."""
    atomic.replace(Path(path), text)
