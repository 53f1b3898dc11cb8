"""Models whose weights are off by a rounding."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.verifying.perturbation import jittered

from .sides import proto, side


@pytest.mark.parametrize("parameters", [False, True])
def test_which_constants_are_moved(parameters: bool) -> None:
    random = np.random.default_rng(0)
    arrays = {
        "w": random.standard_normal((4, 3)).astype(np.float32),
        "s": random.uniform(1, 2, 3).astype(np.float32),
    }
    model = side(
        proto(
            """<ir_version: 8, opset_import: ["" : 17]> g (float[N, 4] x) => (float y)
            <float[4, 3] w, float[3] s> { m = MatMul(x, w) y = Mul(m, s) }""",
            **arrays,
        )
    ).model
    moved = jittered(model, 1, parameters=parameters).graph.initializers
    for name, numbers in arrays.items():
        other = moved[name].const_value
        assert other is not None
        np.testing.assert_allclose(other.numpy(), numbers, rtol=2e-7)
        assert np.array_equal(other.numpy(), numbers) == (name == "s" and not parameters)
