"""[rnn], [gru], [lstm], [crnn] and [conv_lstm] against formulas in numpy, and their kernels, which steps share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bnfold.folding import fold
from bnfold.results.plan import Loaded

from .nets import floats, header, load, ops, run

EPSILON = 1e-5
Layer = Callable[[np.ndarray], np.ndarray]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


class File:
    """The arrays of a weights file, in its order."""

    def __init__(self, count: int) -> None:
        self.values, self.at = floats(count).astype(np.float64) - 0.3, 0

    def take(self, *shape: int) -> np.ndarray:
        part = self.values[self.at : self.at + int(np.prod(shape))].reshape(shape)
        self.at += part.size
        return part

    def norm(self, channels: int) -> Layer:
        scales, mean, variance = (self.take(channels) for _ in range(3))
        variance += 0.3  # positive; `values` is what is written
        return lambda y: (y - mean) / np.sqrt(variance + EPSILON) * scales

    def dense(self, inputs: int, outputs: int, norm: bool) -> Layer:
        biases, matrix = self.take(outputs), self.take(outputs, inputs)
        normed = self.norm(outputs) if norm else lambda y: y
        return lambda x: normed(x @ matrix.T) + biases

    def pointwise(self, inputs: int, outputs: int, norm: bool) -> Layer:
        """A 1 x 1 convolution over (rows, channels, height, width)."""
        biases = self.take(outputs)
        normed = self.norm(outputs) if norm else lambda y: y
        matrix = self.take(outputs, inputs)
        return lambda x: np.moveaxis(normed(np.moveaxis(x, 1, -1) @ matrix.T) + biases, -1, 1)


def elman(layers: list[Layer], steps: np.ndarray, hidden: tuple[int, ...], act: Layer) -> list[np.ndarray]:
    state, results = np.zeros((steps.shape[1], *hidden)), []
    for x in steps:
        state = act(layers[0](x)) + act(layers[1](state))
        results.append(act(layers[2](state)))
    return results


def gru(parts: dict[str, Layer], steps: np.ndarray, hidden: int, act: Layer) -> list[np.ndarray]:
    h, results = np.zeros((steps.shape[1], hidden)), []
    for x in steps:
        z = sigmoid(parts["uz"](x) + parts["wz"](h))
        r = sigmoid(parts["ur"](x) + parts["wr"](h))
        g = act(parts["uh"](x) + parts["wh"](r * h))
        h = z * h + (1 - z) * g
        results.append(h)
    return results


def lstm(parts: dict[str, Layer], steps: np.ndarray, hidden: tuple[int, ...]) -> list[np.ndarray]:
    h = c = np.zeros((steps.shape[1], *hidden))
    results = []
    for x in steps:
        f, i, o = (
            parts["w" + k](h) + parts["u" + k](x) + (parts["v" + k](c) if "vf" in parts and k != "o" else 0)
            for k in "fio"
        )
        c = sigmoid(f) * c + sigmoid(i) * np.tanh(parts["wg"](h) + parts["ug"](x))
        o = o + (parts["vo"](c) if "vo" in parts else 0)
        h = sigmoid(o) * np.tanh(c)
        results.append(h)
    return results


def held(
    tmp_path: Path, cfg: str, file: File, x: np.ndarray, want: list[np.ndarray], **options: object
) -> Loaded:
    """The model computes what the formulas say."""
    assert file.at == file.values.size
    loaded = load(tmp_path, cfg, file.values.astype(np.float32), header(), **options)
    rows = np.concatenate(list(x))
    got = run(loaded, rows)[0]
    np.testing.assert_allclose(got.reshape(-1), np.concatenate(want).reshape(-1), rtol=0, atol=2e-5)
    return loaded


DENSE = "[net]\ninputs=4\ntime_steps={steps}\n[{section}]\noutput=3\nbatch_normalize={norm}\n{more}"
CASES = [(steps, norm) for steps in (1, 3) for norm in (0, 1)]


def inputs(steps: int, *dims: int) -> np.ndarray:
    return np.random.default_rng(3).normal(size=(steps, 2, *dims)).astype(np.float32)


def size(inputs_: int, outputs: int, norm: int) -> int:
    return outputs * (1 + inputs_ + 3 * norm)


@pytest.mark.parametrize(("steps", "norm"), CASES)
@pytest.mark.parametrize("dialect", ["alexeyab", "pjreddie"])
def test_rnn(tmp_path: Path, dialect: str, steps: int, norm: int) -> None:
    hidden = 5 if dialect == "alexeyab" else 3
    file = File(size(4, hidden, norm) + size(hidden, hidden, norm) + size(hidden, 3, norm))
    layers = [file.dense(a, b, bool(norm)) for a, b in ((4, hidden), (hidden, hidden), (hidden, 3))]
    x = inputs(steps, 4)
    cfg = DENSE.format(steps=steps, section="rnn", norm=norm, more="hidden=5\nactivation=tanh\n")
    held(tmp_path, cfg, file, x, elman(layers, x, (hidden,), np.tanh), dialect=dialect, batch=2)


@pytest.mark.parametrize(("steps", "norm"), CASES)
@pytest.mark.parametrize(("dialect", "order"), [("alexeyab", "uw"), ("pjreddie", "wu")])
def test_gru(tmp_path: Path, dialect: str, order: str, steps: int, norm: int) -> None:
    file = File(3 * (size(4, 3, norm) + size(3, 3, norm)))
    parts = {s + g: file.dense(4 if s == "u" else 3, 3, bool(norm)) for s in order for g in "zrh"}
    x = inputs(steps, 4)
    want = gru(parts, x, 3, sigmoid)
    cfg = DENSE.format(steps=steps, section="gru", norm=norm, more="")
    held(tmp_path, cfg, file, x, want, dialect=dialect, batch=2)


@pytest.mark.parametrize(("steps", "norm"), CASES)
@pytest.mark.parametrize(("dialect", "order"), [("alexeyab", "figo"), ("pjreddie", "ifog")])
def test_lstm(tmp_path: Path, dialect: str, order: str, steps: int, norm: int) -> None:
    file = File(4 * (size(4, 3, norm) + size(3, 3, norm)))
    parts = {s + g: file.dense(4 if s == "u" else 3, 3, bool(norm)) for s in "wu" for g in order}
    x = inputs(steps, 4)
    cfg = DENSE.format(steps=steps, section="lstm", norm=norm, more="")
    held(tmp_path, cfg, file, x, lstm(parts, x, (3,)), dialect=dialect, batch=2)


PICTURES = "[net]\nwidth=5\nheight=4\nchannels=2\ntime_steps={steps}\n[{section}]\noutput=3\nsize=1\n{more}"


@pytest.mark.parametrize(("steps", "norm"), CASES)
def test_crnn(tmp_path: Path, steps: int, norm: int) -> None:
    file = File(size(2, 6, norm) + size(6, 6, norm) + size(6, 3, norm))
    layers = [file.pointwise(a, b, bool(norm)) for a, b in ((2, 6), (6, 6), (6, 3))]
    x = inputs(steps, 2, 4, 5)
    cfg = PICTURES.format(
        steps=steps, section="crnn", more=f"hidden=6\nactivation=tanh\nbatch_normalize={norm}\n"
    )
    held(tmp_path, cfg, file, x, elman(layers, x, (6, 4, 5), np.tanh), dialect="alexeyab", batch=2)


@pytest.mark.parametrize(("steps", "norm"), CASES)
@pytest.mark.parametrize("peephole", [0, 1])
def test_conv_lstm(tmp_path: Path, steps: int, norm: int, peephole: int) -> None:
    names = [*(["vf", "vi", "vo"] if peephole else []), *(s + g for s in "wu" for g in "figo")]
    file = File(sum(size(2 if name[0] == "u" else 3, 3, norm) for name in names))
    parts = {name: file.pointwise(2 if name[0] == "u" else 3, 3, bool(norm)) for name in names}
    x = inputs(steps, 2, 4, 5)
    cfg = PICTURES.format(
        steps=steps, section="conv_lstm", more=f"batch_normalize={norm}\npeephole={peephole}\n"
    )
    held(tmp_path, cfg, file, x, lstm(parts, x, (3, 4, 5)), dialect="alexeyab", batch=2)


@pytest.mark.parametrize("section", ["rnn", "gru", "lstm"])
def test_steps_share_their_folded_kernels(tmp_path: Path, section: str) -> None:
    cfg = DENSE.format(steps=8, section=section, norm=1, more="").replace("output=3", "output=40")
    loaded = load(tmp_path, cfg, dialect="pjreddie", batch=1)
    folded, plan = fold(loaded.model)
    assert [kept.op for kept in plan.kept if kept.op == "BatchNormalization"] == []
    assert plan.copied == ()
    assert bytes_of(folded) <= bytes_of(loaded.model)


def bytes_of(model) -> int:  # type: ignore[no-untyped-def]
    return sum(value.const_value.nbytes for value in model.graph.initializers.values())


def test_the_first_step_reads_no_state(tmp_path: Path) -> None:
    loaded = load(tmp_path, DENSE.format(steps=1, section="lstm", norm=1, more=""), batch=1)
    assert ops(loaded).count("Gemm") == 3  # the input's share of three gates; the fourth would forget nothing


@pytest.mark.parametrize("section", ["rnn", "gru", "lstm"])
def test_variances_below_zero_are_no_warning_of_numpy(tmp_path: Path, section: str) -> None:
    """What a layer makes of a state of zeros is computed while the model is written; it is NaN where darknet's
    is. (Every warning is an error in tests.)"""
    cfg = DENSE.format(steps=1, section=section, norm=1, more="hidden=3\n" if section == "rnn" else "")
    matrices = {"rnn": 1, "gru": 3, "lstm": 4}[section]
    weights = matrices * (size(4, 3, 1) + size(3, 3, 1)) + (size(3, 3, 1) if section == "rnn" else 0)
    loaded = load(tmp_path, cfg, floats(weights) - 0.5, dialect="alexeyab", batch=1)
    constants = [v.const_value.numpy() for v in loaded.model.graph.initializers.values()]
    assert any(np.isnan(values).any() for values in constants)
