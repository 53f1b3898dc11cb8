"""Copies of files in a file system that lives in one process (memory://), for workers, which cannot reach it;
their results are copied back.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import TracebackType

from ..files.names import safe_part
from ..results.batch_run import Run
from . import downloads, fingerprints
from .companions import companions
from .locations import beside, joined, scheme_of, store_of
from .task import Task

LOCAL_TO_A_PROCESS = {"memory"}


def needed(task: Task) -> bool:
    """Does any of it lie where no worker comes?"""
    return any(_is_ours(place) for place in (task.network, task.weights, task.out) if place is not None)


def _is_ours(place: str) -> bool:
    return scheme_of(place) in LOCAL_TO_A_PROCESS


class Mirror:
    """A temporary folder with the copies."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bnfold-"))
        self._count = 0

    def __enter__(self) -> Mirror:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def out(self, place: str) -> str:
        """The folder that the workers write to."""
        return str(self._folder / "out") if _is_ours(place) else place

    def copied(self, task: Task) -> Task:
        """The same task on copies. Raises Unreadable."""
        self._count += 1
        folder = self._folder / f"in{self._count}"
        ready = replace(task, out=self.out(task.out))
        shown = [(ready.out, task.out)] if ready.out != task.out else []
        if _is_ours(task.network):
            local = self._taken(task.network, folder)
            ready = replace(ready, network=str(local))
            for name in companions(local):
                source = beside(task.network, name)
                if store_of(source).is_file(source) and not (folder / name).exists():
                    self._taken(source, folder, name)
        if task.weights is not None and _is_ours(task.weights):
            apart = self._folder / f"weights{self._count}"
            ready = replace(ready, weights=str(self._taken(task.weights, apart)))
        for copy, place in ((ready.network, task.network), (ready.weights, task.weights)):
            if copy is not None and place is not None and copy != place:
                shown.append((copy, place))
        if ready.out != task.out:
            self._recall(task, ready)
        return replace(ready, shown=tuple(shown))

    def returned(self, task: Task, ready: Task, run: Run) -> Run:
        """Deliver what a run made to where it was asked for. Raises WriteError."""
        if ready.out != task.out and run.outcome != "unchanged":
            own = PurePosixPath(task.name).name
            names = (*_outputs(fingerprints.recorded(ready)), f"{own}.html", f"{own}{fingerprints.SUFFIX}")
            for name in names:
                inner = str(PurePosixPath(task.name).parent / name)
                source = Path(joined(ready.out, inner))
                if source.is_file():
                    store_of(task.out).deliver(source, task.out, inner)
        return run

    def _recall(self, task: Task, ready: Task) -> None:
        """What an earlier run made, so that it can be seen to be finished."""
        data = fingerprints.recorded(task)
        for name in (
            (*_outputs(data), f"{PurePosixPath(task.name).name}{fingerprints.SUFFIX}")
            if data is not None
            else ()
        ):
            place, target = (
                joined(one.out, str(PurePosixPath(one.name).parent / name)) for one in (task, ready)
            )
            if store_of(place).is_file(place):
                self._taken(place, Path(target).parent, Path(target).name)

    @staticmethod
    def _taken(place: str, folder: Path, name: str = "") -> Path:
        target = folder / (name or safe_part(PurePosixPath(place).name))
        target.parent.mkdir(parents=True, exist_ok=True)
        store_of(place).fetch(place, target, downloads.rules().room(folder))
        return target


def _outputs(record: bytes | None) -> Sequence[str]:
    """The names of the files that a record tells of; none that lead elsewhere."""
    try:
        named = [
            str(name) for name, _ in json.loads(record or b"{}").get("fingerprint", {}).get("outputs", ())
        ]
    except (ValueError, TypeError, AttributeError):
        return ()
    return [name for name in named if name == PurePosixPath(name).name]
