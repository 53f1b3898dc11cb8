"""`bnfold batch`: many models, on all cores or on a cluster."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import click

from ..batch import coordinator, downloads, output_names
from ..batch.child import is_bounded
from ..batch.fingerprints import SUFFIX
from ..batch.locations import absolute, check_drivers, joined, plain, redacted, store_of
from ..batch.task import Task
from ..errors import BnfoldError, Malformed, UsageError
from ..files.discovery import Found, gathered, is_url, suffix, with_suffix
from ..gate import policy
from ..records import dataclass
from ..reporting import json as documents
from ..results.batch_run import Run
from ..results.options import VerifyOptions
from ..results.pair_formats import PAIRS, of_format
from . import manifest, request, screen
from . import options as rows
from .ending import Ending, of_batch
from .help import Command
from .help import option as grouped
from .options import BATCH, FOLD, READ, RECALIBRATE, REPORT, VERIFY, WRITE, options
from .progress import Progress
from .standard_streams import is_mark

_OUTPUTS = (".onnx", *(row.network for row in PAIRS))


@dataclass(frozen=True)
class _Wanted:
    """A model that was asked for, with the name and the options that a manifest gives it."""

    found: Found
    name: str
    values: Mapping[str, Any]
    where: str = ""


@click.command(
    "batch",
    cls=Command,
    examples=(
        (
            "Every model of a folder, with an overview of all.",
            "bnfold batch models/ -o folded/ --report overview.html",
        ),
        (
            "Models behind URLs, four at a time.",
            "bnfold batch https://example.org/a.onnx s3://nets/b.onnx -o folded/ --jobs 4",
        ),
    ),
)
@click.argument("models", nargs=-1, required=True, metavar="MODELS...")
@grouped(
    "Output",
    "-o",
    "--out",
    required=True,
    metavar="FOLDER",
    help="Write all outputs to this folder, a path or a URL.",
)
@options(BATCH, FOLD, RECALIBRATE, WRITE, READ, VERIFY, REPORT, without=("keep_failed",))
def command(models: tuple[str, ...], out: str, **values: Any) -> Ending:
    """Fold, verify and report many MODELS: files, folders, patterns, URLs, and manifests (.toml, .csv) that
    list models with their options.

    Each model runs in a process of its own, so a model that is broken, hangs or crashes stops no other. A
    model that an earlier run finished is skipped, unless something of it has changed. Options of one format
    apply to the models of that format.

    The exit code is 0 when every model passed. It is 1 when a model was not equivalent or failed the policy;
    otherwise it is the highest code of all models.
    """
    view = request.view_of(values)
    if not out or not all(models):
        raise UsageError(
            "--out is empty" if not out else "an argument is empty",
            expected="a folder, or a URL" if not out else "the name of a model",
        )
    if is_mark(out):
        raise UsageError("--out cannot be '-'", expected="a folder, or a URL: a batch makes several files")
    out = absolute(plain(out))
    coordinator.prepare(out)  # first of all: reports may go there, too
    read = [Path(place) for place in models if not is_url(place)]
    allowed = downloads.Downloads(values["max_download"], values["follow_redirects"])
    with (
        request.documented("batch", values, [values["policy_path"], *read]) as content,
        downloads.under(allowed),
    ):
        tasks = _tasks(_wanted([plain(place) for place in models], out), out, values, view)
        with Progress(len(tasks), view) as progress:
            try:
                runs = coordinator.runs(tasks, _settings(values, view), progress.heard)
            except BaseException as error:
                if not isinstance(error, Exception):
                    error.add_note(
                        f"{progress.done} of {len(tasks)} models are finished; the same command "
                        "goes on from there"
                    )
                raise
        ending = of_batch(runs)
        content.update({"code": ending.code, **documents.of_batch(runs, redacted(out))})
        if values["junit_path"] is not None:
            from ..reporting import junit

            request.write_file(values["junit_path"], junit.of_runs(runs))
    _show(runs, view)
    return ending


def _show(runs: Sequence[Run], view: screen.Screen) -> None:
    if view.shows_results:
        from ..reporting import text

        view.show(*text.batched(runs))


def _settings(values: Mapping[str, Any], view: screen.Screen) -> coordinator.Settings:
    if values["memory_limit"] is not None and not is_bounded():
        view.warn("--memory-limit has no effect on this system")
    if values["scheduler"] is not None and values["jobs"] is not None:
        raise UsageError(
            "--jobs with --scheduler", expected="one of them: a cluster has as many workers as it has"
        )
    timeout = values["timeout"]
    return coordinator.Settings(
        values["jobs"],
        values["scheduler"],
        rows.TIMEOUT if timeout is None else timeout or None,
        values["memory_limit"],
    )


# Which models.


def _wanted(given: Sequence[str], out: str) -> list[_Wanted]:
    """Every model that is meant. Raises UsageError, Unreadable, Malformed (after saying every fault of a
    manifest)."""
    found: list[_Wanted] = []
    for listed, group in groupby(given, manifest.is_manifest):
        places = list(group)
        found += chain.from_iterable(map(_listed, places)) if listed else _plainly(places)
    ours = [one for one in found if not (one.found.root and _is_output(one.found.network))]
    if not ours:
        raise UsageError(
            "no model is left", expected=f"models beside those that are outputs of {redacted(out)} themselves"
        )
    return ours


def _plainly(places: Sequence[str]) -> list[_Wanted]:
    return [_Wanted(one, "", {}) for one in gathered(places, store_of)]


def _is_output(network: str) -> bool:
    """A model with a record beside it was made by an earlier run."""
    record = with_suffix(network, SUFFIX)
    return suffix(network) in _OUTPUTS and store_of(record).is_file(record)


def _listed(place: str) -> list[_Wanted]:
    try:
        entries = manifest.read(place)
        faults: list[Malformed] = []
        found = [one for entry in entries for one in _of_entry(entry, faults)]
        if faults:
            raise manifest.Faults(faults)
        return found
    except manifest.Faults as error:
        for fault in error.all if len(error.all) > 1 else ():
            screen.say(f"error: {fault}")
        raise


def _of_entry(entry: manifest.Entry, faults: list[Malformed]) -> list[_Wanted]:
    try:
        found = gathered([plain(entry.model)], store_of)
    except BnfoldError as error:
        faults.append(
            Malformed(
                f"{error.found}: {redacted(entry.model)}" if error.where is not None else error.found,
                where=entry.where,
                expected=error.expected,
            )
        )
        return []
    if len(found) > 1 and (entry.weights or entry.name):
        key = "weights" if entry.weights else "name"
        faults.append(
            Malformed(
                f"'{key}' for the {len(found)} models that '{redacted(entry.model)}' matches",
                where=entry.where,
                expected="one model",
            )
        )
    if entry.weights:
        found = [replace(one, weights=plain(entry.weights)) for one in found]
    return [_Wanted(one, entry.name, entry.values, entry.where) for one in found]


# What to do with them.


def _tasks(wanted: Sequence[_Wanted], out: str, values: Mapping[str, Any], view: screen.Screen) -> list[Task]:
    names = output_names.names([one.found for one in wanted], [one.name for one in wanted])
    called = {
        **{row.name: values[row.name] for row in rows.given(values)},
        "force": values["force"],
        "format": values["format"],
    }
    _say_useless(wanted, values, view)
    policies = _policies(values)
    tasks = [
        _task(one, name, out, {**_blank(values), **one.values, **called}, policies)
        for one, name in zip(wanted, names, strict=True)
    ]
    _check_apart(tasks)
    check_drivers(
        [out, *(place for task in tasks for place in (task.network, task.weights) if place is not None)]
    )
    return tasks


def _blank(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nothing given, of every option."""
    return {name: () if isinstance(value, tuple) else None for name, value in values.items()}


