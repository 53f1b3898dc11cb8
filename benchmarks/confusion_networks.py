"""Small networks of every family whose verification is hard in another way, made from a seed.

What ONNX text declares without values becomes a weight, drawn by the first letter of its name:

    w  kernel, scaled by what it sums over    s  scale    v  variance    t  table    everything else: small
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
from onnx import TensorProto, numpy_helper, parser

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def made(text: str, random: np.random.Generator) -> onnx.ModelProto:
    """A model from text."""
    model: onnx.ModelProto = parser.parse_model(HEAD + text)
    for value in list(model.graph.value_info):
        shape = [d.dim_value for d in value.type.tensor_type.shape.dim]
        values = drawn(value.name, shape, random)
        kind = np.float16 if value.type.tensor_type.elem_type == TensorProto.FLOAT16 else np.float32
        model.graph.initializer.append(numpy_helper.from_array(values.astype(kind), value.name))
        model.graph.value_info.remove(value)
    onnx.checker.check_model(model)
    return model


def drawn(name: str, shape: list[int], random: np.random.Generator) -> np.ndarray:
    """A weight by its name."""
    if name[0] == "w":
        terms = int(np.prod(shape[1:])) if len(shape) > 2 else shape[0]
        return random.standard_normal(shape) * np.sqrt(2 / max(terms, 1))
    if name[0] == "s":
        return random.uniform(0.6, 1.4, shape) * random.choice([-1.0, 1.0, 1.0, 1.0], shape)
    if name[0] == "v":
        return random.uniform(0.5, 1.5, shape)
    return random.standard_normal(shape) * (1.0 if name[0] == "t" else 0.3)


def block(index: int, source: str, target: str, act: str = "Relu", **attributes: object) -> str:
    """Convolution, batch norm, activation."""
    given = ", ".join(f"{key} = {value}" for key, value in {"pads": "[1, 1, 1, 1]", **attributes}.items())
    n = index
    return (
        f"c{n} = Conv<{given}>({source}, w{n}, bc{n}) "
        f"n{n} = BatchNormalization(c{n}, s{n}, b{n}, m{n}, v{n}) {target} = {act}(n{n})\n"
    )


def declared(*blocks: tuple[int, int, int], kind: str = "float") -> str:
    """The weights of blocks: (index, channels out, channels in)."""
    return ", ".join(
        f"{kind}[{out},{into},3,3] w{n}, "
        + ", ".join(f"{kind}[{out}] {part}{n}" for part in ("bc", "s", "b", "m", "v"))
        for n, out, into in blocks
    )


def classifier(random: np.random.Generator, kind: str = "float") -> onnx.ModelProto:
    weights = declared((1, 8, 3), (2, 8, 8), (3, 12, 8), kind=kind)
    return made(
        f"""classifier ({kind}[N, 3, H, W] x) => ({kind}[N, 10] y)
        <{weights}, {kind}[12, 10] wf, {kind}[10] bf, {kind} kf> {{
        {block(1, "x", "a1")} {block(2, "a1", "a2")} r = Add(a1, a2)
        {block(3, "r", "a3", "LeakyRelu", strides="[2, 2]")}
        g = GlobalAveragePool(a3) f = Flatten(g) z = Gemm(f, wf, bf) z2 = Mul(z, kf) y = Softmax<axis = 1>(z2) }}""",
        random,
    )


def half(random: np.random.Generator) -> onnx.ModelProto:
    return classifier(random, "float16")


HEADS = "float[4,8,1,1] wb, float[4] bb, float[3,8,1,1] wc, float[3] bs"
DETECT = """lb = Conv(a2, wb, bb) lc = Conv(a2, wc, bs)
    flat = Constant<value_ints = [0, 4, -1]>() flat3 = Constant<value_ints = [0, 3, -1]>()
    rb = Reshape(lb, flat) rc = Reshape(lc, flat3) boxes = Transpose<perm = [0, 2, 1]>(rb) scores = Sigmoid(rc)"""


def detector_nms(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        f"""nms (float[1, 3, H, W] x) => (int64[D, 3] chosen, float[D, 4] picked)
        <{declared((1, 8, 3), (2, 8, 8))}, {HEADS}, int64 most = {{20}}, float over = {{0.5}}, float least = {{0.3}}> {{
        {block(1, "x", "a1", strides="[2, 2]")} {block(2, "a1", "a2", "LeakyRelu")} {DETECT}
        chosen = NonMaxSuppression(boxes, scores, most, over, least)
        two = Constant<value_ints = [2]>() rows = Gather<axis = 1>(chosen, two) row = Squeeze(rows)
        zero = Constant<value = int64 {{0}}>() first = Gather<axis = 0>(boxes, zero)
        picked = Gather<axis = 0>(first, row) }}""",
        random,
    )


def detector_topk(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        f"""topk (float[N, 3, H, W] x) => (float[N, 5] best, int64[N, 5] where)
        <{declared((1, 8, 3), (2, 8, 8))}, {HEADS}, int64[1] k = {{5}}> {{
        {block(1, "x", "a1", strides="[2, 2]")} {block(2, "a1", "a2")} {DETECT}
        peak = ReduceMax<axes = [1], keepdims = 0>(scores) area = ReduceProd<axes = [2], keepdims = 0>(boxes)
        rated = Mul(peak, area) best, where = TopK(rated, k) }}""",
        random,
    )


def segmentation(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        f"""segmentation (float[N, 3, 32, 32] x) => (int64[N, 32, 32] mask)
        <{declared((1, 8, 3), (2, 12, 8))}, float[12,8,2,2] wt, float[8] st, float[8] bt, float[8] mt, float[8] vt,
         float[4,16,1,1] wo, float[4] bo> {{
        {block(1, "x", "a1")} {block(2, "a1", "a2", strides="[2, 2]")}
        u = ConvTranspose<strides = [2, 2]>(a2, wt) n = BatchNormalization(u, st, bt, mt, vt) a = Relu(n)
        j = Concat<axis = 1>(a1, a) o = Conv(j, wo, bo) mask = ArgMax<axis = 1, keepdims = 0>(o) }}""",
        random,
    )


def recurrent(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        """recurrent (int64[N, T] ids) => (float[N, 5] y, float[N, 5] z)
        <float[50, 6] te, float[1, 24, 6] wx, float[1, 24, 6] wh, float[1, 48] bl, float[6, 8] wm, float[8] bm,
         float[8] s1, float[8] b1, float[8] m1, float[8] v1, float[8, 5] wf, float[5] bf,
         float[8, 5] wg, float[5] bg> {
        e = Gather(te, ids) q = Transpose<perm = [1, 0, 2]>(e) all, last = LSTM<hidden_size = 6>(q, wx, wh, bl)
        zero = Constant<value_ints = [0]>() h = Squeeze(last, zero) d = MatMul(h, wm) d2 = Add(d, bm)
        n = BatchNormalization(d2, s1, b1, m1, v1) r = Tanh(n) y = Gemm(r, wf, bf) z = Gemm(r, wg, bg) }""",
        random,
    )


def transformer(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        """transformer (int64[N, T] ids) => (float[N, T, 20] y)
        <float[60, 8] te, float[8] s1, float[8] b1, float[8, 8] wq, float[8, 8] wk, float[8, 8] wv, float[8, 8] wo,
         float[8] bo, float[8] s2, float[8] b2, float[8, 16] wi, float[16] bi, float[16, 8] wj, float[8] bj,
         float[8, 20] wl, float scale = {0.35}> {
        e = Gather(te, ids) l = LayerNormalization(e, s1, b1)
        q = MatMul(l, wq) k = MatMul(l, wk) u = MatMul(l, wv) kt = Transpose<perm = [0, 2, 1]>(k)
        dots = MatMul(q, kt) scaled = Mul(dots, scale) p = Softmax<axis = -1>(scaled) m = MatMul(p, u)
        o = MatMul(m, wo) o2 = Add(o, bo) h = Add(e, o2) l2 = LayerNormalization(h, s2, b2)
        i = MatMul(l2, wi) i2 = Add(i, bi) half = Constant<value = float {0.7071068}>() em = Mul(i2, half)
        ef = Erf(em) one = Constant<value = float {1.0}>() e1 = Add(ef, one) g = Mul(i2, e1)
        j = MatMul(g, wj) j2 = Add(j, bj) h2 = Add(h, j2) y = MatMul(h2, wl) }""",
        random,
    )


def quantised(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        f"""quantised (float[N, 3, H, W] x) => (float[N, 6] y)
        <{declared((1, 8, 3))}, float[6,8,3,3] w2, float qs = {{0.03}}, int8 qz = {{0}}, float kw = {{0.01}}> {{
        {block(1, "x", "a1")} q = QuantizeLinear(a1, qs, qz) d = DequantizeLinear(q, qs, qz)
        qw = QuantizeLinear(w2, kw, qz) dw = DequantizeLinear(qw, kw, qz) c = Conv(d, dw) r = Relu(c)
        g = GlobalAveragePool(r) y = Flatten(g) }}""",
        random,
    )


def branches(random: np.random.Generator) -> onnx.ModelProto:
    return made(
        f"""branches (float[N, 3, 8, 8] x) => (float[N, 6, 8, 8] y)
        <{declared((1, 6, 3), (2, 6, 6), (3, 6, 6))}, float far = {{1e6}}> {{
        {block(1, "x", "a1")} mean = ReduceMean<keepdims = 0>(a1) large = Greater(mean, far)
        y = If(large) <
            then_branch = rare () => (float t) {{ {block(2, "a1", "t")} }},
            else_branch = usual () => (float u) {{ {block(3, "a1", "u")} }}> }}""",
        random,
    )


def arithmetic(random: np.random.Generator) -> onnx.ModelProto:
    """Sizes and scales that are computed from constants, in the model's own types."""
    return made(
        f"""arithmetic (float[N, 3, 16, 16] x) => (float[N, 8, H, W] y, float[N, 1] z)
        <{declared((1, 8, 3))}, float third = {{0.333333343}}, float[8,1] wf> {{
        {block(1, "x", "a1")} nine = Constant<value = float {{9.0}}>() three = Mul(nine, third) up = Ceil(three)
        two = Constant<value = float {{0.75}}>() grow = Mul(up, two) one = Constant<value_floats = [1.0, 1.0]>()
        g1 = Mul(one, grow) sizes = Concat<axis = 0>(one, g1) y = Resize<mode = "nearest">(a1, , sizes)
        p = GlobalAveragePool(a1) f = Flatten(p) m = MatMul(f, wf) z = Mul(m, grow) }}""",
        random,
    )


FAMILIES: dict[str, Callable[[np.random.Generator], onnx.ModelProto]] = {
    family.__name__.replace("_", " "): family
    for family in (
        classifier,
        detector_nms,
        detector_topk,
        segmentation,
        recurrent,
        transformer,
        half,
        quantised,
        branches,
        arithmetic,
    )
}
