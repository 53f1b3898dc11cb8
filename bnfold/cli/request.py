"""From a command's positionals and options to a Job, and from its end to the JSON document.

fold MODEL                    fold MODEL OUT.onnx                    (ONNX carries its weights)
fold NETWORK WEIGHTS          fold NETWORK WEIGHTS OUT.onnx          (Caffe, darknet)
                              fold NETWORK WEIGHTS OUT.prototxt      (in its own format, or OUT.cfg)
fold NETWORK                  weights of the same name lie beside it
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import BnfoldError, NotEquivalent, UsageError, WouldReplace, WriteError
from ..files import atomic
from ..files.names import identity
from ..gate import places
from ..pipeline import pipeline
from ..pipeline.job import Job
from ..reporting import json as documents
from ..results.comparison import Comparison
from ..results.fold_result import FoldResult, Origin, Recalibration
from ..results.pair_formats import PAIRS
from . import options, screen, standard_streams
from .standard_streams import is_mark, received

if TYPE_CHECKING:
    from ..results.slimming import SlimResult

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
Completed = Callable[[Mapping[str, Any], str, screen.Screen], Mapping[str, Any]]
_NEED_A_NAME = {
    "--certificate": "certificate_path",
    "--external-data": "external_data",
    "--keep-failed": "keep_failed",
}


def make(
    files: Sequence[Path],
    out: Path | None,
    values: Mapping[str, Any],
    view: screen.Screen,
    completed: Completed | None = None,
) -> Job:
    """The job that a command line asks for; `completed` adds options that a project's file gives. Raises
    UsageError where the parts do not go together."""
    model, weights, last = _roles(files)
    if out is not None and last is not None:
        raise UsageError(f"two outputs: {last} and -o {out}", expected="one of them")
    out = out or last
    if out is None and is_mark(files[0]) and not values.get("dry_run"):
        raise UsageError(
            "no output is named, and standard input has no name to make one of",
            expected="-o OUT.onnx, or '-o -' for standard output",
        )
    options.check_format(kind := pipeline.kind_of(model), values)
    if completed is not None:
        values = completed(values, kind, view)
    for flag, why in options.useless(values):
        view.warn(f"{flag} has no effect {why}")
    if is_mark(out):
        out = _to_stdout(values, view)
    elif out is not None:
        _check_model_name(out, files)
    return Job(
        source=model,
        weights=weights,
        out=out,
        read=options.read_options(values),
        fold=options.fold_options(values),
        verify=options.verify_options(values),
        time=options.time_options(values),
        estimate=options.estimate_options(values),
        external_data=bool(values.get("external_data")),
        keep_failed=bool(values.get("keep_failed")),
        say=view.say,
        detail=bool(values["report_path"] or values["json_path"]),
        others=tuple(path for _, path in _targets(values) if not atomic.is_stream(path)),
    )


def _to_stdout(values: Mapping[str, Any], view: screen.Screen) -> Path:
    """The temporary file of a model that goes to standard output. Raises UsageError for an option that needs
    a file with a name, or that wants the stream itself."""
    for flag, name in _OUTPUTS.items():
        if is_mark(values.get(name)):
            raise UsageError(
                f"-o and {flag} both write to standard output", expected="a file for one of them"
            )
    for flag, name in _NEED_A_NAME.items():
        if values.get(name):
            raise UsageError(f"{flag} with '-o -'", expected="an output with a name, as in -o out.onnx")
    view.stdout_is_taken = True
    return standard_streams.staged()


def _check_model_name(out: Path, reads: Sequence[Path]) -> None:
    """A name that promises another format would mislead whoever loads the file by it. Raises UsageError; of a
    file that is read the pipeline says the more important thing."""
    if out.suffix.lower() not in ("", *_OUT_SUFFIXES) and out not in reads:
        name = str(out.with_suffix("")).removesuffix(".onnx")
        raise UsageError(
            f"{out} does not have the name of an ONNX model, and bnfold writes ONNX",
            expected=f"a name that ends in .onnx, as in -o {name}.onnx",
        )


def hand_over(result: FoldResult | Recalibration | SlimResult, job: Job, view: screen.Screen) -> None:
    """A finished model goes to standard output where it was asked for there; a source that it replaced is
    named. Raises UsageError for a model of two files."""
    assert result.path is not None
    if view.stdout_is_taken and standard_streams.is_staged(result.path):
        if result.data:
            raise UsageError(
                "a model above 2 GB has a second file for its weights, and standard output takes one",
                expected="-o OUT.onnx",
            )
        screen.write_file(result.path)
    if job.replaces_source:
        view.warn(f"{job.target} was the source, and the new model has replaced it")


def certified(job: Job, path: Path) -> Job:
    """The job with what a certificate needs. Raises UsageError where there is nothing to certify, or nothing
    left to certify it by."""
    if path.suffix.lower() != ".json" and not is_mark(path):
        raise UsageError(
            f"--certificate {path} does not end in .json",
            expected=f"a name such as {places.beside(job.target).name}",
        )
    if job.data_target is not None and job.data_target.parent.resolve() != job.target.parent.resolve():
        raise UsageError(
            "--certificate, and weights in another folder than the output",
            expected="both in one folder: a certificate names them by their names",
        )
    if job.replaces_source:
        raise UsageError(
            "--certificate, and an output that replaces the source",
            expected="another output",
            way_out="a certificate names the source by its hash, so that the fold can be derived again",
        )
    return replace(job, detail=True)


def network(files: Sequence[Path], values: Mapping[str, Any]) -> tuple[Path, Path | None]:
    """MODEL [WEIGHTS], for commands that write no model."""
    model, weights, out = _roles(files)
    if out is not None:
        raise UsageError(
            f"unexpected argument {out}", expected="one model, with its weights where it has a file of them"
        )
    options.check_format(pipeline.kind_of(model), values)
    return model, weights


def _roles(files: Sequence[Path]) -> tuple[Path, Path | None, Path | None]:
    """(model, weights, output). An output is told by its name, so that no file of the user is ever taken for
    one; `-` is one where no weights are wanted any more."""
    model, rest = received(files[0]), list(files[1:])
    is_onnx = pipeline.kind_of(model) == "onnx"
    wanted = 0 if is_onnx else 1
    named = rest and (rest[-1].suffix.lower() in _OUT_SUFFIXES or (is_mark(rest[-1]) and len(rest) > wanted))
    out = rest.pop() if named else None
    if is_onnx and rest:
        raise UsageError(
            f"unexpected argument {rest[0]}",
            expected="MODEL [OUT.onnx]",
            way_out=f"{files[0]} is an ONNX model, which carries its weights, and outputs end in .onnx",
        )
    if len(rest) > 1:
        raise UsageError(f"too many files: {', '.join(map(str, rest))}", expected="MODEL [WEIGHTS] [OUT]")
    return model, received(rest[0]) if rest else None, out


def view_of(values: Mapping[str, Any]) -> screen.Screen:
    """The screen that -q, -v and the documents on standard output ask for. Raises UsageError for two of
    them."""
    on_stdout = [flag for flag, name in _OUTPUTS.items() if is_mark(values.get(name))]
    if len(on_stdout) > 1:
        raise UsageError(
            f"{on_stdout[0]} and {on_stdout[1]} both write to standard output",
            expected="a file for one of them",
        )
    return screen.Screen(
        quiet=values["quiet"],
        verbose=values["verbose"],
        json_on_stdout=on_stdout == ["--json"],
        stdout_is_taken=bool(on_stdout),
    )


def tell(view: screen.Screen, told: Origin | BnfoldError) -> None:
    """What the reader noticed, of a model or before the error that ended the reading."""
    for finding in told.findings:
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
        tell(view_of(values), ours)
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
        if (path := values.get(name)) is not None and not is_mark(path)
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


def _is_text(path: Path) -> bool:
    """Does it begin as reports do? A model's data that is met under such a name may be one that the reader
    would not come to name."""
    with atomic.failing(path), path.open("rb") as file:
        return _CONTROLS.isdisjoint(file.read(4096))


def _on_stdout_alone(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: values[name] if is_mark(values[name]) else None for name in ("json_path", "report_path")}


def _deliver(command: str, content: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    """The document as JSON and as a page, as far as they were asked for: one of ten thousands of rows is not
    made for nobody."""
    if values["json_path"] is None and values["report_path"] is None:
        return
    document = documents.document(command, **content)
    if values["json_path"] is not None:
        write_file(values["json_path"], documents.text(document) + "\n")
    if values["report_path"] is not None:
        from ..reporting import html

        write_file(values["report_path"], html.page(document, Path(values["report_path"]).absolute().parent))


def write_file(path: str | Path, text: str) -> None:
    """A document, to its file or to standard output. Raises WriteError."""
    if is_mark(path):
        screen.write(text)
    else:
        atomic.replace(Path(path), screen.renamed(text))