def _task(
    one: _Wanted, name: str, out: str, values: Mapping[str, Any], policies: policy.Policies | None
) -> Task:
    values = rows.fitting(manifest.FORMATS.get(suffix(one.found.network), ""), values)
    verify = rows.verify_options(values)
    if verify is not None:
        verify = replace(verify, inputs=tuple((to, absolute(file)) for to, file in verify.input_files))
    demanded = policies.of(Path(one.found.network)) if policies is not None else None
    if demanded is not None and verify is not None:
        providers = verify.providers if values.get("providers") else demanded.providers or verify.providers
        limit = (
            demanded.noise_limit
            if demanded.noise_limit is not None and not values.get("noise_limit")
            else verify.noise_limit
        )
        verify = replace(verify, providers=providers, noise_limit=limit)
    if demanded is not None:
        demanded = _for_results(demanded, verify)
    estimate = rows.estimate_options(values)
    data = tuple((to, absolute(file)) for to, file in estimate.files)
    weights = one.found.weights
    return Task(
        name,
        absolute(one.found.network),
        None if weights is None else absolute(weights),
        out,
        rows.read_options(values).with_mean_files(absolute),
        rows.fold_options(values),
        verify,
        bool(values.get("external_data")),
        demanded,
        bool(values.get("force")),
        one.where,
        suffix=_suffix(one, values),
        downloads=downloads.rules(),
        estimate=replace(estimate, recalibrate=data),
    )


