"""onnxruntime as users run it, but with every graph optimisation off: what is compared is the model, not what an optimiser makes of it.

A session is made from a file. More values than the graph's outputs are exposed by a copy of that file with a few bytes behind it:
protobuf merges a message that stands there twice, so `ModelProto{graph{output...}}` appended to a model adds outputs to it, and no
weight is parsed. External data is linked beside the copy.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ..comparison import Side
from ..graph import ir, is_op, label, nodes
from ..tensor import FileMap
from ..wire import BYTES, bytes_field, fields

LARGEST_IN_ONE_FILE = 1_500_000_000


class CannotRun(Exception):
    """onnxruntime refuses the model. The text is its own."""


class Session:
    """One model on one execution provider. `seconds` adds up the time of all runs."""

    def __init__(self, path: Path, providers: Sequence[Any] = ("CPUExecutionProvider",), options: Mapping[str, str] | None = None,
                 profile: Path | None = None) -> None:
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        settings.log_severity_level = 4
        settings.use_deterministic_compute = True
        settings.intra_op_num_threads = int(os.environ.get("BNFOLD_THREADS", "0"))  # 0: as many as there are cores
        for key, value in (options or {}).items():
            settings.add_session_config_entry(key, value)
        if profile is not None:
            settings.enable_profiling = True
            settings.profile_file_prefix = str(profile)
        self.seconds = 0.0
        try:
            self._session = onnxruntime.InferenceSession(str(path), settings, providers=list(providers))
        except Exception as error:  # onnxruntime's own classes share no base below Exception
            raise CannotRun(first_line(error)) from error
        self.providers: list[str] = self._session.get_providers()
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name. Feeds that the model has no input for are left out."""
        wanted = {value.name for value in self._session.get_inputs()}
        started = time.perf_counter()
        try:
            results = self._session.run(None, {name: value for name, value in feeds.items() if name in wanted})
        except Exception as error:  # see above
            raise CannotRun(first_line(error)) from error
        finally:
            self.seconds += time.perf_counter() - started
        return dict(zip(self.outputs, results, strict=True))

    def end_profiling(self) -> Path:
        """Where the profile was written."""
        return Path(self._session.end_profiling())


def first_line(error: BaseException) -> str:
    """The first line of what onnxruntime says, without its prefix of codes."""
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text.split(" : ", 3)[-1].strip()[:300]


@contextmanager
def on_disk(side: Side) -> Iterator[Path]:
    """The side's file, or a temporary one with its model."""
    if side.path is not None:
        yield side.path
        return
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        path = Path(folder) / "model.onnx"
        weight = sum(t.nbytes for t in _tensors(side.model))
        ir.save(side.model, path, external_data="model.data" if weight > LARGEST_IN_ONE_FILE else None)
        yield path


def _tensors(model: ir.Model) -> Iterator[Any]:
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            yield value.const_value


@contextmanager
def exposing(path: Path, side: Side, values: Collection[str]) -> Iterator[Path]:
    """A copy of a model's file whose graph gives more values as outputs."""
    graph = side.model.graph
    present = {value.name for value in graph.outputs}
    added = [name for name in values if name not in present]
    if not added:
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="bnfold-") as folder:
        copy = Path(folder) / "model.onnx"
        shutil.copyfile(path, copy)
        with copy.open("ab") as file:
            file.write(more_outputs(added))
        for name in external_files(path):
            _link(path.parent / name, Path(folder) / name)
        yield copy


def more_outputs(names: Collection[str]) -> bytes:
    """ModelProto{graph: {output: {name} ...}}: fields 7, 12 and 1."""
    return bytes_field(7, b"".join(bytes_field(12, bytes_field(1, name.encode())) for name in names))


def external_files(path: Path) -> set[str]:
    """Files beside the model that hold its tensors: field 13 (key 1, value 2) of every tensor, found on the wire."""
    view = FileMap(path).view
    found: set[str] = set()
    for place in _inside(view, (7, 5)), _inside(view, (7, 1, 5, 5)):
        for start, end in place:
            for entry_start, entry_end in _inside(view, (13,), start, end):
                entry = {f.number: bytes(view[f.start:f.end]).decode() for f in fields(view, entry_start, entry_end)}
                if entry.get(1) == "location":
                    found.add(entry.get(2, ""))
    return found


def _inside(view: memoryview, numbers: tuple[int, ...], start: int = 0, end: int | None = None) -> Iterator[tuple[int, int]]:
    """Every message that is reached from a message by a path of field numbers."""
    for one in fields(view, start, end):
        if one.number == numbers[0] and one.type == BYTES:
            if len(numbers) == 1:
                yield one.start, one.end
            else:
                yield from _inside(view, numbers[1:], one.start, one.end)


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def crashes(model: ir.Model) -> str:
    """Why a model would take the whole process down in onnxruntime, "" where nothing is known to.

    Seen with 1.31: BatchNormalization whose further outputs stand there with empty names is a segmentation fault when it runs.
    """
    for node in nodes(model):
        if is_op(node, "BatchNormalization") and len(node.outputs) > 1 and not any(v.name for v in node.outputs[1:]):
            return f"onnxruntime crashes on {label(node)}: a BatchNormalization with empty further outputs"
    return ""
