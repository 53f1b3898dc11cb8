"""The decoder's answers where rules and kernels once had different ones, and where runtimes still have."""

from __future__ import annotations

from typing import Any

import pytest

from bnfold.operators import arguments as a


def get(**attributes: Any) -> a.Get:
    return lambda name, default=None, /: attributes.get(name, default)


@pytest.mark.parametrize(
    ("size", "scale", "wanted"), [(10, 0.7, 7), (100, 0.29, 29), (3, 7 / 3, 7), (7, 0.5, 3)]
)
def test_a_resize_multiplies_in_float32(size: int, scale: float, wanted: int) -> None:
    assert a.resized(get(), (size,), [scale], None).sizes == (wanted,)


def test_a_resize_keeps_what_it_does_not_scale_and_does_not_guess() -> None:
    assert a.resized(get(), ("N", "H"), [1.0, 2.0], None).sizes == ("N", None)
    assert a.resized(get(), ("N", "H"), None, [3, 8]).sizes == (3, 8)
    assert a.resized(get(keep_aspect_ratio_policy="not_larger"), ("N", 4), None, [3, 8]).sizes == (None, None)
    with pytest.raises(ValueError, match="either"):
        a.resized(get(), (2,), [1.0], [2])


@pytest.mark.parametrize(
    ("cut", "size", "wanted"),
    [
        (a.Cut(-9, -9, -1), 4, [0]),
        (a.Cut(9, -9, -1), 4, [3, 2, 1, 0]),
        (a.Cut(-1, -(1 << 63), -2), 4, [3, 1]),
        (a.Cut(5, 9, 1), 4, []),
        (a.Cut(-2, (1 << 63) - 1, 1), 4, [2, 3]),
        (a.Cut(0, -9, -1), 0, []),
    ],
)
def test_bounds_of_a_slice_are_clamped(cut: a.Cut, size: int, wanted: list[int]) -> None:
    assert list(cut.positions(size)) == wanted
    assert list(range(size))[cut.index(size)] == wanted
    assert cut.of(size) == len(wanted)


def test_a_slice_of_everything_keeps_any_size() -> None:
    assert a.Cut(0, (1 << 63) - 1, 1).of("N") == "N"
    assert a.Cut(1, (1 << 63) - 1, 1).of("N") is None
    assert a.Cut(3, (1 << 63) - 1, -1).disputed


def test_a_reduction_over_no_axes() -> None:
    assert a.reduced_axes(None, 3, keep_if_none=True) == []
    assert a.reduced_axes([], 3, keep_if_none=False) == [0, 1, 2]
    assert a.reduced_axes([-1, 0], 3, keep_if_none=True) == [0, 2]


def test_a_transposed_convolution_with_gaps() -> None:
    (window,) = a.transposed_windows(get(auto_pad="SAME_UPPER", strides=[3]), [1])
    assert window.place(4) == (0, 10)
    assert window.output(4) is None
    (window,) = a.transposed_windows(get(auto_pad="SAME_UPPER", strides=[2]), [3])
    assert window.output(4) == 8


def test_windows() -> None:
    (ceil,) = a.windows(get(strides=[2], ceil_mode=1), [3])
    assert [ceil.output(n) for n in (5, 6, 7)] == [2, 3, 3]
    (last,) = a.windows(get(strides=[3], pads=[0, 1], ceil_mode=1), [1])
    assert last.output(3) == 1  # a second window would begin in the padding
    (same,) = a.windows(get(auto_pad="SAME_LOWER"), [4])
    assert (same.output("W"), same.padding(5), same.may_pad) == ("W", (2, 1), True)
    (large,) = a.windows(get(), [9])
    assert large.output(5) is None
    with pytest.raises(ValueError, match="strides"):
        a.windows(get(strides=[1, 1]), [3])


@pytest.mark.parametrize(
    ("attributes", "kernel", "size", "meets"),
    [
        ({"pads": [1, 1]}, 3, "W", True),
        ({"pads": [2, 2]}, 3, "W", True),
        ({"pads": [3, 0]}, 3, "W", False),
        ({"pads": [0, 3]}, 3, 9, False),
        ({"pads": [1, 1], "dilations": [5]}, 2, 4, False),  # -1 and 4: on either side of the input
        ({"pads": [1, 1], "dilations": [5]}, 2, 5, True),
        ({"pads": [1, 1], "dilations": [5]}, 2, "W", False),
        ({"pads": [0, 5], "dilations": [5]}, 2, None, True),
        ({"pads": [3, 3], "dilations": [3], "strides": [3]}, 3, 1, True),
        ({"pads": [3, 3], "dilations": [3]}, 3, 1, False),  # only the first window is there, and meets it
        ({"auto_pad": "SAME_UPPER"}, 3, "W", True),
        ({"auto_pad": "SAME_UPPER", "dilations": [4]}, 3, "W", False),
        ({"auto_pad": "SAME_UPPER", "dilations": [4]}, 3, 9, True),
        ({}, 2, 0, False),
    ],
)
def test_a_window_may_lie_in_the_padding_alone(
    attributes: dict[str, object], kernel: int, size: int | str | None, meets: bool
) -> None:
    (window,) = a.windows(get(**attributes), [kernel])
    assert window.always_meets(size) is meets
    if isinstance(size, int) and size and not attributes.get("auto_pad"):
        starts = range(-window.pads[0], window.count(size) * window.stride - window.pads[0], window.stride)
        taps = [{at + k * window.dilation for k in range(kernel)} for at in starts]
        assert all(tap & set(range(size)) for tap in taps) or not meets


def test_parts_of_a_split() -> None:
    assert a.split_sizes(None, 7, 3, num_outputs=3) == [3, 3, 1]
    assert a.split_sizes(None, 6, 3) == [2, 2, 2]
    assert a.split_sizes(None, "N", 3) is None
    for sizes, count in ((None, None), ([3, 3], None), ([4, 4, -1], None)):
        with pytest.raises(ValueError, match=r"parts|multiple"):
            a.split_sizes(sizes, 7, 3, count)


def test_reshapes_cancel_equal_symbols() -> None:
    assert a.reshaped((0, -1), ("N", 4, 5)) == ("N", 20)
    assert a.reshaped((-1, "N"), ("N", 4, 5)) == (20, "N")
    assert a.reshaped((-1, 2), ("N", 4)) == (None, 2)
    assert a.reshaped((0, 3), (2, 0), allow_zero=True) == (0, 3)
    with pytest.raises(ValueError, match="multiple"):
        a.reshaped((-1, 3), (2, 2))
