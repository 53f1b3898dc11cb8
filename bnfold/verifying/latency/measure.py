"""Two models in turn in every runtime, so that what disturbs the machine disturbs both.

Each model has a process of its own (child.py), which keeps it loaded and runs it when asked. A round is a
turn of each, the order changing from round to round; a turn runs the model until it has taken TURN_S, so that
the first run after a pause does not count much, and its figure is the median of these runs. The ratio of a
round is that of its two turns.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import Unsupported
from ...files.temporary import scratch
from ...results.comparison import Side
from ...results.latency import Latencies, Latency, Measured, Spread
from ...results.options import TimeOptions, VerifyOptions
from ..case import Case, Progress
from ..engines.environment import environment
from ..engines.providers import CPU, SUFFIX, required, search_path
from ..engines.runtime import on_disk
from ..inputs.interface import Interface, InterfaceExceptions, InterfacesDiffer, interface
from ..inputs.samples import Unfillable, inputs_of
from ..truth.interpreter import CannotEvaluate
from .runtimes import installed

TURN_S = 0.02
MOST_RUNS = 1000  # in one turn


def measured(
    before: Side,
    after: Side | None,
    options: TimeOptions,
    inputs: VerifyOptions,
    progress: Progress | None = None,
) -> Latencies:
    """How long one or two models take, on every provider that `inputs` names and in every other runtime that
    is installed. `inputs` also says what they are fed.

    Raises ProviderUnavailable for a provider that this installation lacks, Unsupported for models that cannot
    be run, or not on the same inputs."""
    progress = progress or (lambda what, share: None)
    providers = required(inputs.providers)
    case, feed = _first_feed(before, after or before, inputs, progress)
    places = [("onnxruntime", name) for name in providers]
    places += [(name, CPU) for name in installed() if name != "onnxruntime"]
    with ExitStack() as stack:
        folder = stack.enter_context(scratch())
        sides = [_prepared(side, case, feed, folder, stack) for side in (before, after) if side is not None]
        rows = []
        for k, (runtime, provider) in enumerate(places):
            progress(f"measuring in {runtime}", k / len(places))
            rows.append(_in_turn(runtime, provider, sides, options, folder))
    if all(row.before is None for row in rows):
        raise Unsupported(f"no runtime here runs the model: {rows[0].reason}", where=before.name or None)
    return Latencies(
        rows=tuple(rows),
        threads=options.threads,
        warm_up=options.warm_up,
        runs=options.runs,
        inputs=tuple((name, "x".join(map(str, value.shape)) or "scalar") for name, value in feed.items()),
        notes=tuple(dict.fromkeys(case.notes)),
        environment=environment("openvino", "opencv-python-headless", "opencv-python"),
    )


def _first_feed(
    before: Side, after: Side, options: VerifyOptions, progress: Progress
) -> tuple[Case, dict[str, np.ndarray]]:
    """What both models are fed: the user's first sample, or a seeded one at sizes at which the first runs."""
    try:
        case = Case(before, after, _sized(before, after, options), _interface(before, after), progress)
        return case, case.reference_runs().feeds[0]
    except (CannotEvaluate, Unfillable) as error:
        raise Unsupported(f"the model cannot be run here: {error}", where=before.name or None) from error


def _sized(before: Side, after: Side, options: VerifyOptions) -> VerifyOptions:
    """The options, with the shapes that the second model fixes and the first leaves open, where the user
    gives none: only there both can be timed."""
    given = {name for name, _ in options.input_shapes}
    theirs = {one.name: one.dims for one in inputs_of(after.model)}
    fixed = []
    for one in inputs_of(before.model):
        dims = tuple(dim for dim in theirs.get(one.name, ()) if isinstance(dim, int))
        if len(dims) == len(one.dims) and dims != one.dims and not given & {one.name, ""}:
            fixed.append((one.name, dims))
    return replace(options, input_shapes=(*options.input_shapes, *fixed)) if fixed else options


