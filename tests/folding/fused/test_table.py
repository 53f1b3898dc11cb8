"""Every row of the table, in the forms in which exporters write it: what is inside stays, what is beside it
folds, and onnxruntime fuses as much as before."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnxruntime as ort
import pytest

import bnfold

CONSTANTS = """
    float one = {1.0}, float half = {0.5}, float two = {2.0}, float three = {3.0}, float six = {6.0},
    float zero = {0.0}, float root2 = {1.4142135}, float inverse_root2 = {0.70710677}, float sixth = {0.16666667},
    float cube = {0.044715}, float tanh_scale = {0.7978846}, float scaled_cube = {0.0356774}, float quick = {1.702},
    float eps = {0.00001}, float minus_half = {-0.5}, float scale = {0.25}, float large = {-10000.0},
    int64[4] as_five = {-1, 1, 3, 3}, int64[3] as_three = {-1, 3, 3},
    float[4] gamma = {1.5, 0.5, 0.75, 1.25}, float[4] beta = {0.1, -0.2, 0.3, -0.4}
"""

ERF = "d = Div(h, root2) e = Erf(d) g = Add(e, one)"
TANH = (
    "p = Pow(h, three) pc = Mul(p, cube) s = Add(h, pc) t0 = Mul(s, tanh_scale) t = Tanh(t0) g = Add(t, one)"
)
CENTRED = "mu = ReduceMean<axes = [-1]>(h) c = Sub(h, mu)"
VARIANCE = "sq = Pow(c, two) var = ReduceMean<axes = [-1]>(sq) ve = Add(var, eps)"
DEVIATION = f"{CENTRED} {VARIANCE} sd = Sqrt(ve)"
SQUARE = "sq = Pow(h, two) ms = ReduceMean<axes = [-1]>(sq) ve = Add(ms, eps)"
CHANNELS = "mu = ReduceMean<axes = [1]>(h) c = Sub(h, mu) sq = Pow(c, two) var = ReduceMean<axes = [1]>(sq)"

WHOLE = {
    "gelu, half last": f"{ERF} xg = Mul(h, g) n = Mul(xg, half)",
    "gelu, half first": f"{ERF} xh = Mul(h, half) n = Mul(xh, g)",
    "gelu, half inside": f"{ERF} gh = Mul(g, half) n = Mul(h, gh)",
    "gelu, divided by two": f"{ERF} xg = Mul(g, h) n = Div(xg, two)",
    "gelu, factor of erf": "d = Mul(inverse_root2, h) e = Erf(d) eh = Mul(e, half) g = Add(half, eh) n = Mul(h, g)",
    "gelu in half precision": (
        "hc = Cast<to = 10>(h) r = Cast<to = 10>(root2) d = Div(hc, r) e0 = Erf(d) e = Cast<to = 1>(e0) "
        "g = Add(one, e) xg = Mul(h, g) n = Mul(xg, half)"
    ),
    "tanh": f"{TANH} xg = Mul(h, g) n = Mul(half, xg)",
    "tanh, half first": f"{TANH} xh = Mul(h, half) n = Mul(xh, g)",
    "tanh, cube by products": (
        "h2 = Mul(h, h) h3 = Mul(h, h2) pc = Mul(cube, h3) s = Add(h, pc) t0 = Mul(tanh_scale, s) t = Tanh(t0) "
        "g = Add(one, t) xg = Mul(h, g) n = Mul(half, xg)"
    ),
    "tanh, x times one and its square": (
        "h1 = Mul(h, cube) h2 = Mul(h1, h) s = Add(h2, one) hs = Mul(h, tanh_scale) t0 = Mul(hs, s) t = Tanh(t0) "
        "g = Add(t, one) xh = Mul(h, half) n = Mul(xh, g)"
    ),
    "tanh, scale inside": (
        "h2 = Mul(h, h) h3 = Mul(h2, h) pc = Mul(h3, scaled_cube) ps = Mul(h, tanh_scale) t0 = Add(ps, pc) "
        "t = Tanh(t0) g = Add(t, one) xh = Mul(h, half) n = Mul(xh, g)"
    ),
    "quick gelu": "s = Mul(h, quick) g = Sigmoid(s) n = Mul(h, g)",
    "swish, written out": "m = Neg(h) e = Exp(m) e1 = Add(e, one) n = Div(h, e1)",
    "hard swish": "a = Add(h, three) k = Clip(a, zero, six) xk = Mul(h, k) n = Div(xk, six)",
    "hard swish, sixth inside": "a = Add(h, three) k = Clip(a, zero, six) kd = Mul(k, sixth) n = Mul(kd, h)",
    "hard swish, relu and min": "a = Add(h, three) r = Relu(a) k = Min(r, six) xk = Mul(h, k) n = Mul(xk, sixth)",
    "hard swish, max and min": "a = Add(h, three) r = Max(a, zero) k = Min(r, six) xk = Mul(h, k) n = Mul(xk, sixth)",
    "hard swish, clipped to one": "s = Mul(h, sixth) a = Add(s, half) k = Clip(a, zero, one) n = Mul(h, k)",
    "softplus": "e = Exp(h) e1 = Add(e, one) n = Log(e1)",
    "layer norm": f"{DEVIATION} q = Div(c, sd) qg = Mul(q, gamma) n = Add(qg, beta)",
    "layer norm without bias": f"{DEVIATION} q = Div(c, sd) n = Mul(gamma, q)",
    "layer norm, reciprocal": f"{DEVIATION} r = Reciprocal(sd) q = Mul(c, r) qg = Mul(q, gamma) n = Add(qg, beta)",
    "layer norm, power": (
        f"{CENTRED} {VARIANCE} r = Pow(ve, minus_half) q = Mul(c, r) qg = Mul(q, gamma) n = Add(beta, qg)"
    ),
    "layer norm, square as a product": (
        f"{CENTRED} sq = Mul(c, c) var = ReduceMean<axes = [-1]>(sq) ve = Add(var, eps) sd = Sqrt(ve) "
        "q = Div(c, sd) qg = Mul(q, gamma) n = Add(qg, beta)"
    ),
    "layer norm, centred twice": (
        f"{DEVIATION} c2 = Sub(h, mu) q = Div(c2, sd) qg = Mul(q, gamma) n = Add(qg, beta)"
    ),
    "layer norm of TensorFlow": (
        f"{DEVIATION} r = Reciprocal(sd) w = Mul(r, gamma) xw = Mul(h, w) mw = Mul(mu, w) b = Sub(beta, mw) "
        "n = Add(xw, b)"
    ),
    "rms norm": f"{SQUARE} sd = Sqrt(ve) q = Div(h, sd) n = Mul(q, gamma)",
    "rms norm, one over the root": f"{SQUARE} sd = Sqrt(ve) r = Div(one, sd) q = Mul(h, r) n = Mul(gamma, q)",
    "rms norm, root by power": f"{SQUARE} sd = Pow(ve, half) q = Div(h, sd) n = Mul(q, gamma)",
    "rms norm between casts": (
        "hc = Cast<to = 1>(h) sq = Pow(hc, two) ms = ReduceMean<axes = [-1]>(sq) ve = Add(ms, eps) sd = Sqrt(ve) "
        "r = Div(one, sd) q = Mul(hc, r) qc = Cast<to = 1>(q) n = Mul(gamma, qc)"
    ),
    "attention with a mask": (
        "k = MatMul(x, w_in) kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(h, kt) sc = Mul(s, scale) "
        "m = Add(sc, mask) a = Softmax<axis = -1>(m) n = MatMul(a, k)"
    ),
    "attention of shifted windows": (
        "k = MatMul(x, w_in) kt = Transpose<perm = [0, 2, 1]>(k) hs = Mul(h, scale) s = MatMul(hs, kt) "
        "m = Add(s, mask) five = Reshape(m, as_five) mm = Add(five, mask) back = Reshape(mm, as_three) "
        "a = Softmax<axis = -1>(back) n = MatMul(a, k)"
    ),
    "attention, divided, with a constant mask": (
        "k = MatMul(x, w_in) kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(h, kt) sc = Div(s, two) "
        "m = Add(sc, large) a = Softmax<axis = -1>(m) n = MatMul(a, k)"
    ),
    "attention, the query scaled": (
        "k = MatMul(x, w_in) kt = Transpose<perm = [0, 2, 1]>(k) hs = Mul(h, scale) s = MatMul(hs, kt) "
        "m = Add(mask, s) a = Softmax<axis = -1>(m) n = MatMul(a, k)"
    ),
}

TAKEN_APART = {
    "gelu whose half is read elsewhere": (f"{ERF} xg = Mul(h, g) n = Mul(xg, half) z = Sigmoid(xg)", "Mul"),
    "another factor than a half": (f"{ERF} xg = Mul(h, g) n = Mul(xg, scale)", "Mul"),
    "a factor behind a gelu": (f"{ERF} xg = Mul(h, g) xh = Mul(xg, half) n = Mul(xh, gamma)", "gamma"),
    "a factor behind a layer norm": (
        f"{DEVIATION} q = Div(c, sd) qg = Mul(q, gamma) qb = Add(qg, beta) n = Mul(qb, scale)",
        "scale",
    ),
    "attention without a mask": (
        "k = MatMul(x, w_in) kt = Transpose<perm = [0, 2, 1]>(k) s = MatMul(h, kt) sc = Mul(s, scale) "
        "a = Softmax<axis = -1>(sc) n = MatMul(a, k)",
        "scale",
    ),
    "a norm over other axes than the last": (
        f"{CHANNELS} ve = Add(var, eps) sd = Sqrt(ve) q = Div(c, sd) n = Mul(q, gamma)",
        "gamma",
    ),
}


def network(body: str) -> onnx.ModelProto:
    """A dense layer with a batch norm behind it, what is asked for, and a dense layer."""
    outputs = "float[N, 3, 5] y" + (", float[N, 3, 4] z" if "z = " in body else "")
    text = f"""
        <ir_version: 8, opset_import: ["" : 13]>
        net (float[N, 3, 4] x, float[N, 3, 3] mask) => ({outputs})
        <{CONSTANTS}>
        {{ h = MatMul(x, w_in) {body} y = MatMul(n, w_out) }}
    """
    model = onnx.parser.parse_model(text)
    rng = np.random.default_rng(0)
    for name, shape in (("w_in", (4, 4)), ("w_out", (4, 5))):
        weights = rng.normal(0, 1, shape).astype(np.float32)
        model.graph.initializer.append(onnx.numpy_helper.from_array(weights, name))
    return model


def fused(model: onnx.ModelProto, folder: Path) -> Counter[str]:
    """The operators that onnxruntime's extended optimisations leave."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(folder / "optimised.onnx")
    options.log_severity_level = 4
    ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return Counter(node.op_type for node in onnx.load(folder / "optimised.onnx").graph.node)