def _suffix(one: _Wanted, values: Mapping[str, Any]) -> str:
    """That of the output: ONNX, or the model's own format."""
    own = of_format(manifest.FORMATS.get(suffix(one.found.network), ""))
    return own.network if own is not None and values.get("format") == "same" else ".onnx"


def _policies(values: Mapping[str, Any]) -> policy.Policies | None:
    """What the policy file says, and before it what the command line says; None where neither is given."""
    called: dict[str, Any] = {}
    if values["allow_kept"]:
        called["kept"] = tuple(values["allow_kept"])
    if values["max_size"] is not None:
        called["max_size"] = values["max_size"]
    if values["policy_path"] is not None:
        return policy.read(values["policy_path"], called)
    return policy.Policies(called=called) if called else None


def _for_results(demanded: policy.Policy, verify: VerifyOptions | None) -> policy.Policy:
    """Providers and noise limit are what each fold is verified with; the rest is asked of the result."""
    if demanded.require_certificate:
        raise UsageError(
            "the policy requires certificates, which a batch does not make",
            way_out="bnfold fold --certificate",
        )
    return replace(
        demanded,
        providers=(),
        noise_limit=None,
        against=_absolute(demanded.against),
        against_weights=_absolute(demanded.against_weights),
        verify=verify or demanded.verify,
    )


def _absolute(path: Path | None) -> Path | None:
    return None if path is None else Path(absolute(os.fspath(path)))


def _check_apart(tasks: Sequence[Task]) -> None:
    """No output may replace what is read."""
    read = {
        os.path.realpath(place)
        for task in tasks
        for place in (task.network, task.weights)
        if place is not None and not is_url(place)
    }
    for task in tasks:
        for target in _targets(task):
            if os.path.realpath(target) in read or target in {other.network for other in tasks}:
                raise UsageError(
                    f"the output {redacted(target)} would replace a model that is read",
                    expected="another --out",
                )


def _targets(task: Task) -> list[str]:
    own = next((row for row in PAIRS if row.network == task.suffix), None)
    return [joined(task.out, task.name + end) for end in (task.suffix, *([own.weights] if own else []))]


def _say_useless(wanted: Sequence[_Wanted], values: Mapping[str, Any], view: screen.Screen) -> None:
    for flag, why in rows.useless(values):
        view.warn(f"{flag} has no effect {why}")
    formats = {manifest.FORMATS.get(suffix(one.found.network), "") for one in wanted}
    for row in rows.given(values):
        if not any(row.fits(format) for format in formats):
            view.warn(f"{row.flag} is for {row.option.models}, and none is among these")
