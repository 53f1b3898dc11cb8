"""onnxruntime as users run it, but with every graph optimisation off: what is compared is the model, not what
an optimiser makes of it.

A session is made from a file as it lies. Two things need its skeleton instead (onnx_skeleton.py), loaded from
memory, its weights read by onnxruntime from the file itself:

    large files     weights inside the file are mapped and not parsed: no second and third copy of them in
                    memory
    more outputs    protobuf merges a message that stands there twice, so `ModelProto{graph{output...}}`
                    behind a skeleton adds outputs
"""

from __future__ import annotations

import mmap
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import InputError
from ...files import memory, onnx_skeleton
from ...files.names import native
from ...files.protobuf import bytes_field
from ...files.temporary import scratch
from ...ir.graph import ir, is_op, label, nodes
from ...ir.tensor import FileMap
from ...results.comparison import Side
from ..composite_values import parts

LARGEST_IN_ONE_FILE = 1_500_000_000
BY_REFERENCE = (
    1 << 25
)  # bytes of a file from which on its weights are mapped; smaller ones are parsed as they are
MOST_THREADS = 4  # where memory is short
_LARGE = 1 << 16  # bytes of one tensor
_INITIALIZERS = {"model": {7: "graph"}, "graph": {5: "tensor"}}
_MAPS = ("CPUExecutionProvider", "CUDAExecutionProvider")  # others may want the model's own file
_FOLDER_KEY = "session.model_external_initializers_file_folder_path"


class CannotRun(Exception):
    """onnxruntime refuses the model. The text is its own."""