def _interface(before: Side, after: Side) -> Interface:
    try:
        return interface(before, after, InterfaceExceptions(fixed_shapes=True), offers=False)
    except InterfacesDiffer as error:
        raise Unsupported(
            f"the two models cannot be compared: {error}",
            where=after.name or None,
            way_out="time each of them alone",
        ) from error


def _prepared(
    side: Side, case: Case, feed: dict[str, np.ndarray], folder: Path, stack: ExitStack
) -> tuple[Path, Path]:
    """The files that a child reads: the model, and what it is fed."""
    path = stack.enter_context(on_disk(side)).resolve()
    feeds = folder / f"feeds{len(list(folder.iterdir()))}.npz"
    np.savez(feeds, **(feed if side is case.reference else case.interface.for_candidate(feed)))  # type: ignore[arg-type]
    return path, feeds


def _in_turn(
    runtime: str, provider: str, sides: Sequence[tuple[Path, Path]], options: TimeOptions, folder: Path
) -> Latency:
    """One runtime: all models loaded, then run in turn."""
    short = provider.removesuffix(SUFFIX).lower()
    with ExitStack() as stack:
        children: list[_Child] = []
        for k, (model, feeds) in enumerate(sides):
            request = {
                "runtime": runtime,
                "model": str(model),
                "provider": provider,
                "threads": options.threads,
                "feeds": str(feeds),
            }
            child = stack.enter_context(_started(request, folder / f"{runtime}{k}.json"))
            if child.error:
                which = "" if len(sides) == 1 else ("the first model: ", "the second model: ")[k]
                return Latency(runtime=runtime, version="", provider=short, reason=f"{which}{child.error}")
            children.append(child)
        rounds = _rounds(children, options)
        times = [Spread.of(column) for column in zip(*rounds, strict=True)]
        ratio = Spread.of([row[1] / row[0] for row in rounds]) if len(sides) > 1 else None
        found = [
            Measured(spread, child.load, child.memory())
            for spread, child in zip(times, children, strict=True)
        ]
    return Latency(
        runtime=runtime,
        version=children[0].version,
        provider=short,
        before=found[0],
        after=found[1] if len(found) > 1 else None,
        ratio=ratio,
    )


def _rounds(children: list[_Child], options: TimeOptions) -> list[list[float]]:
    """Seconds of one run in each round, for each model."""
    lengths = []
    for child in children:
        warm = child.run(options.warm_up)
        lengths.append(min(MOST_RUNS, max(1, math.ceil(TURN_S / max(min(warm), 1e-9)))))
    found = []
    for number in range(options.runs):
        row = [0.0] * len(children)
        order = range(len(children)) if number % 2 == 0 else reversed(range(len(children)))
        for k in order:
            row[k] = statistics.median(children[k].run(lengths[k]))
        found.append(row)
    return found


class _Child:
    """A process with a loaded model, or the `error` why there is none."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        answer = self._answer()
        self.error: str = answer.get("error", "")
        self.version: str = answer.get("version", "")
        self.load: float = answer.get("load", math.nan)

    def run(self, times: int) -> list[float]:
        """Seconds of so many runs."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{times}\n")
        self.process.stdin.flush()
        answer = self._answer()
        if "error" in answer:
            raise Unsupported(f"a run that was to be timed failed: {answer['error']}")
        seconds: list[float] = answer["seconds"]
        return seconds

    def memory(self) -> int | None:
        """What it took; the process ends."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        memory: int | None = self._answer().get("memory")
        return memory

    def _answer(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line:
            answer: dict[str, Any] = json.loads(line)
            return answer
        return {"error": f"its process ended with code {self.process.wait()}"}


@contextmanager
def _started(request: dict[str, Any], place: Path) -> Iterator[_Child]:
    place.write_text(json.dumps(request), encoding="utf-8")
    with subprocess.Popen(
        [sys.executable, "-m", "bnfold.verifying.latency.child", str(place)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": search_path()},
    ) as process:
        try:
            yield _Child(process)
        finally:
            process.kill()
