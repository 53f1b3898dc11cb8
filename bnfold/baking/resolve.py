"""What is to be put in front of each input: what the user asks for, completed by what the model's files say,
and held against the input.

wanted(loaded, options) -> one Wanted for every input that something is asked for
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import Mismatch, Unsupported, UsageError
from ..ir.graph import attribute, ir, is_op, named_type
from ..reading.caffe.mean_file import read_mean
from ..records import dataclass
from ..results.baking import FROM_MODEL, Baked, Preprocessing, Stated
from ..results.model_names import fed
from ..results.options import ReadOptions, spelled
from ..results.plan import Finding, Loaded

IMAGE_CHANNELS = (1, 3, 4)
FLOATS = (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE)


@dataclass(frozen=True, kw_only=True, eq=False)
class Wanted:
    """What to put behind one input.

    at      the value behind which it goes: the input, or the Cast that makes floats of it
    mean    shaped to broadcast against what comes in, in the network's layout; None: nothing is subtracted
    factor  the same for what is multiplied
    dims    of the input, with the number of channels that the values tell where the model leaves it open
    """

    baked: Baked
    input: ir.Value
    at: ir.Value
    mean: np.ndarray | None
    factor: np.ndarray | None
    dims: tuple[int | str | None, ...] | None


def wanted(loaded: Loaded, options: ReadOptions) -> tuple[list[Wanted], list[Finding]]:
    """What is asked for, for each input that something is asked for, in the order of the graph. Raises
    UsageError for what does not fit an input, Mismatch for a mean image of another size."""
    inputs = fed(loaded.model)
    asked = _asked(loaded, options)
    found: list[Wanted] = []
    notes: list[Finding] = []
    for name, value in inputs.items():
        type_, layout = (_of(table, name) for table in (options.input_type, options.input_layout))
        if name not in asked and type_ is None and layout is None:
            continue
        stated = next((one for one in loaded.stated if one.input == name), None)
        source = _Input(value, type_, layout, notes, channels_first=loaded.format != "onnx")
        found.append(source.wanted(*_complete(loaded, asked.get(name, Preprocessing()), stated, notes)))
    return found, notes


def _of(table: tuple[tuple[str, str], ...], name: str) -> str | None:
    values = dict(table)
    return values.get(name, values.get(""))


def _asked(loaded: Loaded, options: ReadOptions) -> dict[str, Preprocessing]:
    """What is asked for by input; `from-model` without a name is for every input that the files speak of."""
    asked, inputs = dict(options.bake_input), fed(loaded.model)
    alone = asked.pop("", None)
    if alone is None:
        return asked
    if alone.from_model:
        names = [one.input for one in loaded.stated if one.input in inputs] or list(inputs)[:1]
        return {**dict.fromkeys(names, alone), **asked}
    return {**dict.fromkeys(inputs, alone), **asked}


def _complete(
    loaded: Loaded, asked: Preprocessing, stated: Stated | None, notes: list[Finding]
) -> tuple[Preprocessing, str, bool]:
    """(the preprocessing with what the files say, who says it, may a mean image be cropped?). Raises
    UsageError where they say nothing, Unsupported where they say what nobody knows."""
    if not asked.from_model:
        return asked, "as asked" if asked != Preprocessing() else "", False
    if stated is None:
        raise UsageError(
            f"{spelled('bake_input', FROM_MODEL)}, and {_silence(loaded)}",
            expected="a data layer with a transform_param, or a darknet network that reads pictures",
            way_out=f"say it yourself: {spelled('bake_input', 'mean=...,std=...')}",
        )
    if stated.refusal:
        raise Unsupported(
            stated.refusal,
            where=stated.where,
            way_out=f"say what it does: {spelled('bake_input', 'mean=...,scale=...,order=...')}",
        )
    if stated.outside:
        text = f"stays outside: {stated.outside}; '{stated.input}' takes what comes out of it"
        notes.append(Finding("note", "bake.outside", stated.where, text))
    own = stated.preprocessing
    given_mean = bool(asked.mean or asked.mean_file)
    made = Preprocessing(
        mean=asked.mean if given_mean else as_they_come_in(own.mean, asked.permutation),
        std=asked.std or own.std,
        scale=asked.scale if asked.scale is not None else own.scale,
        order=asked.order or own.order,
        mean_file=asked.mean_file if given_mean else own.mean_file,
    )
    return made, stated.where, stated.crops


def _silence(loaded: Loaded) -> str:
    return {
        "caffe": "no data layer of the prototxt says how pictures are prepared",
        "darknet": "the network reads numbers, not pictures",
    }.get(loaded.format, "an ONNX model says nothing of how pictures are prepared")


def as_they_come_in(values: tuple[float, ...], permutation: tuple[int, ...]) -> tuple[float, ...]:
    """Values in the network's order of channels, in that in which they come in."""
    if len(values) != len(permutation):
        return values
    return tuple(values[permutation.index(channel)] for channel in range(len(values)))


