"""One model of a batch, from its source to its outputs. It runs in a process of its own, which may be killed
at any moment.

    skip     a result that is still up to date is kept
    fetch    files behind URLs are copied to this machine, external data included; files on disks are read in
             place
    fold     the pipeline writes into a folder of this run alone
    check    the policy is applied to the result
    deliver  the data comes first, then the model, then its page, and last the record that says they are
             finished

Rule: only a result that passed is delivered, and the record comes last. A result without a matching record is
made again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote

from ..errors import NOT_EQUIVALENT, OK, BnfoldError, Unreadable, of_system, reason
from ..files import atomic
from ..files.discovery import bare, is_url, suffix
from ..files.names import safe_part
from ..pipeline import pipeline
from ..pipeline.job import Job, Say
from ..reporting import json as documents
from ..results.batch_run import Fingerprint, Run
from ..results.fold_result import FoldResult, Violation
from ..results.from_json import Unfit, decoded
from . import downloads, fingerprints
from .companions import companions
from .locations import beside, folder_of, joined, redacted, store_of
from .task import OUT_OF_MEMORY, Task

_LONGEST = 400  # of a sentence


def run(task: Task, work: Path, say: Say, memory: int | None = None) -> Run:
    """Process one model; verification may use `memory` bytes. Raises MemoryError, and nothing else that a
    model can cause."""
    started = time.perf_counter()
    made = _ModelRun(task, work, say, memory)
    try:
        found = (None if task.force else _finished(task)) or made.run()
    except BnfoldError as error:
        if any(sign in str(error) for sign in OUT_OF_MEMORY):
            raise MemoryError(
                str(error)
            ) from error  # what has no memory is not verified, but that says nothing of the fold
        found = made.failed(error)
    except Exception as error:
        if isinstance(error, MemoryError):
            raise
        known = of_system(error) if isinstance(error, OSError) else None
        found = made.failed(
            known
            or BnfoldError(
                f"internal error ({type(error).__name__}: {error}); this is a bug in bnfold, please report it"
            )
        )
    return replace(found, seconds=round(time.perf_counter() - started, 3))


def stopped(task: Task, work: Path, error: BnfoldError, outcome: str) -> Run:
    """The run of a model whose process was killed or crashed; its record and its page say why."""
    return replace(_ModelRun(task, work, lambda _: None).failed(error), outcome=outcome)


def _finished(task: Task) -> Run | None:
    record = fingerprints.finished(task)
    if record is None:
        return None
    outcome = "passed" if task.batch and record.get("batch") == task.batch else "unchanged"
    with suppress(
        Unfit, LookupError, TypeError, AttributeError
    ):  # figures that are none: a record that somebody changed is none, either
        return decoded(Run, documents.plain(_run_of(task, record, outcome, output=True)))  # type: ignore[no-any-return]
    return None


class _ModelRun:
    """The run of one model, from fetching its files to delivering the outputs."""

    def __init__(self, task: Task, work: Path, say: Say, memory: int | None = None) -> None:
        self.task, self.work, self.say, self.memory = task, work, say, memory
        self.names = [(f"{work / 'out'}", _folder(task.out, task.name))]
        self.identities: dict[str, str] = {}  # of what was fetched, by its address
        self.left = 0  # bytes that may still be fetched

    def run(self) -> Run:
        network, weights = self._fetched()
        self.say("taking fingerprints")
        taken = fingerprints.taken(self.task, network, self.identities)
        target = self.work / "out" / f"{PurePosixPath(self.task.name).name}{self.task.suffix}"
        target.parent.mkdir()
        task, verify = self.task, self.task.verify
        if verify is not None and verify.max_memory is None:
            verify = replace(verify, max_memory=self.memory)
        result = pipeline.fold_file(
            Job(
                source=network,
                weights=weights,
                out=target,
                read=task.read,
                fold=task.fold,
                verify=verify,
                estimate=task.estimate,
                external_data=task.external_data,
                say=self.say,
                detail=True,
            )
        )
        violations = self._violations(result)
        code = max((v.exit_code for v in violations), default=OK)
        content = documents.of_fold(result)
        if violations:
            content |= {"output": None, "violations": violations}
            return replace(
                self._recorded(content, code, "failed" if code == NOT_EQUIVALENT else "error"),
                sentence=self._clean(_summary(violations)),
                violations=tuple(map(self._renamed, violations)),
            )
        return self._delivered(result, content, taken)

    def failed(self, error: BnfoldError) -> Run:
        """Write why there is no result into a record and a page, as far as they can be written."""
        content = documents.of_error(error)
        if self.task.listed:
            content["listed"] = self.task.listed
        outcome = "failed" if error.exit_code == NOT_EQUIVALENT else "error"
        sentence = self._clean(f"{self.task.listed}: {error}" if self.task.listed else str(error))
        try:
            return replace(self._recorded(content, error.exit_code, outcome), sentence=sentence)
        except BnfoldError as second:
            both = (
                f"{sentence}; {self._clean(str(second))}"
                if self._clean(str(second)) not in sentence
                else sentence
            )
            found = _run_of(self.task, documents.document("fold", error.exit_code, **content), outcome)
            return replace(found, sentence=both, result=None, page=None)

    def _fetched(self) -> tuple[Path, Path | None]:
        """Network and weights on this machine. Weights have a folder of their own, where no name that the
        network gives leads."""
        folder = self.work / "in"
        folder.mkdir()
        self.left = downloads.rules().room(folder)
        network = self._local(self.task.network, folder)
        if is_url(self.task.network):
            self.names.append((f"{folder}", redacted(folder_of(self.task.network))))
            for name in companions(network):
                self._companion(name, folder)
        if self.task.weights is None:
            return network, None
        apart = self.work / "weights"
        apart.mkdir()
        return network, self._local(self.task.weights, apart)

    def _local(self, place: str, folder: Path) -> Path:
        if not is_url(place):
            return Path(place)
        target = folder / safe_part(PurePosixPath(unquote(bare(place))).name or f"model{suffix(place)}")
        self.names.append((f"{target}", redacted(place)))
        self._fetch(place, target)
        return target

    def _companion(self, name: str, folder: Path) -> None:
        """A file that the network names. What is missing the reader says, by the tensor that needs it."""
        place, target = beside(self.task.network, name), folder / name
        try:
            if target.exists() or not store_of(place).is_file(place):
                return
            target.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unreadable(
                f"cannot be stored under the name that the model gives it ({reason(error)})",
                where=redacted(place),
            ) from error
        self._fetch(place, target)

    def _fetch(self, place: str, target: Path) -> None:
        self.say("fetching")
        self.identities[place] = store_of(place).fetch(place, target, self.left)
        self.left -= target.stat().st_size

    def _violations(self, result: FoldResult) -> tuple[Violation, ...]:
        if self.task.policy is None:
            return ()
        from ..gate import check

        self.say("holding it against the policy")
        return check.check_result(result, self.task.policy).violations

    def _delivered(self, result: FoldResult, content: dict[str, Any], taken: Fingerprint) -> Run:
        self.say("delivering")
        assert result.path is not None
        folder = PurePosixPath(self.task.name).parent
        store, outputs = store_of(self.task.out), []
        for path in (*result.data, result.path):
            name = str(folder / path.name)
            store.deliver(path, self.task.out, name)
            outputs.append((path.name, store.identity(joined(self.task.out, name))))
        return self._recorded(content, OK, "passed", replace(taken, outputs=tuple(outputs)))

    def _recorded(
        self, content: dict[str, Any], code: int, outcome: str, fingerprint: Fingerprint | None = None
    ) -> Run:
        """Deliver the page, and then the record."""
        from ..reporting import html

        document = self._clean(documents.document("fold", code, **content))
        page = html.page(document)
        if fingerprint is not None:
            document |= {"fingerprint": documents.plain(fingerprint), "batch": self.task.batch}
        found = _run_of(self.task, document, outcome, output=fingerprint is not None)
        for text, ending in ((page, ".html"), (documents.text(document) + "\n", fingerprints.SUFFIX)):
            file = self.work / f"record{ending}"
            with atomic.failing(_place(self.task, ending)):
                file.write_text(text, encoding="utf-8", errors="backslashreplace")
            store_of(self.task.out).deliver(file, self.task.out, self.task.name + ending)
        return found

    def _renamed(self, violation: Violation) -> Violation:
        return replace(
            violation,
            **{name: self._clean(getattr(violation, name)) for name in ("where", "text", "subject", "path")},
        )

    def _clean(self, value: Any) -> Any:
        """With the places that the user knows for those of this run, and without credentials."""
        if isinstance(value, str):
            for local, shown in (*self.names, *self.task.shown):
                value = value.replace(local, shown)
            return redacted(value)
        if isinstance(value, dict):
            return {self._clean(key): self._clean(inner) for key, inner in value.items()}
        return [self._clean(inner) for inner in value] if isinstance(value, list) else value


def _run_of(task: Task, document: dict[str, Any], outcome: str, *, output: bool = False) -> Run:
    """The line of a model, from its document."""
    shown = dict(task.shown)
    report, plan, size = (
        document.get("verification") or {},
        document.get("batch_norms") or {},
        document.get("size") or {},
    )
    return Run(
        task.name,
        redacted(shown.get(task.network, task.network)),
        None if task.weights is None else redacted(shown.get(task.weights, task.weights)),
        outcome,
        document["exit_code"],
        folded=plan.get("folded"),
        kept=plan.get("kept"),
        noise=report.get("noise"),
        max_error=report.get("max_error"),
        before=size.get("before"),
        after=size.get("after"),
        output=_place(task, task.suffix) if output else None,
        result=_place(task, fingerprints.SUFFIX),
        page=_place(task, ".html"),
    )


def _place(task: Task, ending: str) -> str:
    place = joined(task.out, task.name + ending)
    for local, shown in task.shown:
        place = place.replace(local, shown)
    return redacted(place)


def _folder(out: str, name: str) -> str:
    parent = PurePosixPath(name).parent
    return out if str(parent) == "." else joined(out, str(parent))


def _summary(violations: Sequence[Violation]) -> str:
    more = f" (and {len(violations) - 1} more)" if len(violations) > 1 else ""
    return f"{violations[0].text} [{violations[0].code}]{more}"[:_LONGEST]