@pytest.mark.parametrize("name", WHOLE)
def test_what_runtimes_fuse_stays_whole(name: str, tmp_path: Path) -> None:
    model = network(WHOLE[name])
    result = bnfold.fold(model)
    assert not result.plan.folded
    assert {row.code for row in result.plan.kept} == {"kept.pattern"}
    assert fused(bnfold.to_onnx(result.model), tmp_path) == fused(model, tmp_path)


@pytest.mark.parametrize("name", WHOLE)
def test_they_are_folded_where_that_is_asked_for(name: str) -> None:
    result = bnfold.fold(network(WHOLE[name]), fold_patterns=True)
    assert "kept.pattern" not in {row.code for row in result.plan.kept}


@pytest.mark.parametrize("name", TAKEN_APART)
def test_what_only_resembles_a_pattern_is_folded(name: str) -> None:
    body, what = TAKEN_APART[name]
    result = bnfold.fold(network(body))
    folded = {row.node for row in result.plan.folded}
    nodes = {node.output[0]: node for node in network(body).graph.node}
    assert any(what in (nodes[one].op_type, *nodes[one].input) for one in folded)


def test_a_batch_norm_beside_a_pattern_is_folded() -> None:
    norm = (
        "hb = Add(h, beta) ht = Transpose<perm = [0, 2, 1]>(hb) "
        "bt = BatchNormalization(ht, gamma, beta, beta, gamma) b = Transpose<perm = [0, 2, 1]>(bt) "
    )
    gelu = "d = Div(b, root2) e = Erf(d) g = Add(e, one) xg = Mul(b, g) n = Mul(xg, half)"
    result = bnfold.fold(network(norm + gelu))
    assert [row.op for row in result.plan.folded] == ["BatchNormalization"]
    assert {row.code for row in result.plan.kept} == {"kept.pattern"}


def test_they_are_found_inside_bodies() -> None:
    inner = f"{ERF} xg = Mul(h, g) n = Mul(xg, half)"
    text = f"""
        <ir_version: 8, opset_import: ["" : 13]>
        net (float[2, 4] x, bool flag) => (float[2, 4] y)
        <float[4, 4] w = {{1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}}, {CONSTANTS}>
        {{
            h = MatMul(x, w)
            y = If(flag) <
                then_branch = then () => (float[2, 4] a) {{ {inner} a = MatMul(n, w) }},
                else_branch = other () => (float[2, 4] b) {{ b = Identity(h) }}
            >
        }}
    """
    plan = bnfold.fold(onnx.parser.parse_model(text)).plan
    assert not plan.folded
    assert {row.code for row in plan.kept} == {"kept.pattern"}
