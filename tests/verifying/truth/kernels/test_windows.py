"""Windows on an array: what they see, and that they see nothing outside of it."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.verifying.truth.kernels.windows import Windows


def windows(size: tuple[int, ...], kernel: tuple[int, ...], step: int = 1, dilation: int = 1) -> Windows:
    """Those that fit, without padding."""
    none, steps, dilations = (0,) * len(size), (step,) * len(size), (dilation,) * len(size)
    out = tuple((n - (k - 1) * dilation - 1) // step + 1 for n, k in zip(size, kernel, strict=True))
    return Windows(size, kernel, steps, dilations, none, none, out)


@pytest.mark.parametrize(("step", "dilation"), [(1, 1), (2, 1), (1, 2), (3, 2)])
@pytest.mark.parametrize(("size", "kernel"), [((9,), (3,)), ((8, 11), (2, 3)), ((5, 6, 7), (3, 1, 2))])
def test_a_view_of_all_windows_holds_what_each_tap_sees(
    size: tuple[int, ...], kernel: tuple[int, ...], step: int, dilation: int
) -> None:
    found = windows(size, kernel, step, dilation)
    x = np.random.default_rng(0).standard_normal((2, 3, *size))
    view = found.seen(x)
    assert view.shape == (2, 3, *kernel, *found.out)
    assert all(
        np.array_equal(view[(slice(None), slice(None), *tap)], found.at(x, tap)) for tap in found.taps()
    )


def test_windows_that_do_not_fit_are_refused() -> None:
    found = windows((8, 8), (3, 3))
    with pytest.raises(ValueError, match="do not fit"):
        found.seen(np.zeros((1, 1, 8, 7)))
    for steps, dilations in (((-1, 1), (1, 1)), ((1, 1), (1, -1)), ((0, 1), (1, 1))):
        odd = Windows(found.size, found.kernel, steps, dilations, found.before, found.after, found.out)
        with pytest.raises(ValueError, match="do not fit"):
            odd.seen(np.zeros((1, 1, 8, 8)))
