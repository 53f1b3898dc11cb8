"""Values that are no tensors, taken apart into arrays that the gate can judge.

    sequence        `scores [0]`, `scores [1]` ...
    map             `probabilities [keys]` and `probabilities [values]`, in the order of the keys
    list of maps    the same with a row a map (what ZipMap gives for a batch), if all have the same keys
    empty optional  nothing: a value that only one of two models gives is a difference

A tensor keeps its name; texts are numpy's, not objects.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

_MARK = " ["


def parts(values: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Arrays by name."""
    return {name: array for given, value in values.items() for name, array in _parts(given, value)}


def whole(name: str) -> str:
    """The name of the value that a part is of."""
    return name.partition(_MARK)[0]


def renamed(name: str, names: Mapping[str, str]) -> str:
    """A part's name where the values have other names."""
    if name in names:
        return names[name]
    value, mark, place = name.partition(_MARK)
    return names.get(value, value) + mark + place


def _parts(name: str, value: Any) -> Iterator[tuple[str, np.ndarray]]:
    if value is None:
        return
    if (
        isinstance(value, (list, tuple))
        and value
        and all(isinstance(item, dict) and item.keys() == value[0].keys() for item in value)
    ):
        order = sorted(value[0])
        yield f"{name}{_MARK}keys]", np.array([order] * len(value))
        yield f"{name}{_MARK}values]", np.array([[item[key] for key in order] for item in value])
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from _parts(f"{name}{_MARK}{index}]", item)
    elif isinstance(value, dict):
        order = sorted(value)
        yield f"{name}{_MARK}keys]", np.array(order)
        yield f"{name}{_MARK}values]", np.array([value[key] for key in order])
    else:
        array = np.asarray(value)
        yield name, array.astype(np.str_) if array.dtype == object else array
