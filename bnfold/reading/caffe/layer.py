"""What a layer function works with: one layer at its place in the network.

    at.op("Relu", x)                     a node after this layer; its value has the shape of its first input
                                         unless `shape` is given
    at.blob(0, "weight", (64, 3, 3, 3))  a learned blob as a graph value
    raise at.malformed("...", "...")     an error at the layer, or at the field that it names

A function returns its values, one for each top; the caller names them after their blobs. Inner values are
named `layer/what`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import Malformed, Unsupported
from ...ir.graph import ir
from ...ir.provenance import Source
from ...ir.tensor import Deferred
from ...results.options import ReadOptions
from ...results.plan import Finding
from ..builder import Build
from .blob import Shape, shown
from .moments import NORMAL, Moments, moments
from .schema import Node
from .value_names import Names
from .weight_matching import BlobSpec, Slot, Weights

Value = ir.Value
FLOAT, INT64, BOOL = ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL
MOMENTS = "bnfold.moments"  # key in a value's meta, which is never written
MOST_MADE = 1 << 24  # numbers of a constant that a layer makes in memory
LARGEST = (1 << 31) - 1  # values in one blob: Caffe counts them with an int


def dims(value: Value) -> Shape:
    """The static shape of a value. Unsupported when its size is known at run time alone."""
    sizes = tuple(value.shape or ())
    if any(not isinstance(d, int) for d in sizes):
        raise Unsupported("the layer reads a bottom whose size depends on the data", expected="static sizes")
    return sizes  # type: ignore[return-value]


def along_channels(shape: Shape) -> Shape:
    """The shape under which a vector of channels, which are on axis 1, meets a blob of a shape."""
    return (shape[1], *(1,) * (len(shape) - 2))


class Layer:
    """One layer: its name, type, tops and parameters, the graph that is being built, and its learned blobs.
    `readers` are the types of the layers that read its first top."""

    def __init__(
        self,
        node: Node,
        index: int,
        name: str,
        type_: str,
        *,
        build: Build,
        weights: Weights,
        options: ReadOptions,
        findings: list[Finding],
        names: Names,
        source: Callable[[Layer, int, Shape | None], Value | None],
        way_out: Callable[[], str],
        readers: Sequence[str] = (),
    ) -> None:
        self.node = node
        self.index = index
        self.name = name
        self.type = type_
        self.build = build
        self.weights = weights
        self.options = options
        self.findings = findings
        self.names = names
        self._source = source
        self._way_out = way_out
        self.readers = readers
        self.tops: list[str] = node.all("top")
        self.made: list[ir.Node] = []
        self.blobs: dict[str, tuple[int, Shape]] = {}  # the name of a value -> the blob that it shows
        self.divisor: int | None = None  # the blob that stored statistics are divided by
        self.blobs_used = 0

    @property
    def phase(self) -> str:
        """The phase that this layer sees: its own if it states one, else the network's."""
        return str(self.node.get("phase") or self.options.phase)

    # ---- errors and findings

    def place(self, parameter: str = "", field: str = "") -> Source:
        """Where a field of a parameter message stands, or the layer."""
        node = self.node.get(parameter) if parameter else None
        where = node.place(field) if node is not None else self.node.place()
        return Source(where.file, where.line, where.column, name=self.name, type=self.type)

    def malformed(
        self, found: str, expected: str = "", way_out: str = "", at: tuple[str, str] = ("", "")
    ) -> Malformed:
        """A Malformed error here; `at` is (parameter message, field)."""
        return Malformed(found, where=self.place(*at), expected=expected, way_out=way_out)

    def unsupported(self, found: str, expected: str = "", way_out: str = "") -> Unsupported:
        """An Unsupported error here; the way out is to cut the network before this layer."""
        return Unsupported(found, where=self.place(), expected=expected, way_out=way_out or self._way_out())

    def note(self, code: str, text: str, level: str = "note") -> None:
        """Tell the user something about this layer."""
        self.findings.append(Finding(level, code, str(self.place()), text))

    def expect(self, field: str, value: object, usual: object) -> None:
        """Raise Unsupported if an option has another value than the one that bnfold can express."""
        if value != usual:
            raise self.unsupported(
                f"'{field}' is {value}", f"{usual}, the only value that bnfold can express"
            )

    # ---- nodes

    def fresh(self, what: str) -> str:
        """An unused name `layer/what` that no blob wants either."""
        return self.names.unique(f"{self.name}/{what}")

    def op(
        self,
        op_type: str,
        *inputs: Value | None,
        shape: Sequence[int | str] | None = None,
        dtype: ir.DataType | None = None,
        **attributes: Any,
    ) -> Value:
        """One node; the shape is that of its first input unless given. Attributes that are None are left
        out."""
        first = next((value for value in inputs if value is not None), None)
        shape = tuple(shape) if shape is not None else dims(first) if first is not None else ()
        self._check(shape)
        name = self.fresh(op_type.lower())
        value: Value = self.build.op(
            op_type, *inputs, name=name, output=name, shape=shape, dtype=dtype, **attributes
        )
        self._keep(value, op_type, inputs)
        return value

    def ops(
        self,
        op_type: str,
        *inputs: Value | None,
        shapes: Sequence[Sequence[int | str]],
        dtypes: Sequence[ir.DataType] | None = None,
        **attributes: Any,
    ) -> tuple[Value, ...]:
        """One node of several values."""
        for shape in shapes:
            self._check(shape)
        names = [self.fresh(op_type.lower()) for _ in shapes]
        values: tuple[Value, ...] = self.build.op(
            op_type,
            *inputs,
            name=names[0],
            output=names,
            shape=list(shapes),
            dtype=list(dtypes) if dtypes else None,
            **attributes,
        )
        for value in values:
            self._keep(value, op_type, inputs)
        return values

    def _keep(self, value: Value, op_type: str, inputs: Sequence[Value | None]) -> None:
        producer = value.producer()
        assert producer is not None
        self.made.append(producer)
        if self.weights.seed is not None:
            known = [self.moments(x) for x in inputs if x is not None and not x.is_initializer()]
            value.meta[MOMENTS] = moments(op_type, known)

    @staticmethod
    def moments(x: Value | None) -> Moments:
        """How a value is distributed, roughly; known for random weights alone."""
        found = x.meta.get(MOMENTS) if x is not None else None
        return found if isinstance(found, Moments) else NORMAL

    def _check(self, shape: Sequence[int | str]) -> None:
        sizes = [d for d in shape if isinstance(d, int)]
        if any(d < 1 for d in sizes):
            raise self.malformed(
                f"an output of shape {shown(sizes)}", "at least one value in every dimension"
            )
        if math.prod(sizes) > LARGEST:
            raise self.malformed(
                f"an output of shape {shown(sizes)}", f"at most {LARGEST:,} values, as Caffe counts them"
            )

    def limit_constant(self, *sizes: int) -> None:
        """Refuse a layer that needs a constant of its own of absurd size, before memory is allocated: the
        sizes are numbers that anybody can write into a prototxt."""
        if math.prod(sizes) > MOST_MADE:
            raise self.unsupported(f"it needs a constant of {shown(sizes)} numbers", f"at most {MOST_MADE:,}")

    def constant(self, values: Any, what: str, dtype: Any = None) -> Value:
        """A few values of the graph's own: float32 for floats, int64 for integers."""
        return self.build.constant(self.fresh(what), values, dtype)

    def scalar(self, value: float, what: str) -> Value:
        """A float32 constant without dimensions."""
        return self.constant(np.float32(value), what, np.float32)

    def initializer(self, tensor: ir.TensorProtocol, what: str) -> Value:
        """A tensor as a graph value."""
        return self.build.weight(self.fresh(what), tensor)

    def blob(
        self,
        index: int,
        what: str,
        shape: Sequence[int],
        *,
        filler: Node | None = None,
        default: float | None = None,
        view: Sequence[int] | None = None,
        forms: Sequence[Sequence[int]] = (),
        meets: Value | None = None,
    ) -> Value:
        """Learned blob `index` of shape `shape`, seen as `view` (of as many values).

        `forms` are further shapes that a file may store it in. When the file has none, an explicit constant
        or bilinear `filler` gives the values, or `default`, where Caffe's own default means something;
        otherwise the weights are missing. `meets` is the value whose statistics the blob holds.
        """
        spec = BlobSpec(tuple(shape), [tuple(form) for form in forms], filler, default, self.moments(meets))
        source = self.weights.source(self._slot(index, what), spec)
        seen_as = tuple(view if view is not None else shape)
        if seen_as not in source.views:
            source.views[seen_as] = self.initializer(self.weights.tensor(source, seen_as, what), what)
        found = source.views[seen_as]
        self.blobs[found.name or ""] = (index, spec.shape)
        return found

    def stored(
        self, index: int, what: str, shape: Sequence[int], forms: Sequence[Sequence[int]] = ()
    ) -> Deferred:
        """The values of learned blob `index`, for a layer that computes other values from them: they are not
        put into the graph."""
        spec = BlobSpec(tuple(shape), [tuple(form) for form in forms])
        return self.weights.tensor(self.weights.source(self._slot(index, what), spec), spec.shape, what)

    def _slot(self, index: int, what: str) -> Slot:
        self.blobs_used = max(self.blobs_used, index + 1)
        return Slot(self.index, index, what, str(self.place()))

    @property
    def stored_blobs(self) -> int | None:
        """How many blobs the weights file has for this layer; None when it does not have the layer."""
        return self.weights.count(self.index)

    def check_blobs(self) -> None:
        """To be called after the layer's function: the file must have as many blobs as the function used, and
        the prototxt no more `param` blocks than blobs."""
        self.weights.check_count(self.index, self.blobs_used, str(self.place()))
        blocks = len(self.node.all("param"))
        if blocks > self.blobs_used > 0:
            raise self.malformed(
                f"{blocks} param blocks for {self.blobs_used} blobs", "no more than one for each blob"
            )

    # ---- small moves

    def reshape(self, x: Value, shape: Sequence[int]) -> Value:
        """`x` in another shape of as many values. Leading dimensions that stay are copied, so that a changed
        batch still fits."""
        shape = tuple(shape)
        if shape == dims(x):
            return x
        same = 0
        while same < min(len(shape), len(dims(x))) and shape[same] == dims(x)[same]:
            same += 1
        target = [0] * same + list(shape[same:])
        if len(shape) - same == 1 and math.prod(shape) == math.prod(dims(x)):
            target[-1] = -1
        return self.op("Reshape", x, self.constant(np.array(target, np.int64), "shape"), shape=shape)

    def transpose(self, x: Value, order: Sequence[int]) -> Value:
        """Axis i of the result is axis order[i] of `x`."""
        return self.op("Transpose", x, shape=[dims(x)[i] for i in order], perm=list(order))

    def cast(self, x: Value, dtype: ir.DataType) -> Value:
        """`x` as another type; floats are truncated to integers, as C does."""
        return self.op("Cast", x, dtype=dtype, to=dtype.value)

    def indices(self, x: Value, size: int) -> Value:
        """`x` as indices below `size`: truncated, and held inside, where Caffe would read foreign memory."""
        limits = [self.constant(np.int64(v), what, np.int64) for v, what in ((0, "low"), (size - 1, "high"))]
        return self.op("Clip", self.cast(x, INT64), *limits)

    def reduce(self, op_type: str, x: Value, axes: Sequence[int], keep: bool = True) -> Value:
        """A reduction over axes; where the axes stand depends on the operator and the opset."""
        shape = [1 if i in axes else d for i, d in enumerate(dims(x)) if keep or i not in axes]
        if self.build.opset >= (13 if op_type == "ReduceSum" else 18):
            return self.op(
                op_type, x, self.constant(np.array(axes, np.int64), "axes"), shape=shape, keepdims=int(keep)
            )
        return self.op(op_type, x, shape=shape, axes=list(axes), keepdims=int(keep))

    def cut(self, x: Value, axis: int, start: int, stop: int, step: int = 1) -> Value:
        """x[start:stop:step] on one axis; a negative step runs from `start` down to the beginning when stop
        is below zero."""
        size = len(range(start, stop, step))
        shape = [size if i == axis else d for i, d in enumerate(dims(x))]
        end = stop if stop >= 0 else -(1 << 62)
        ends = [
            self.constant(np.array([v], np.int64), what)
            for v, what in ((start, "start"), (end, "end"), (axis, "axis"), (step, "step"))
        ]
        return self.op("Slice", x, *ends, shape=shape)

    def axis(self, given: int, rank: int, field: tuple[str, str] = ("", "")) -> int:
        """The axis that a possibly negative number names. Malformed when there is none."""
        if not -rank <= given < rank:
            raise self.malformed(
                f"axis {given} of a blob with {rank} axes", f"an axis from {-rank} to {rank - 1}", at=field
            )
        return given % rank if rank else 0

    def rank(self, x: Value, wanted: int) -> Shape:
        """The shape of `x`, which must have so many axes."""
        if len(dims(x)) != wanted:
            raise self.malformed(f"a bottom of shape {shown(dims(x))}", f"{wanted} axes")
        return dims(x)

    def input(self, index: int, shape: Sequence[int] | None) -> Value | None:
        """Top `index` as a graph input, of the shape that the user asked for or else of this one; None when
        nothing needs it."""
        return self._source(self, index, tuple(shape) if shape is not None else None)
