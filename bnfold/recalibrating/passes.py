"""A pass: the user's inputs through a part of the network, and the values that are wanted of it.

The part ends at what is wanted. onnxruntime runs it with the optimisations that users run it with; a network
that it does not take (opset 6, bfloat16) goes through the float64 interpreter, which is slow.

Rule 1: weights lie in one file that every pass maps. Only statistics differ from pass to pass, and they are
        small: they travel with the graph.
Rule 2: what a batch gives is gone before the next one comes.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import Mismatch, Unsupported
from ..files import memory
from ..files.temporary import scratch
from ..ir.graph import ir
from ..ir.tensor import from_array
from ..verifying.engines.runtime import CannotRun, crashes, first_line, optimised
from ..verifying.truth.interpreter import CannotEvaluate, Interpreter

if TYPE_CHECKING:
    import onnx

INLINE = 1 << 16  # bytes of a tensor that travels with the graph
Feeds = Mapping[str, np.ndarray]
Run = Callable[[Feeds], dict[str, np.ndarray]]


class NoEngine(Exception):
    """No engine runs a part of the network. The text is a clause."""


class Network:
    """A model that runs in parts. Its weights are written once, to `folder`; initializers named in `changing`
    are taken from the model anew for each part. `engines` are those that ran one, in order."""

    def __init__(self, model: ir.Model, folder: Path, changing: Collection[str] = ()) -> None:
        self.model, self.folder, self.changing = model, folder, frozenset(changing)
        self.engines: dict[str, None] = {}
        self._crashes = crashes(model)
        self._proto: onnx.ModelProto | None = None

    def of(self, model: ir.Model) -> Network:
        """A clone of the model with other statistics, on the same file of weights."""
        other = copy(self)
        other.model = model
        return other

    def part(self, wanted: Sequence[str]) -> Run:
        """What gives these values of a batch of feeds; it raises NoEngine where none can, Mismatch where the
        feeds do not fit."""
        fed = {value.name for value in self.model.graph.inputs}
        computed = [name for name in dict.fromkeys(wanted) if name not in fed]
        cut = self._cut(computed)
        run = self._in_onnxruntime(cut) if computed else lambda feeds: {}
        return lambda feeds: {**{name: feeds[name] for name in wanted if name in fed}, **run(feeds)}

    def _in_onnxruntime(self, cut: onnx.ModelProto) -> Run:
        try:
            if self._crashes:
                raise CannotRun(self._crashes)
            session = optimised(cut.SerializeToString(), self.folder)
        except CannotRun as error:
            return self._interpreted(cut, str(error))
        self.engines["onnxruntime"] = None
        takes = {value.name for value in session.get_inputs()}
        gives = [value.name for value in session.get_outputs()]

        def run(feeds: Feeds) -> dict[str, np.ndarray]:
            given = {name: value for name, value in feeds.items() if name in takes}
            try:
                return dict(zip(gives, session.run(gives, given), strict=True))
            except Exception as error:  # onnxruntime's own classes share no base below Exception
                why = first_line(error)
                if why == memory.SHORT:
                    raise Unsupported(why) from error
                raise Mismatch(f"the network does not run on inputs of {_shapes(feeds)}: {why}") from error

        return run

    def _interpreted(self, cut: onnx.ModelProto, why: str) -> Run:
        path = self.folder / "part.onnx"
        path.write_bytes(cut.SerializeToString())
        interpreter = Interpreter(ir.load(path))

        def run(feeds: Feeds) -> dict[str, np.ndarray]:
            try:
                found = interpreter.run(feeds)
            except CannotEvaluate as error:
                raise NoEngine(
                    f"onnxruntime does not run it ({why}), nor does the interpreter ({error})"
                ) from error
            self.engines["the float64 interpreter"] = None
            return found

        return run

    def _cut(self, wanted: list[str]) -> onnx.ModelProto:
        """The nodes that the wanted values need, with these as outputs."""
        import onnx

        whole = self._whole()
        nodes = list(whole.graph.node)
        makers = {name: index for index, node in enumerate(nodes) for name in node.output if name}
        needed: set[int] = set()
        used, waiting = set(wanted), list(wanted)
        while waiting:
            index = makers.get(waiting.pop())
            if index is None or index in needed:
                continue
            needed.add(index)
            read = set(_read(nodes[index]))
            used |= read
            waiting += read
        part = onnx.ModelProto(ir_version=whole.ir_version)
        part.opset_import.extend(whole.opset_import)
        part.functions.extend(whole.functions)
        graph = part.graph
        graph.name = whole.graph.name or "part"
        graph.node.extend(nodes[index] for index in sorted(needed))
        graph.input.extend(value for value in whole.graph.input if value.name in used)
        graph.initializer.extend(t for t in whole.graph.initializer if t.name in used)
        graph.sparse_initializer.extend(t for t in whole.graph.sparse_initializer if t.values.name in used)
        graph.initializer.extend(self._statistics(used))
        graph.output.extend(onnx.ValueInfoProto(name=name) for name in wanted)
        return part

    def _statistics(self, used: Collection[str]) -> Iterator[onnx.TensorProto]:
        for name in sorted(self.changing & set(used)):
            tensor = self.model.graph.initializers[name].const_value
            assert tensor is not None
            yield ir.to_proto(from_array(tensor.numpy(), name, tensor.dtype))

    def _whole(self) -> onnx.ModelProto:
        """The model as a message whose large tensors lie in a file of the folder."""
        if self._proto is None:
            import onnx

            path = self.folder / "network.onnx"
            ir.save(self.model, path, external_data="network.data", size_threshold_bytes=INLINE)
            proto = onnx.load(path, load_external_data=False)
            kept = [t for t in proto.graph.initializer if t.name not in self.changing]
            del proto.graph.initializer[:]
            proto.graph.initializer.extend(kept)
            self._proto = proto
        return self._proto


@contextmanager
def network(model: ir.Model, changing: Collection[str] = ()) -> Iterator[Network]:
    """A model that runs in parts, as long as this is open."""
    with scratch() as folder:
        yield Network(model, folder, changing)


def _read(node: onnx.NodeProto) -> Iterator[str]:
    """Names that a node reads, in its bodies as well (where some are the bodies' own, which no node outside
    makes)."""
    yield from (name for name in node.input if name)
    for attribute in node.attribute:
        for body in (*((attribute.g,) if attribute.HasField("g") else ()), *attribute.graphs):
            for inner in body.node:
                yield from _read(inner)
            yield from (value.name for value in body.output)


def _shapes(feeds: Mapping[str, Any]) -> str:
    return ", ".join(f"'{name}' {list(np.shape(value))}" for name, value in feeds.items())
