"""LSTM and RNN against a loop over time."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported

from .files import Net, input_layer, layer, normal, same

T, N, IN, H, S = 5, 3, 4, 2, 6
X, CONT, STATIC = (
    normal(T, N, IN),
    np.float32([[0, 0, 0], [1, 1, 1], [1, 0, 1], [1, 1, 0], [1, 1, 1]]),
    normal(N, S),
)


def logistic(x):
    return 1 / (1 + np.exp(-x))


def lstm(x, cont, wx, b, wh, fixed=0.0, h=None, c=None):
    h, c = (np.zeros((N, H)) if v is None else v for v in (h, c))
    out = []
    for t in range(T):
        k = cont[t][:, None]
        i, f, o, g = np.split(x[t] @ wx.T + b + fixed + (k * h) @ wh.T, 4, 1)
        c = k * logistic(f) * c + logistic(i) * np.tanh(g)
        h = logistic(o) * np.tanh(c)
        out.append(h)
    return np.stack(out), h[None], c[None]


@pytest.mark.parametrize("static", [False, True])
@pytest.mark.parametrize("expose", [False, True])
def test_lstm(tmp_path, static, expose):
    wx, b, ws, wh = normal(4 * H, IN), normal(4 * H), normal(4 * H, S), normal(4 * H, H)
    h0, c0 = normal(1, N, H), normal(1, N, H, seed=4)
    text = input_layer("x", T, N, IN) + input_layer("cont", T, N)
    bottoms, tops, feeds = ["x", "cont"], ["y"], {"x": X, "cont": CONT}
    if static:
        text, bottoms, feeds = text + input_layer("s", N, S), [*bottoms, "s"], {**feeds, "s": STATIC}
    if expose:
        text += input_layer("h0", 1, N, H) + input_layer("c0", 1, N, H)
        bottoms, tops, feeds = [*bottoms, "h0", "c0"], ["y", "h", "c"], {**feeds, "h0": h0, "c0": c0}
    text += layer(
        "LSTM", bottoms, tops, f"recurrent_param {{ num_output: {H} expose_hidden: {str(expose).lower()} }}"
    )
    got = Net(tmp_path, text, {"l": [wx, b, ws, wh] if static else [wx, b, wh]}).run(**feeds)
    want = lstm(X, CONT, wx, b, wh, STATIC @ ws.T if static else 0.0, *((h0[0], c0[0]) if expose else ()))
    for top, value in zip(tops, want, strict=False):
        same(got[top], value)


def test_rnn(tmp_path):
    wx, bh, wh, wo, bo = normal(H, IN), normal(H), normal(H, H), normal(H, H, seed=2), normal(H, seed=3)
    text = (
        input_layer("x", T, N, IN)
        + input_layer("cont", T, N)
        + layer("RNN", ["x", "cont"], params=f"recurrent_param {{ num_output: {H} }}")
    )
    h, out = np.zeros((N, H)), []
    for t in range(T):
        h = np.tanh((CONT[t][:, None] * h) @ wh.T + X[t] @ wx.T + bh)
        out.append(np.tanh(h @ wo.T + bo))
    same(Net(tmp_path, text, {"l": [wx, bh, wh, wo, bo]}).run(x=X, cont=CONT)["y"], np.stack(out))


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ([(T, N, IN)], "1 bottoms"),
        ([(T, N, IN), (T, N + 1)], "cont of shape (5, 4)"),
        ([(T, N), (T, N)], "2 bottoms"),
        ([(T, N, IN), (T, N), (9, S)], "a static input of shape (9, 6)"),
    ],
)
def test_bottoms_that_do_not_fit(tmp_path, shapes, words):
    names = "abcd"[: len(shapes)]
    text = "".join(input_layer(name, *shape) for name, shape in zip(names, shapes, strict=True))
    with pytest.raises(Malformed) as caught:
        Net(
            tmp_path,
            text + layer("LSTM", names, params="recurrent_param { num_output: 2 }"),
            random_weights=1,
        )
    assert words in str(caught.value)


def test_lstm_unit(tmp_path):
    c, gates, cont = normal(1, N, H), normal(1, N, 4 * H), np.float32([[1, 0, 1]])
    text = (
        input_layer("c", 1, N, H)
        + input_layer("g", 1, N, 4 * H)
        + input_layer("k", 1, N)
        + layer("LSTMUnit", "cgk", ["y", "h"])
    )
    got = Net(tmp_path, text).run(c=c, g=gates, k=cont)
    i, f, o, g = np.split(gates, 4, 2)
    want = cont[..., None] * logistic(f) * c + logistic(i) * np.tanh(g)
    same(got["y"], want)
    same(got["h"], logistic(o) * np.tanh(want))
    with pytest.raises(Malformed, match=r"\(1, N, H\), \(1, N, 4 H\) and \(1, N\)"):
        Net(tmp_path, text.replace(f"dim: {4 * H}", f"dim: {3 * H}"))


def test_the_lstm_of_ctpn_begins_anew_with_every_blob(tmp_path):
    wx, b, wh = normal(4 * H, IN), normal(4 * H), normal(4 * H, H)
    text = input_layer("x", T, N, IN) + layer("Lstm", "x", params=f"lstm_param {{ num_output: {H} }}")
    got = Net(tmp_path, text, {"l": [wx, wh, b]}).run(x=X)["y"]
    same(got, lstm(X, np.ones((T, N)), wx, b, wh)[0])
    with pytest.raises(Unsupported, match="marks of sequences"):
        Net(tmp_path, text.replace('bottom: "x"', 'bottom: "x" bottom: "x"'), {"l": [wx, wh, b]})
    with pytest.raises(Malformed, match="num_output"):
        Net(tmp_path, input_layer("x", T, N, IN) + layer("Lstm", "x"))


def test_marks_for_an_lstm(tmp_path):
    text = layer(
        "ContinuationIndicator", "", "m", "continuation_indicator_param { time_step: 3 batch_size: 2 }"
    )
    text += input_layer("x", 3, 2) + layer("Eltwise", "mx", name="e")
    x = normal(3, 2)
    same(Net(tmp_path, text).run(x=x)["y"], x + np.float32([[0, 0], [1, 1], [1, 1]]))
    own = text.replace('"ContinuationIndicator"', '"ContinuationIndicator" bottom: "x"')
    own = input_layer("x", 3, 2) + own.replace(input_layer("x", 3, 2), "").replace("batch_size: 2", "axis: 1")
    same(Net(tmp_path, own).run(x=x)["y"], x + np.float32([[0, 0], [1, 1], [1, 1]]))
    with pytest.raises(Malformed, match=r"marks of shape \(0, 2\)"):
        Net(tmp_path, text.replace("time_step: 3", "time_step: 0"))
