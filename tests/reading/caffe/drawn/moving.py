"""Layers that move values about and change none."""

from __future__ import annotations

from math import prod

import numpy as np

from .net import LARGEST, axis_of, dims


def concat(net, name, x):
    written, axis = axis_of(net, x)

    def fits(v):
        return v.ndim == x.ndim and all(
            a == b for i, (a, b) in enumerate(zip(v.shape, x.shape, strict=True)) if i != axis
        )

    others = [n for n, v in net.values.items() if fits(v)]
    names = [name, *(net.pick(*others) for _ in range(net.whole(0, 2)))]
    y = np.concatenate([net.values[n] for n in names], axis)
    if y.size <= LARGEST:
        net.add("Concat", names, [y], f"concat_param {{ axis: {written} }}")


def slices(net, name, x):
    if max(x.shape) < 2:
        return
    axis = net.pick(*(i for i, n in enumerate(x.shape) if n >= 2))
    if x.shape[axis] % 2 == 0 and net.chance(0.3):
        points, written = [x.shape[axis] // 2], []
    else:
        points = sorted(
            net.random.choice(
                np.arange(1, x.shape[axis]), net.whole(1, min(2, x.shape[axis] - 1)), replace=False
            ).tolist()
        )
        written = points
    net.add(
        "Slice",
        [name],
        np.split(x, points, axis),
        f"slice_param {{ axis: {axis} {dims('slice_point', written)} }}",
    )


def reshape(net, name, x):
    axis = net.whole(0, x.ndim)
    count = net.whole(0, x.ndim - axis)
    cut = x.shape[axis : axis + count]
    new = net.pick([4] * (prod(cut) // 4), [prod(cut)], list(cut)[::-1], [1, *cut], [2, prod(cut) // 2])
    if prod(new) != prod(cut) or x.ndim - count + len(new) > 5:
        return
    entries = [
        0 if axis + i < x.ndim and x.shape[axis + i] == n and net.chance() else n for i, n in enumerate(new)
    ]
    if entries and net.chance(0.4):
        entries[net.whole(0, len(entries) - 1)] = -1
    shape = "shape { " + dims("dim", entries) + " }"
    written = axis - x.ndim - 1 if net.chance(0.3) else axis
    num_axes = -1 if axis + count == x.ndim and net.chance() else count
    net.add(
        "Reshape",
        [name],
        [x.reshape((*x.shape[:axis], *new, *x.shape[axis + count :]))],
        f"reshape_param {{ {shape} axis: {written} num_axes: {num_axes} }}",
    )


def flatten(net, name, x):
    written, axis = axis_of(net, x)
    end = net.whole(axis, x.ndim - 1)
    y = x.reshape(*x.shape[:axis], -1, *x.shape[end + 1 :])
    net.add(
        "Flatten",
        [name],
        [y],
        f"flatten_param {{ axis: {written} end_axis: {end - x.ndim if net.chance() else end} }}",
    )


def crop(net, name, x):
    written, axis = axis_of(net, x)
    other = net.bottom(
        lambda v: (
            v.ndim == x.ndim and all(a <= b for a, b in zip(v.shape[axis:], x.shape[axis:], strict=True))
        )
    )
    sizes = net.values[other].shape[axis:] if other else ()
    room = [b - a for a, b in zip(sizes, x.shape[axis:], strict=True)]
    offsets = net.pick([], [net.whole(0, min(room))], [net.whole(0, r) for r in room])
    full = offsets * len(room) if len(offsets) == 1 else offsets or [0] * len(room)
    cut = tuple(slice(o, o + n) for o, n in zip(full, sizes, strict=True))
    net.add(
        "Crop", [name, other], [x[(..., *cut)]], f"crop_param {{ axis: {written} {dims('offset', offsets)} }}"
    )


def tile(net, name, x):
    written, axis = axis_of(net, x)
    times = net.whole(1, 3)
    if x.size * times > LARGEST:
        return
    net.add(
        "Tile",
        [name],
        [np.concatenate([x] * times, axis)],
        f"tile_param {{ axis: {written} tiles: {times} }}",
    )


def permute(net, name, x):
    order = net.random.permutation(x.ndim).tolist()[: net.whole(1, x.ndim)]
    whole = order + [i for i in range(x.ndim) if i not in order]
    net.add("Permute", [name], [x.transpose(whole)], f"permute_param {{ {dims('order', order)} }}")


def transpose(net, name, x):
    order = net.random.permutation(x.ndim).tolist()
    net.add("Transpose", [name], [x.transpose(order)], f"transpose_param {{ {dims('dim', order)} }}")


def reverse(net, name, x):
    axis = net.whole(0, x.ndim - 1)
    net.add("Reverse", [name], [np.flip(x, axis)], f"reverse_param {{ axis: {axis} }}")


def shuffle(net, name, x):
    n, c, *space = x.shape
    group = net.pick(*(g for g in range(1, c + 1) if c % g == 0))
    y = x.reshape(n, group, c // group, *space).swapaxes(1, 2).reshape(x.shape)
    net.add("ShuffleChannel", [name], [y], f"shuffle_channel_param {{ group: {group} }}")


def split(net, name, x):
    net.add("Split", [name], [x] * net.whole(1, 2))