class _Input:
    """One input of the model, and what it is to become."""

    def __init__(
        self,
        value: ir.Value,
        type_: str | None,
        layout: str | None,
        notes: list[Finding],
        *,
        channels_first: bool,
    ) -> None:
        """`channels_first`: every network of the format has its channels in front, whatever the sizes."""
        self.value, self.notes = value, notes
        self.name = value.name or ""
        self.type, self.layout = type_, layout
        self.dims = None if value.shape is None else [d if isinstance(d, int) else None for d in value.shape]
        first = channels_first or any(is_op(user, "Conv") for user, index in value.uses() if index == 0)
        self.axis = 1 if first else self._channel_axis()
        if self.dims is not None and len(self.dims) > self.axis and self.dims[self.axis] is None:
            self.dims[self.axis] = self._channels_of_reader()

    def wanted(self, asked: Preprocessing, where: str, crops: bool) -> Wanted:
        """What to put behind it."""
        self._check_is_no_output()
        at = self._floats(asked)
        mean, shape = self._mean(asked, crops)
        factor = self._factor(asked)
        self._check_order(asked)
        baked = Baked(
            input=self.name,
            preprocessing=asked,
            where=where,
            axis=self.axis,
            type=self._new_type(),
            layout=self._new_layout(),
            mean_shape=shape,
        )
        return Wanted(baked=baked, input=self.value, at=at, mean=mean, factor=factor, dims=self._dims())

    def _dims(self) -> tuple[int | str | None, ...] | None:
        """The sizes that are declared, and the number of channels where it was found."""
        if self.value.shape is None or self.dims is None:
            return None
        declared = [d if isinstance(d, int) else d.value for d in self.value.shape]
        return tuple(known if known is not None else d for known, d in zip(self.dims, declared, strict=True))

    def _channels_of_reader(self) -> int | None:
        """How many channels the first convolution that reads the input has a weight for."""
        for user, index in self.value.uses():
            weight = user.inputs[1] if len(user.inputs) > 1 else None
            if is_op(user, "Conv") and index == 0 and self.axis == 1 and weight is not None:
                shape = weight.shape
                if shape is not None and len(shape) > 1 and isinstance(shape[1], int):
                    return int(shape[1]) * int(attribute(user, "group", 1))
        return None

    def _check_is_no_output(self) -> None:
        if self.value.is_graph_output():
            raise Unsupported(
                f"input '{self.name}' is an output of the model as well, and one name cannot mean what comes "
                "in and what becomes of it",
                way_out="put an Identity of another name between the two",
            )

    def _channel_axis(self) -> int:
        """1, or the last where the sizes say that images come as height, width, channels."""
        dims = self.dims
        last = dims is not None and len(dims) == 4 and dims[3] in IMAGE_CHANNELS
        return 3 if last and dims is not None and dims[1] not in (*IMAGE_CHANNELS, None) else 1

    def _floats(self, asked: Preprocessing) -> ir.Value:
        """The value that arithmetic can follow: the input, or what a Cast makes of it."""
        if self.value.dtype in FLOATS or not asked.maps:
            return self.value
        uses = list(self.value.uses())
        node = uses[0].node if len(uses) == 1 else None
        if node is not None and is_op(node, "Cast") and named_type(node) in FLOATS:
            return node.outputs[0]
        kind = self.value.dtype.name.lower() if self.value.dtype is not None else "of no known type"
        raise UsageError(
            f"{spelled('bake_input')} for '{self.name}', which is {kind}",
            expected="an input of floats, or one that a single Cast makes floats of",
        )

    def _mean(self, asked: Preprocessing, crops: bool) -> tuple[np.ndarray | None, tuple[int, ...]]:
        """(what to subtract, the shape of an image that varies over places)"""
        if asked.mean and asked.mean_file:
            raise UsageError(f"both mean and mean_file for '{self.name}'", expected="one of them")
        if not asked.mean_file:
            mean = self._along_channels("mean", asked.mean)
            return (mean if mean is not None and mean.any() else None), ()
        image = read_mean(Path(asked.mean_file))
        if asked.permutation and len(image) == len(asked.permutation):
            image = image[[asked.permutation.index(channel) for channel in range(len(image))]]
        if (image == image[:, :1, :1]).all():
            values = tuple(float(v) for v in image[:, 0, 0])
            if self._channels() not in (None, len(values)):
                raise self._other_size(image, asked.mean_file)
            return self._along_channels("mean", values), ()
        image = self._fitting(image, asked.mean_file, crops)
        shaped = image if self.axis == 1 else image.transpose(1, 2, 0)
        return shaped[None], tuple(image.shape)

    def _fitting(self, image: np.ndarray, file: str, crops: bool) -> np.ndarray:
        """The image, of the input's size: its middle where the files say so. Raises Mismatch."""
        dims = self.dims
        if dims is None or len(dims) != 4:
            raise self._other_size(image, file)
        channels, height, width = (
            dims[self.axis],
            *(d for i, d in enumerate(dims) if i not in (0, self.axis)),
        )
        if height is None or width is None:
            raise UsageError(
                f"a mean for every place of '{self.name}', whose size is open",
                expected=spelled("fix_shape", f"{self.name}:..."),
            )
        if channels not in (None, image.shape[0]):
            raise self._other_size(image, file)
        if image.shape[1:] != (height, width) and not (
            crops and image.shape[1] >= height and image.shape[2] >= width
        ):
            raise self._other_size(image, file)
        top, left = (image.shape[1] - height) // 2, (image.shape[2] - width) // 2
        return image[:, top : top + height, left : left + width]

    def _other_size(self, image: np.ndarray, file: str) -> Mismatch:
        shown = "x".join("?" if d is None else str(d) for d in self.dims or ())
        return Mismatch(
            f"a mean image of {'x'.join(map(str, image.shape))}",
            where=Path(file),
            expected=f"one that fits '{self.name}', which is {shown or 'of no known size'}",
            way_out="of a larger one Caffe takes the middle: cut it out with numpy and give it as .npy",
        )

    def _factor(self, asked: Preprocessing) -> np.ndarray | None:
        std = np.asarray(asked.std or (1.0,), np.float64)
        values = (1.0 if asked.scale is None else asked.scale) / std
        self._check_range("std" if asked.std else "scale", values)
        factor = self._along_channels("std", tuple(float(v) for v in values))
        return factor if factor is not None and (factor != 1).any() else None

    def _along_channels(self, what: str, values: tuple[float, ...]) -> np.ndarray | None:
        """Values shaped to broadcast along the channels. Raises UsageError for a wrong number of them."""
        if not values:
            return None
        self._check_range(what, np.asarray(values))
        if len(values) == 1:
            return np.full((1,) * len(self.dims or ()), values[0])
        if self.dims is None or len(self.dims) <= self.axis:
            raise UsageError(
                f"{spelled('bake_input')} gives '{self.name}' {len(values)} values of {what}, and its rank "
                f"is {'not known' if self.dims is None else len(self.dims)}",
                expected="one value for all",
            )
        channels = self._channels()
        if channels not in (None, len(values)):
            raise UsageError(
                f"{spelled('bake_input')} gives '{self.name}' {len(values)} values of {what}",
                expected=f"{channels}, one for each channel, or one for all",
            )
        self.dims[self.axis] = len(values)
        values = values[:1] if len(set(values)) == 1 else values
        return np.asarray(values).reshape([-1 if i == self.axis else 1 for i in range(len(self.dims))])

    def _check_range(self, what: str, values: np.ndarray) -> None:
        """The numbers are none that the input's own type cannot hold."""
        kind = self.value.dtype if self.value.dtype in FLOATS else ir.DataType.FLOAT
        assert kind is not None
        with np.errstate(over="ignore", under="ignore"):
            stored = values.astype(kind.numpy()).astype(np.float64)
        if not np.isfinite(stored).all() or ((stored == 0) & (values != 0)).any():
            raise UsageError(
                f"{spelled('bake_input')} gives '{self.name}' a {what} that {kind.name.lower()} cannot hold",
                expected=f"values within the range of {kind.name.lower()}",
            )

    def _channels(self) -> int | None:
        return self.dims[self.axis] if self.dims is not None and len(self.dims) > self.axis else None

    def _check_order(self, asked: Preprocessing) -> None:
        if not asked.order:
            return
        if (
            self.dims is None
            or self._channels() not in (None, len(asked.order))
            or len(self.dims) <= self.axis
        ):
            shown = "x".join("?" if d is None else str(d) for d in self.dims or ())
            raise UsageError(
                f"{spelled('bake_input')} gives '{self.name}' the order {asked.order}",
                expected=f"an input of {len(asked.order)} channels; this one is "
                f"{shown or 'of no known shape'}",
                way_out="leave the order out",
            )
        self.dims[self.axis] = len(asked.order)

    def _new_type(self) -> str:
        """The type that comes in, where it is not the network's."""
        if self.type is None or (self.value.dtype is not None and self.type == _called(self.value.dtype)):
            if self.type is not None:
                text = f"'{self.name}' is {self.type} already"
                self.notes.append(Finding("note", "bake.same-type", "", text))
            return ""
        if self.value.dtype not in FLOATS:
            kind = self.value.dtype.name.lower() if self.value.dtype is not None else "of no known type"
            raise UsageError(
                f"{spelled('input_type')} gives '{self.name}' the type {self.type}, and it is {kind}",
                expected="an input of floats",
            )
        return self.type

    def _new_layout(self) -> str:
        """The layout that comes in, where it is not the network's."""
        own = "NHWC" if self.axis == 3 else "NCHW"
        if self.layout is None:
            return ""
        if self.dims is None or len(self.dims) != 4:
            shown = "of no known rank" if self.dims is None else f"of rank {len(self.dims)}"
            raise UsageError(
                f"{spelled('input_layout')} gives '{self.name}' the layout {self.layout}",
                expected=f"an input of rank 4; this one is {shown}",
            )
        if self.layout == own:
            self.notes.append(Finding("note", "bake.same-layout", "", f"'{self.name}' is {own} already"))
            return ""
        return self.layout


def _called(kind: ir.DataType) -> str:
    return {"float": "float32"}.get(kind.name.lower(), kind.name.lower())