class Session:
    """One model on one execution provider, `watch` among its outputs. `seconds` adds up the time of all runs.
    Raises CannotRun."""

    def __init__(
        self,
        path: Path,
        providers: Sequence[Any] = ("CPUExecutionProvider",),
        *,
        watch: Collection[str] = (),
        profile: Path | None = None,
    ) -> None:
        self.seconds = 0.0
        self._session = _opened(path, list(providers), watch, profile)
        self.providers: list[str] = self._session.get_providers()
        self.outputs: list[str] = [value.name for value in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """All outputs by name, what is no tensor in parts (composite_values.py). Feeds that the model has no
        input for are left out."""
        wanted = {value.name for value in self._session.get_inputs()}
        started = time.perf_counter()
        try:
            results = self._session.run(
                None, {name: value for name, value in feeds.items() if name in wanted}
            )
        except Exception as error:  # see _session
            raise CannotRun(first_line(error)) from error
        finally:
            self.seconds += time.perf_counter() - started
        return parts(dict(zip(self.outputs, results, strict=True)))

    def close(self) -> None:
        """Give the model's memory and maps back now."""
        self._session = None

    def end_profiling(self) -> Path:
        """Where the profile was written."""
        return Path(self._session.end_profiling())


def _opened(path: Path, providers: list[Any], watch: Collection[str], profile: Path | None) -> Any:
    """A session by reference where that helps; what onnxruntime then refuses gets a second chance as a plain
    file."""
    providers_map = all((one if isinstance(one, str) else one[0]) in _MAPS for one in providers)
    if not watch and (not providers_map or path.stat().st_size < memory.at_most(BY_REFERENCE)):
        return _as_it_lies(path, providers, profile)
    try:
        referring, settings = _by_reference(path, watch), _settings(profile)
        settings.add_session_config_entry(_FOLDER_KEY, native(path.resolve().parent))
        return _session(referring, settings, providers)
    except (CannotRun, InputError, UnicodeDecodeError):
        return (
            _from_memory(path, watch, providers, profile) if watch else _as_it_lies(path, providers, profile)
        )


def mapped(path: Path, side: Side) -> int:
    """Bytes of weights that a session of this file maps, each with its last page. Those of a small file are
    parsed, not mapped."""
    sizes = [tensor.nbytes for tensor in _tensors(side.model)]
    inside = path.stat().st_size
    if inside < memory.at_most(BY_REFERENCE) and sum(sizes) <= inside:
        return 0
    return sum(size + 2 * mmap.PAGESIZE for size in sizes)


def _as_it_lies(path: Path, providers: list[Any], profile: Path | None) -> Any:
    """The file by its name, if that is text: onnxruntime takes no other."""
    try:
        name = native(path)
    except UnicodeDecodeError:
        return _from_memory(path, (), providers, profile)
    return _session(name, _settings(profile), providers)


def _from_memory(path: Path, watch: Collection[str], providers: list[Any], profile: Path | None) -> Any:
    """What the file holds, with its folder for external data."""
    settings = _settings(profile)
    with _folder_of(path) as folder:
        settings.add_session_config_entry(_FOLDER_KEY, folder)
        return _session(path.read_bytes() + (more_outputs(watch) if watch else b""), settings, providers)


@contextmanager
def _folder_of(path: Path) -> Iterator[str]:
    """A path of the file's folder that is text: where its name is none, that of an open descriptor."""
    folder = path.resolve().parent
    descriptor = None
    try:
        text = native(folder)
    except UnicodeDecodeError:
        descriptor = os.open(folder, os.O_RDONLY)
        text = f"/proc/self/fd/{descriptor}"
    try:
        yield text
    finally:
        if descriptor is not None:
            os.close(descriptor)


def _by_reference(path: Path, watch: Collection[str]) -> bytes:
    path = path.resolve()
    return onnx_skeleton.skeleton(FileMap(path).view, native(Path(path.name)), _INITIALIZERS, _LARGE) + (
        more_outputs(watch) if watch else b""
    )


def _settings(profile: Path | None) -> Any:
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    settings.log_severity_level = 4
    settings.use_deterministic_compute = True
    if threads := os.environ.get(
        "BNFOLD_THREADS"
    ):  # cores are shared with others: a thread that waits gives its core back
        settings.intra_op_num_threads = int(threads)
        settings.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if memory.limit() is not None:  # no pools, no second form of weights, no stacks of many threads
        settings.enable_cpu_mem_arena = settings.enable_mem_pattern = False
        settings.add_session_config_entry("session.disable_prepacking", "1")
        settings.intra_op_num_threads = min(
            settings.intra_op_num_threads or os.cpu_count() or 1, MOST_THREADS
        )
    if profile is not None:
        settings.enable_profiling = True
        settings.profile_file_prefix = str(profile)
    return settings


def _session(model: str | bytes, settings: Any, providers: list[Any]) -> Any:
    import onnxruntime

    try:
        return onnxruntime.InferenceSession(model, settings, providers=providers)
    except Exception as error:  # onnxruntime's own classes share no base below Exception
        raise CannotRun(first_line(error)) from error


def optimised(model: bytes, folder: Path) -> Any:
    """onnxruntime's own session of a model in memory, with the optimisations that users run it with; the
    folder has its external data. Raises CannotRun."""
    import onnxruntime

    settings = _settings(None)
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.add_session_config_entry(_FOLDER_KEY, native(folder))
    return _session(model, settings, ["CPUExecutionProvider"])


def more_outputs(names: Collection[str]) -> bytes:
    """ModelProto{graph: {output: {name} ...}}: fields 7, 12 and 1."""
    return bytes_field(7, b"".join(bytes_field(12, bytes_field(1, name.encode())) for name in names))


def first_line(error: BaseException) -> str:
    """The first line of what onnxruntime says, without its prefix of codes."""
    if memory.is_lack(error) or "bad_alloc" in str(error) or "Failed to allocate memory" in str(error):
        return memory.SHORT
    text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return text.split(" : ", 3)[-1].strip()[:300]


@contextmanager
def on_disk(side: Side) -> Iterator[Path]:
    """The side's file, or a temporary one with its model."""
    if side.path is not None:
        yield side.path
        return
    with scratch() as folder:
        path = folder / "model.onnx"
        weight = sum(t.nbytes for t in _tensors(side.model))
        ir.save(side.model, path, external_data="model.data" if weight > LARGEST_IN_ONE_FILE else None)
        yield path


def _tensors(model: ir.Model) -> Iterator[Any]:
    for value in model.graph.initializers.values():
        if value.const_value is not None:
            yield value.const_value


def crashes(model: ir.Model) -> str:
    """Why a model would take the whole process down in onnxruntime, "" where nothing is known to.

    Seen with 1.31: BatchNormalization whose further outputs stand there with empty names is a segmentation
    fault when it runs.
    """
    for node in nodes(model):
        if (
            is_op(node, "BatchNormalization")
            and len(node.outputs) > 1
            and not any(v.name for v in node.outputs[1:])
        ):
            return f"onnxruntime crashes on {label(node)}: a BatchNormalization with empty further outputs"
    return ""
