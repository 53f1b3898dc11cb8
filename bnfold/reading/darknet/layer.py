"""What a section's function works with: the features it reads, the arrays it takes, the operators it makes.

Rule 1: a value is (rows, channels, height, width), or (rows, numbers) where a section works on flat numbers;
        `image` and `flat` turn one into the other where a section needs it.
Rule 2: values are named `NNN_section/what`; the one that a layer ends with is renamed to `NNN_section`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...errors import Malformed, Unsupported
from ...ir.graph import ir
from ...ir.provenance import Source
from .cfg import Section
from .dialects import Dialect, Fork
from .network import Feature, Network
from .syntax import INT_MAX


def dims_of(value: ir.Value) -> list[Any]:
    """The dimensions of a value; every value that a section makes has them."""
    assert value.shape is not None
    return list(value.shape.dims)


class Layer:
    """One section on its way into the graph. `name` is `NNN_section`."""

    def __init__(self, network: Network, index: int, section: Section, type_: str) -> None:
        self.network = network
        self.index = index
        self.name = f"{index:03}_{type_}"
        self.source = Source(network.file, section.line, index=index, type=type_)
        self.option_line = {key: option.line for key, option in section.options.items()}
        self.dontload = self.dontloadscales = False
        self.numload = 0

    @property
    def fork(self) -> Fork:
        """Whose code is followed."""
        return self.network.dialect.fork

    @property
    def whose(self) -> str:
        """The same for messages."""
        return self.network.dialect.whose

    @property
    def dialect(self) -> Dialect:
        """The dialect, with its formula of batch norm."""
        return self.network.dialect

    # features

    def feature(self, value: ir.Value, *dims: int) -> Feature:
        """A feature of (channels, height, width), or of one number: flat."""
        size = math.prod(dims)
        if size > INT_MAX or size < 1:
            raise Malformed(
                f"the layer's result has {' x '.join(f'{d:,}' for d in dims)} numbers",
                expected=f"1 to {INT_MAX:,}",
            )
        return Feature(value, *(dims if len(dims) == 3 else (0, 0, 0)), size=size)

    def like(self, value: ir.Value, x: Feature) -> Feature:
        """A feature of the dimensions of another one."""
        return Feature(value, *x.dims, size=x.size, why_flat=x.why_flat)

    def earlier(self, index: int) -> Feature:
        """The result of a layer by its number in the cfg: absolute, or negative from here. Errors: Malformed
        unless it is earlier."""
        at = index if index >= 0 else self.index + index
        if not 0 <= at < self.index:
            raise Malformed(f"{index} names layer #{at}", expected=f"a layer before this one (#{self.index})")
        found = self.network.features[at]
        if found.value is None:
            raise Malformed(f"{index} names layer #{at}, which has no result at inference")
        if found.unstrided not in (None, found.spot):
            raise Unsupported(
                f"layer #{at} blurs (antialiasing), and darknet reads beyond its result where "
                "another layer refers to it",
                way_out="let the layer be read by the next one only",
            )
        return found

    def shape(self, x: Feature) -> list[int | str]:
        """Dimensions of a feature as a picture."""
        return [self.network.rows, *x.dims]

    def image(self, x: Feature) -> ir.Value:
        """The feature as (rows, channels, height, width). Errors: Malformed for flat numbers."""
        if x.value is None or not x.is_image:
            raise Malformed(x.why_flat, expected="a picture (channels, height, width)")
        return self._form(x, "image", [0, *x.dims])

    def flat(self, x: Feature) -> ir.Value:
        """The feature as (rows, numbers), in the order channel, row, column."""
        return self._form(x, "flat", [0, x.size])

    def _form(self, x: Feature, form: str, dims: list[int]) -> ir.Value:
        value = x.value
        if value is None:
            raise Malformed("the layer before this one has no result at inference")
        if dims_of(value)[1:] == dims[1:]:
            return value
        if form not in x._forms:
            x._forms[form] = self.reshape(value, dims, form, base=value.name or self.name)
        return x._forms[form]

    # operators

    def op(
        self,
        op_type: str,
        *inputs: ir.Value | None,
        what: str = "",
        shape: Sequence[Any] | None = None,
        base: str = "",
        **attributes: Any,
    ) -> ir.Value:
        """A node named `layer/what` (by default the operator's name); `shape` is that of its value, by
        default that of its first input. Attributes that are numbers are rounded to float32, as a file holds
        them."""
        while inputs[-1] is None:
            inputs = inputs[:-1]
        if shape is None and inputs[0] is not None:
            shape = dims_of(inputs[0])
        name = self.network.build.fresh(f"{base or self.name}/{what or op_type.lower()}")
        rounded: dict[str, Any] = {
            k: float(np.float32(value)) if isinstance(value, float) else value
            for k, value in attributes.items()
        }
        made: ir.Value = self.network.build.op(
            op_type, *inputs, name=name, shape=shape, source=self.source, **rounded
        )
        return made

    def split(self, value: ir.Value, axis: int, parts: dict[str, int]) -> dict[str, ir.Value]:
        """Parts of an axis, by their names and sizes in order; parts of size 0 are left out."""
        parts = {name: size for name, size in parts.items() if size}
        build, dims = self.network.build, dims_of(value)
        if len(parts) == 1:
            return dict.fromkeys(parts, value)
        made = build.op(
            "Split",
            value,
            self.ints(list(parts.values())),
            name=build.fresh(f"{self.name}/split"),
            axis=axis,
            source=self.source,
            output=[build.fresh(f"{self.name}/{name}") for name in parts],
            shape=[[*dims[:axis], size, *dims[axis + 1 :]] for size in parts.values()],
        )
        return dict(zip(parts, made, strict=True))

    def reshape(self, value: ir.Value, dims: list[int], what: str = "reshape", base: str = "") -> ir.Value:
        """Reshape; a first 0 keeps the rows."""
        shape = [dims_of(value)[0] if d == 0 else d for d in dims]
        return self.op("Reshape", value, self.ints(dims), what=what, shape=shape, base=base)

    def transpose(self, value: ir.Value, perm: list[int], what: str = "transpose") -> ir.Value:
        """Transpose."""
        dims = dims_of(value)
        return self.op("Transpose", value, what=what, shape=[dims[p] for p in perm], perm=perm)

    def reduce(
        self, op_type: str, value: ir.Value, axis: int, *, what: str = "", keep: bool = True
    ) -> ir.Value:
        """A reduction over one axis; ReduceSum has its axes as an input since opset 13, the others since
        18."""
        dims = dims_of(value)
        axis %= len(dims)
        shape = [*dims[:axis], *([1] if keep else []), *dims[axis + 1 :]]
        if op_type != "ReduceSum" and self.network.build.opset < 18:
            return self.op(op_type, value, what=what, shape=shape, keepdims=int(keep), axes=[axis])
        return self.op(op_type, value, self.ints([axis]), what=what, shape=shape, keepdims=int(keep))

    def scalar(self, value: float) -> ir.Value:
        """A float32 constant, shared by the whole net."""
        return self.network.constant(f"scalar/{np.float32(value)!s}", np.float32(value))

    def ints(self, values: list[int]) -> ir.Value:
        """An int64 vector, shared by the whole net."""
        return self.network.constant(f"ints/{'_'.join(map(str, values))}", np.array(values, np.int64))

    def every_row(self, value: ir.Value, *dims: int) -> Feature:
        """A constant as the result of this layer, repeated for as many rows as the input has."""
        data = self.network.build.graph.inputs[0]
        count = self.op("Shape", data, what="rows", shape=[1], dtype=ir.DataType.INT64, start=0, end=1)
        target = self.op("Concat", count, self.ints(list(dims)), what="target", axis=0, shape=[1 + len(dims)])
        expanded = self.op("Expand", value, target, shape=[self.network.rows, *dims])
        return self.feature(expanded, *dims)

    def constant(self, what: str, values: Any) -> ir.Value:
        """A constant of this layer, float32 or int64."""
        return self.network.build.constant(self.network.build.fresh(f"{self.name}/{what}"), values)

    # arrays

    def tensor(self, what: str, *shape: int) -> ir.TensorProtocol:
        """The next array of the weights file."""
        if self.dontload:
            return self.network.arrays.absent(
                shape, self.source, "the layer has dontload=1, so no file holds its weights"
            )
        return self.network.arrays.take(shape, what, self.source)

    def weight(self, what: str, tensor_: ir.TensorProtocol) -> ir.Value:
        """An initializer of this layer."""
        return self.network.build.weight(self.network.build.fresh(f"{self.name}/{what}"), tensor_)

    def take(self, what: str, *shape: int) -> ir.Value:
        """The next array of the weights file as an initializer."""
        return self.weight(what, self.tensor(what, *shape))

    # findings

    def at(self, option: str) -> Source:
        """The line of an option, else that of the section."""
        return Source(self.network.file, self.option_line.get(option, self.source.line))

    def note(self, code: str, text: str, option: str = "") -> None:
        """A note on this layer."""
        self.network.notes.note(code, self.at(option) if option else self.source, text)

    def warn(self, code: str, text: str, option: str = "") -> None:
        """A warning on this layer."""
        self.network.notes.warn(code, self.at(option) if option else self.source, text)
