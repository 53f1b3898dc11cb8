"""Preprocessing that becomes a part of the network, as frozen values.

Preprocessing   what the user asks for, or what a file says of itself
Stated          what a model's files say of one input, and where
Baked           what was put in front of one input

The map is (x - mean) / std * scale on the channels as they come in; then the channels stand in the order that
the network reads. Mean and std are in the order and the unit of what comes in, as of pixels from 0 to 255.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import PurePath

from ..records import dataclass

IMAGE_ORDER = "rgb"  # the letters of channels as they come in, where an order is asked for
FROM_MODEL = "from-model"


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """What is asked for, or stated.

    from_model  what is not given here, the model's own files say
    mean, std   one value for each channel, or one for all; none: nothing is subtracted, or divided
    scale       what is multiplied at the end; None: not given
    order       the channels in the order that the network reads, in letters of those that come in (rgb)
    mean_file   a .binaryproto or .npy with a mean for every place
    """

    from_model: bool = False
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    scale: float | None = None
    order: str = ""
    mean_file: str = ""

    def __str__(self) -> str:
        """As it is written on the command line."""
        parts = [FROM_MODEL] if self.from_model else []
        parts += [f"{key}={_list(value)}" for key, value in (("mean", self.mean), ("std", self.std)) if value]
        parts += [f"scale={_number(self.scale)}"] if self.scale is not None else []
        parts += [
            f"{key}={text}" for key, text in (("order", self.order), ("mean_file", self.mean_file)) if text
        ]
        return ",".join(parts)

    @property
    def permutation(self) -> tuple[int, ...]:
        """Which of the channels that come in is each channel that the network reads; none: as they come."""
        found = tuple(IMAGE_ORDER.index(letter) for letter in self.order)
        return () if found == tuple(range(len(found))) else found

    @property
    def maps(self) -> bool:
        """Is there more to it than an order?"""
        return bool(self.mean or self.std or self.mean_file) or self.scale is not None


def _list(values: tuple[float, ...]) -> str:
    return ",".join(map(_number, values))


def _number(value: float) -> str:
    """The shortest text that means the number."""
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


@dataclass(frozen=True, kw_only=True)
class Stated:
    """What a model's files say of one input.

    where     the place that says it, in words
    refusal   why what it says cannot be carried out, a clause; "" where it can
    crops     does it cut the middle out of the picture, and so out of a mean image?
    outside   what it says that stays outside, such as a crop
    """

    input: str
    preprocessing: Preprocessing
    where: str
    refusal: str = ""
    crops: bool = False
    outside: str = ""


@dataclass(frozen=True, kw_only=True)
class Baked:
    """What was put in front of one input.

    preprocessing  what is computed, complete; `where` says who asked for it
    axis           the axis that channels run along, as the network reads them
    type, layout   of what comes in, where they are not the network's: "uint8", "NHWC"
    mean_shape     the mean image that was subtracted, where it varies over places
    """

    input: str
    preprocessing: Preprocessing = Preprocessing()
    where: str = ""
    axis: int = 1
    type: str = ""
    layout: str = ""
    mean_shape: tuple[int, ...] = ()

    @property
    def portable(self) -> Baked:
        """The same without the folder of a mean image, which differs from machine to machine."""
        file = PurePath(self.preprocessing.mean_file).name
        return replace(self, preprocessing=replace(self.preprocessing, mean_file=file))

    def __str__(self) -> str:
        """In one line."""
        steps = [self.type, self.layout, str(self.portable.preprocessing)]
        where = f" ({self.where})" if self.where else ""
        return f"'{self.input}': {', '.join(filter(None, steps)) or 'nothing'}{where}"
