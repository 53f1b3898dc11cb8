"""Two models held against each other where they differ: what must be refused whatever hides it, and what must
be accepted however it is written."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from bnfold.folding import fold
from bnfold.results.comparison import Proof, Side
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.inputs.interface import interface
from bnfold.verifying.obligations import Prover, folded_by_us, work
from bnfold.verifying.obligations.deviations import Deviations
from bnfold.verifying.obligations.tokens import SideTokens
from bnfold.verifying.truth.interpreter import Interpreter

from ..sides import proto, side

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'
RANDOM = np.random.default_rng(3)


def weights(*shape: int) -> np.ndarray:
    return RANDOM.standard_normal(shape).astype(np.float32)


def proof(reference, candidate, **feeds) -> Proof:
    ours, theirs = side(reference), side(candidate)
    prover = Prover(
        ours.model, theirs.model, seed=0, limit=4.0, strict=folded_by_us(ours.model, theirs.model)
    )
    face = interface(ours, theirs)
    prover.record(feeds)
    return prover.prove(face, face.for_candidate(feeds))


def image(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def net(ending: str, body: str = "c = Conv(x, w)") -> str:
    return f"{HEAD} g (float[N, 3, 8, 8] x) => (float y) <float[4, 3, 3, 3] w> {{ {body} {ending} }}"


W = weights(4, 3, 3, 3)


@pytest.mark.parametrize(
    ("what", "ending"),
    [
        ("saturates", "s = Softmax<axis = 1>(c) y = Sigmoid(s)"),
        ("is switched off", "z = Constant<value = float {0.0}>() y = Mul(c, z)"),
        ("is dead behind a Relu", "k = Constant<value = float {-1e6}>() d = Add(c, k) y = Relu(d)"),
        ("cancels", "k = Constant<value = float {1e8}>() d = Add(c, k) y = Sub(d, k)"),
        ("is decided", "y = ArgMax<axis = 1>(c)"),
    ],
)
def test_a_changed_weight_is_noticed_whatever_hides_it(what: str, ending: str) -> None:
    found = proof(proto(net(ending), w=W), proto(net(ending), w=W * np.float32(1.02)), x=image(2, 3, 8, 8))
    assert not found.complete or found.unseen, what
    assert any(o.verdict in ("dropped", "failed") for o in found.obligations)


def test_identical_models_need_no_run() -> None:
    text = net("r = Relu(c) y = GlobalAveragePool(r)")
    found = proof(proto(text, w=W), proto(text, w=W), x=image(1, 3, 8, 8))
    assert (found.complete, found.obligations, found.proved, found.unseen) == (True, (), 1, 0)


def test_names_and_constants_may_be_written_in_another_way() -> None:
    one = net("k = Constant<value_floats = [2.0]>() d = Mul(c, k) y = Relu(d)")
    other = f"""{HEAD} g (float[N, 3, 8, 8] x) => (float y) <float[4, 3, 3, 3] w, float[1] k = {{2.0}}>
        {{ i = Identity(x) q = Conv<group = 1>(i, w) p = Mul(q, k) y = Relu(p) }}"""
    found = proof(proto(one, w=W), proto(other, w=W), x=image(1, 3, 8, 8))
    assert found.complete
    assert not found.obligations


def branch(factor: str) -> str:
    return f"""{HEAD} g (float[2] x, bool b) => (float[2] y) {{
        y = If(b) <then_branch = t () => (float[2] u) {{ two = Constant<value = float {{2.0}}>() u = Mul(x, two) }},
                   else_branch = e () => (float[2] v) {{ k = Constant<value = float {{{factor}}}>() v = Mul(x, k) }}>
    }}"""


def test_a_branch_that_no_sample_takes_is_judged() -> None:
    feeds = {"x": np.ones(2, np.float32), "b": np.array(True)}
    assert proof(branch("3.0"), branch("3.0"), **feeds).complete
    found = proof(branch("3.0"), branch("3.1"), **feeds)
    assert not found.complete
    assert any(o.where for o in found.obligations)


def test_a_loop_of_no_trips_is_judged() -> None:
    def text(k: str) -> str:
        return f"""{HEAD} g (float[3] x, int64 n) => (float[3] y) {{
            t = Constant<value = bool {{1}}>()
            y = Loop(n, t, x) <body = b (int64 i, bool c, float[3] s) => (bool d, float[3] r) {{
                d = Identity(c) k = Constant<value = float {{{k}}}>() r = Mul(s, k) }}>
        }}"""

    feeds = {"x": np.ones(3, np.float32), "n": np.array(0)}
    assert proof(text("2.0"), text("2.0"), **feeds).complete
    assert not proof(text("2.0"), text("2.5"), **feeds).complete


def test_every_row_of_a_table_counts() -> None:
    text = f"{HEAD} g (int64[N] i) => (float y) <float[500, 4] t> {{ y = Gather(t, i) }}"
    table = weights(500, 4)
    wrong = table.copy()
    wrong[321] = 0
    assert not proof(proto(text, t=table), proto(text, t=wrong), i=np.array([0, 1])).complete


def test_half_precision_that_overflows_inside_is_a_difference() -> None:
    def text(order: str) -> str:
        return f"""{HEAD} g (float16[N, 4] x, float16[N, 4] z) => (float16[N, 4] y) <float16 k> {{
            {order} }}"""

    feeds = {"x": np.full((2, 4), 300, np.float16), "z": np.full((2, 4), 400, np.float16)}
    k = np.array(1000, np.float16)
    one = proto(text("d = Div(x, z) y = Mul(d, k)"), k=k)
    other = proto(text("s = Mul(x, k) y = Div(s, z)"), k=k)
    found = proof(one, other, **feeds)
    assert not found.complete
    assert "leave float16" in found.obligations[-1].reason


FOLDABLE = f"""{HEAD} g (float[N, 3, 8, 8] x) => (float y)
    <float[4, 3, 3, 3] w, float[4] s, float[4] b, float[4] m, float[4] v> {{
        c = Conv(x, w) n = BatchNormalization(c, s, b, m, v) r = Relu(n) y = GlobalMaxPool(r) }}"""


def test_a_fold_of_ours_is_proved_with_every_weight() -> None:
    reference = side(proto(FOLDABLE))
    model, plan = fold(reference.model)
    assert plan.folded
    found = compare(reference, type(reference)(model), VerifyOptions())
    assert found, found.reason
    assert found.proof is not None
    assert (found.proof.unseen, found.proof.proved) == (0, 5)
    assert any(o.folds for o in found.proof.obligations)


def test_a_fold_by_hand_under_other_names_is_accepted() -> None:
    reference = proto(FOLDABLE)
    values = {
        i.name: np.array(i.float_data or np.frombuffer(i.raw_data, np.float32))
        for i in reference.graph.initializer
    }
    scale = values["s"].astype(np.float64) / np.sqrt(values["v"].astype(np.float64) + 1e-5)
    kernel = values["w"].reshape(4, 3, 3, 3) * scale[:, None, None, None]
    bias = values["b"] - values["m"] * scale
    folded = f"""{HEAD} g (float[N, 3, 8, 8] x) => (float y) <float[4, 3, 3, 3] w, float[4] k>
        {{ q1 = Conv(x, w, k) q2 = Relu(q1) y = GlobalMaxPool(q2) }}"""
    right = proto(folded, w=kernel.astype(np.float32), k=bias.astype(np.float32))
    assert proof(reference, right, x=image(2, 3, 8, 8)).complete
    wrong = proto(folded, w=kernel.astype(np.float32), k=(bias + 1e-3).astype(np.float32))
    assert not proof(reference, wrong, x=image(2, 3, 8, 8)).complete


def test_an_unknown_operator_proves_nothing() -> None:
    text = f"""{HEAD.replace("]>", ', "my" : 1]>')} g (float[N, 3, 8, 8] x) => (float y) <float[4, 3, 3, 3] w> {{
        c = Conv(x, w) u = my.Secret(c) y = Relu(u) }}"""
    found = proof(proto(text, w=W), proto(text, w=W * np.float32(1.5)), x=image(2, 3, 8, 8))
    assert [o.verdict for o in found.obligations] == ["dropped", "dropped", "open"]
    assert (found.proved, found.unseen) == (0, 1)


@pytest.mark.parametrize("slope", [0.1, 0.2])
def test_what_onnxruntime_fuses_is_taken_apart(slope: float) -> None:
    fused = f"""{HEAD.replace("]>", ', "com.microsoft" : 1]>')} g (float[N, 3, 8, 8] x) => (float y)
        <float[4, 3, 3, 3] w> {{ y = com.microsoft.FusedConv
        <activation = "LeakyRelu", activation_params = [{slope}]>(x, w) }}"""
    found = proof(proto(net("y = LeakyRelu<alpha = 0.1>(c)"), w=W), proto(fused, w=W), x=image(2, 3, 8, 8))
    assert found.complete == (slope == 0.1)
    assert bool(found.refuted) == (slope != 0.1)


def test_a_weight_that_both_sides_have_as_a_constant_is_proved() -> None:
    one = net("q = QuantizeLinear(t, s, z) d = DequantizeLinear(q, s, z) e = Add(c, d) y = Relu(e)")
    one = one.replace("w> {", "w, float[1] t, float s = {0.1}, int8 z = {0}> {")
    reference = proto(one, w=W, t=np.array([0.52], np.float32))
    other = proto(
        net("e = Add(c, d) y = Relu(e)").replace("w> {", "w, float[1] d> {"),
        w=W,
        d=np.array([0.5], np.float32),
    )
    found = proof(reference, other, x=image(2, 3, 8, 8))
    assert found.complete
    assert found.unseen == 0


def test_a_saturated_decision_is_judged_before_it_is_taken() -> None:
    """A fault of three ten thousandths flips no index of these samples."""
    reference = proto(net("y = ArgMax<axis = 1>(c)"), w=W)
    renamed = net("y = ArgMax<axis = 1>(q)", "q = Conv(x, w)")
    assert proof(reference, proto(renamed, w=W), x=image(2, 3, 8, 8)).complete
    found = proof(reference, proto(renamed, w=W * np.float32(1.0003)), x=image(2, 3, 8, 8))
    assert found.refuted
    assert "decides it" in found.refuted[0].reason


def test_another_threshold_is_another_decision() -> None:
    text = net("d = Greater(c, k) y = Cast<to = 1>(d)").replace("w> {", "w, float k> {")
    one, other = (proto(text, w=W, k=np.array(k, np.float32)) for k in (50.0, 50.3))
    found = proof(one, other, x=image(2, 3, 8, 8))
    assert found.refuted
    assert "'k' that decides it is another one" in " ".join(o.reason for o in found.obligations)


def test_branches_may_stand_in_another_order() -> None:
    feeds = {"x": np.ones(2, np.float32), "b": np.array(True)}
    candidate = proto(branch("3.0"))
    node = candidate.graph.node[0]
    attributes = list(reversed(node.attribute))
    attributes[0].g.node[0].name = "another"
    del node.attribute[:]
    node.attribute.extend(attributes)
    assert proof(branch("3.0"), candidate, **feeds).complete


def test_a_branch_that_differs_is_not_proved_by_running_the_other() -> None:
    feeds = {"x": np.ones(2, np.float32), "b": np.array(True)}
    other = branch("3.1").replace("u = Mul", "p = Mul").replace("(float[2] u)", "(float[2] p)")
    found = proof(branch("3.0"), other, **feeds)
    assert found.refuted


def test_integers_of_a_decision_are_compared_exactly() -> None:
    def text(k: int) -> str:
        return f"""{HEAD} g (int64[N] x) => (bool[N] y) {{ k = Constant<value = int64 {{{k}}}>() y = Greater(x, k) }}"""

    feeds = {"x": np.array([1, 2, 3])}
    assert proof(text(100), text(100), **feeds).complete
    assert proof(text(100), text(101), **feeds).refuted


GATED = """
g (float[N, 3, 8, 8] x) => (float y) <float[4, 3, 3, 3] w, float far> {
    %(c)s = Conv(x, w) %(between)s %(r)s = Relu(%(d)s) %(more)s
    %(m)s = ReduceMean<keepdims = 0>(%(last)s) %(g)s = Greater(%(m)s, far)
    y = If(%(g)s)<
        then_branch = t () => (float %(t)s) { %(t)s = Mul(%(last)s, %(last)s) },
        else_branch = e () => (float %(e)s) { %(e)s = %(otherwise)s(%(last)s) }>
}"""


@pytest.mark.parametrize(
    ("between", "more"),
    [
        ("d = Identity(a)", ""),
        ("d = Cast<to = 1>(a)", "p = Cast<to = 1>(b)"),
        ("d = Cast<to = 1>(a)", "q = Transpose<perm = [0,2,3,1]>(b) p = Transpose<perm = [0,3,1,2]>(q)"),
    ],
)
@pytest.mark.parametrize("otherwise", ["Neg", "Abs"])
def test_a_condition_and_what_branches_read_are_found_under_other_names(
    between: str, more: str, otherwise: str
) -> None:
    plain = {"between": "", "d": "c", "more": "", "last": "r", "otherwise": "Neg"}
    names = plain | {n: n for n in "crmgte"}
    others = {
        "between": between,
        "d": "d",
        "more": more,
        "last": "p" if more else "b",
        "otherwise": otherwise,
    }
    others |= dict(zip("crmgte", "abijkl", strict=True))
    one, other = (proto(HEAD + GATED % n, w=W, far=np.array(1e6, np.float32)) for n in (names, others))
    assert compare(side(one), side(other), VerifyOptions()).equivalent == (otherwise == "Neg")


def test_random_nodes_of_other_names_draw_the_same() -> None:
    text = HEAD + "g (float[2, 6] x) => (float y) <float[6, 4] w> { %s = RandomNormalLike(x) a = Add(x, %s) "
    text += "%s = RandomUniformLike(x) c = Mul(a, %s) y = MatMul(c, w) }"
    matrix = weights(6, 4)
    one, other = (proto(text % (a, a, b, b), w=matrix) for a, b in ("mn", "nu"))
    assert compare(side(one), side(other), VerifyOptions())
    assert not compare(
        side(one), side(proto(text % tuple("nnuu"), w=matrix * np.float32(1.02))), VerifyOptions()
    )


def test_scales_on_the_edge_of_a_size_are_no_reason_to_stop() -> None:
    """2.25 times 8 pixels are 18, and a rounding less are 17, with which no number can be compared."""
    text = """g (float[1, 1, 8, 8] x) => (float y) <float[2] ones, float[2] grow> {
        h = Mul(ones, grow) sizes = Concat<axis = 0>(ones, h) y = Resize<mode = "nearest">(x, , sizes) }"""
    model = side(proto(HEAD + text, ones=np.ones(2, np.float32), grow=np.full(2, 2.25, np.float32))).model
    deviations = Deviations(model, lambda what: True, np.random.default_rng(0), all_readers=True)
    for step in Interpreter(model).walk({"x": image(1, 1, 8, 8)}):
        deviations.add(step)
    (resized,) = model.graph.outputs
    assert deviations.of[resized].shape == (1, 1, 18, 18)


FAR_AWAY = {
    "a choice that no sample makes": (
        "p = Greater(x, k) q = Mul(x, a) z = Mul(x, b) y = Where(p, q, z)",
        {"k": 1e6, "a": [1, 2, 3, 4]},
        {"k": 1e6, "a": [1, 2, 3, 4.1]},
    ),
    "a bound that no sample reaches": ("y = Clip(x, , k)", {"k": 1e5}, {"k": 1.1e5}),
    "a threshold that no sample reaches": (
        "p = Greater(x, k) c = Cast<to = 1>(p) y = Mul(c, b)",
        {"k": 1e5},
        {"k": 1.1e5},
    ),
}


@pytest.mark.parametrize("name", FAR_AWAY)
def test_what_differs_far_from_all_samples_is_found(name: str) -> None:
    body, one, other = FAR_AWAY[name]
    text = f"{HEAD} g (float[N, 4] x) => (float y) <float k, float[4] a, float[4] b> {{ {body} }}"
    reference, candidate = (
        proto(text, b=np.full(4, 2, np.float32), **{k: np.array(v, np.float32) for k, v in arrays.items()})
        for arrays in (one, other)
    )
    assert compare(side(reference), side(reference), VerifyOptions())
    assert not compare(side(reference), side(candidate), VerifyOptions())


def test_a_mean_over_positions_is_off_by_as_much_as_each_of_them() -> None:
    """All positions of a channel have their rounding from one weight. The merged branches have no name in
    common with the reference, so the cone begins before them and ends behind the mean."""
    channels = "float[8] {0}, float[8] {1}, float[8] {2}, float[8] {3}"
    reference = proto(
        f"""<ir_version: 8, opset_import: ["" : 17]> g (float[1, 8, 56, 56] x) => (float[1, 8, 1, 1] y)
        <float[8, 1, 3, 3] w, float[8, 1, 1, 1] u, {channels.format("s", "b", "m", "v")},
        {channels.format("s2", "b2", "m2", "v2")}> {{
        r = Relu(x) k = Constant<value = float {{3.0}}>() p = Add(r, k)
        c = Conv<pads = [1, 1, 1, 1], group = 8>(p, w) n = BatchNormalization(c, s, b, m, v)
        d = Conv<group = 8>(p, u) o = BatchNormalization(d, s2, b2, m2, v2)
        a = Add(n, o) y = GlobalAveragePool(a) }}"""
    )
    folded, _ = fold(side(reference).model)
    assert [node.op_type for node in folded.graph].count("Conv") == 1
    found = compare(side(reference), Side(folded), VerifyOptions(samples=1))
    assert found
    assert found.proof is not None
    assert [(o.value, o.verdict) for o in found.proof.obligations] == [("y", "proved")]


def test_a_row_of_pairs_that_do_not_hold_is_dropped_in_one_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every value of a chain is another one, and one beside it is the same: to compute the tokens of both
    graphs for each that is dropped would take the square of their number."""
    length = 3 * work.MOST_DROPPED
    rows = " ".join(f"v{k + 1} = Mul(v{k}, c)" for k in range(length))

    def chain(factor: float) -> onnx.ModelProto:
        head = f"{HEAD} g (float[4] v0) => (float[4] v{length}, float[4] z) <float[1] c>"
        return proto(f"{head} {{ u = Tanh(v0) {rows} z = Tanh(u) }}", c=np.float32([factor]))

    computed: list[int] = []
    compute = SideTokens.compute
    monkeypatch.setattr(
        SideTokens, "compute", lambda self, words: (computed.append(1), compute(self, words))[1]
    )
    found = proof(chain(1.01), chain(1.02), v0=image(4))
    assert [o.value for o in found.refuted] == [f"v{length}"]
    assert found.count("dropped") == length - 1  # and none of u
    assert len(computed) < 4 * work.MOST_DROPPED


LENGTH = 2 * work.MOST_DROPPED
FACTORS = np.float32([0.9, -0.8, 1.1, 1.3]), np.float32([1.2, 0.7, 1.5, 0.8])


def blocks(*block: str, a: np.ndarray = FACTORS[0], b: np.ndarray = FACTORS[1]) -> onnx.ModelProto:
    """A chain of many blocks from v0 on; {k} and {n} are the numbers of a block and of the next one."""
    head = f"{HEAD} g (float[2, 4] v0) => (float[2, 4] v{LENGTH}) <float[4] a, float[4] b>"
    rows = [part.format(k=k, n=k + 1) for k in range(LENGTH) for part in block]
    return proto(f"{head} {{ {' '.join(rows)} }}", a=a, b=b)


def test_merged_nodes_may_keep_the_name_of_the_first() -> None:
    """onnxsim writes what a batch norm gave under the name of the convolution before it."""
    ours = blocks("c{k} = Mul(v{k}, a)", "d{k} = Mul(c{k}, b)", "v{n} = LeakyRelu(d{k})")
    theirs = blocks("c{k} = Mul(v{k}, a)", "v{n} = LeakyRelu(c{k})", a=FACTORS[0] * FACTORS[1])
    found = proof(ours, theirs, v0=image(2, 4))
    assert found.count("proved") == LENGTH
    assert not found.refuted and not found.count("dropped") and not found.unseen


def test_pairs_that_fail_between_others_that_hold_do_not_end_the_proof() -> None:
    """onnxsim moves the half of a GELU into the weights behind it."""
    ours = blocks("c{k} = Mul(v{k}, a)", "d{k} = Mul(c{k}, b)", "v{n} = LeakyRelu(d{k})")
    theirs = blocks(
        "c{k} = Mul(v{k}, a)",
        "d{k} = Mul(c{k}, b)",
        "v{n} = LeakyRelu(d{k})",
        a=FACTORS[0] / 2,
        b=FACTORS[1] * 2,
    )
    found = proof(ours, theirs, v0=image(2, 4))
    assert found.count("proved") == found.count("dropped") == LENGTH
    assert not found.refuted and not found.unseen


def test_names_of_values_of_another_shape_are_no_pairs() -> None:
    """onnxsim writes a product of three axes, the first of them 1, as a Gemm between two Reshapes."""
    head = f"{HEAD} g (float[1, 5, 4] x) => (float[1, 5, 4] y) "
    ours = proto(f"{head} <float[4, 4] w, float[4, 4] u> {{ m = MatMul(x, w) r = Tanh(m) y = MatMul(r, u) }}")
    theirs = onnx.shape_inference.infer_shapes(
        proto(f"""{head} <float[4, 4] w, float[4, 4] u, int64[2] flat = {{5, 4}}, int64[3] back = {{1, 5, 4}}> {{
            f = Reshape(x, flat) m = Gemm(f, w) r = Tanh(m) h = Gemm(r, u) y = Reshape(h, back) }}""")
    )
    found = proof(ours, theirs, x=image(1, 5, 4))
    assert (found.count("proved"), found.count("dropped"), found.unseen) == (1, 0, 0)


def test_what_is_arranged_in_another_order_is_no_other_slope() -> None:
    """onnxruntime moves a Transpose behind a Reshape, and leaves it for other readers. The smallest cones have
    the same operators and read other values, of which only corners are remembered."""
    head = f"{HEAD} g (float[1, 4, 20, 20] x) => (float[1, 2, 20, 20, 2] y, float[1, 20, 20, 4] z)"
    shared = "a = Sigmoid(x) t = Transpose<perm = [0, 2, 3, 1]>(a) z = Neg(t)"
    ours = proto(f"""{head} <int64[5] s = {{1, 20, 20, 2, 2}}> {{ {shared}
        r = Reshape(t, s) w = Transpose<perm = [0, 3, 1, 2, 4]>(r) y = Tanh(w) }}""")
    theirs = proto(f"""{head} <int64[5] s = {{1, 2, 2, 20, 20}}> {{ {shared}
        q = Reshape(a, s) w = Transpose<perm = [0, 1, 3, 4, 2]>(q) y = Tanh(w) }}""")
    assert not proof(ours, theirs, x=image(1, 4, 20, 20)).refuted


def test_numbers_that_are_huge_or_not_finite_raise_no_warning() -> None:
    """Every warning is an error here: an Exp of an Exp is infinite on both sides, or too large to be squared."""
    ends = "e = Exp(c) f = Exp(e) h = Mul(f, f) y = Add(h, c)"
    huge = weights(4, 3, 3, 3) * np.float32(3)
    text = net(ends)
    renamed = net(ends.replace("(c)", "(q)").replace(", c)", ", q)"), "q = Conv(x, w)")
    feeds = {"x": image(2, 3, 8, 8) * np.float32(4)}
    assert proof(proto(text, w=huge), proto(renamed, w=huge), **feeds).complete
    assert not proof(proto(text, w=huge), proto(renamed, w=huge * np.float32(1.02)), **feeds).complete
    other = weights(4, 3, 3, 3) * np.float32(3)
    assert not compare(side(proto(text, w=huge)), side(proto(renamed, w=other)), VerifyOptions()).equivalent


def test_branches_that_give_infinite_numbers_are_compared_in_silence() -> None:
    def text(k: str) -> str:
        return f"""{HEAD} g (float[N] x) => (float[N] y) {{
            m = ReduceSum<keepdims = 0>(x) k = Constant<value_float = {k}>() c = Greater(m, k)
            y = If(c) <then_branch = t () => (float[N] o) {{ o = Relu(x) }},
                       else_branch = e () => (float[N] r) {{ r = Exp(x) }}> }}"""

    assert not compare(side(text("1000.0")), side(text("2000.0")), VerifyOptions()).equivalent


SPLIT = """<ir_version: 9, opset_import: ["" : 18]>
    g (float[N, 3, 8, 8] x) => (float[N, 5, 8, 8] y)
    <float[5, 3, 3, 3] w, float[5] gamma, float[5] beta, float[5] mean, float[5] var, float[2, 2, 1, 1] u> {
        c = Conv<pads = [1, 1, 1, 1]>(x, w)
        n = BatchNormalization(c, gamma, beta, mean, var)
        sizes = Constant<value_ints = [2, 3]>() zero = Constant<value_int = 0>() one = Constant<value_int = 1>()
        s = SplitToSequence<axis = 1>(n, sizes)
        a = SequenceAt(s, zero) b = SequenceAt(s, one)
        d = Conv(a, u) e = Relu(d)
        t = SequenceConstruct(e, b)
        y = ConcatFromSequence<axis = 1>(t) }"""


def test_rounding_goes_with_what_is_put_into_sequences() -> None:
    """Parts of one value, of different sizes, as torch's exporter splits channels."""
    names = {"gamma": 5, "beta": 5, "mean": 5, "var": 5}
    arrays = {name: np.abs(weights(size)) + np.float32(0.5) for name, size in names.items()}
    model = proto(SPLIT, w=weights(5, 3, 3, 3), u=weights(2, 2, 1, 1), **arrays)
    reference = side(model)
    folded, plan = fold(reference.model)
    assert not plan.kept
    found = compare(reference, Side(folded), VerifyOptions())
    assert found.equivalent
    assert found.proof is not None
    assert not found.proof.unseen
    assert not any(o.verdict == "dropped" for o in found.proof.obligations)
    wrong = proto(SPLIT, w=weights(5, 3, 3, 3), u=weights(2, 2, 1, 1), **arrays)
    assert not compare(reference, side(wrong), VerifyOptions()).equivalent


@pytest.mark.parametrize("frozen", [False, True])
def test_what_a_caller_may_override_is_tried_on_other_values(frozen: bool) -> None:
    """The runs see the default alone, which a candidate may have hard-coded."""
    head = f"{HEAD} g (float[1, 3, 8, 8] x, float[4, 3, 3, 3] w) => (float[1, 4, 6, 6] y)"
    reference = proto(f"{head} {{ y = Conv(x, w) }}")
    candidate = proto(f"{head} <float[4, 3, 3, 3] v> {{ y = Conv(x, v) }}", v=W)
    for model in (reference, candidate):
        model.graph.initializer.append(onnx.numpy_helper.from_array(W, "w"))
    assert compare(side(reference), side(reference), VerifyOptions())
    found = compare(side(reference), side(candidate), VerifyOptions(freeze_initializers=frozen))
    assert bool(found) is frozen
    if not frozen:
        assert "a caller may override 'w' ('freeze_initializers' takes it as a constant)" in str(
            [obligation.reason for obligation in found.proof.obligations]
        )


@pytest.mark.parametrize(("ours", "theirs"), [(0, 1), (1, 0)])
def test_what_quantised_floats_clip_is_chosen(ours: int, theirs: int) -> None:
    text = """<ir_version: 10, opset_import: ["" : 19]> g (float[1, 64] x) => (float[1, 64] y)
              {{ a = Cast<to = 17, saturate = {}>(x) y = Cast<to = 1>(a) }}"""
    reference, candidate = proto(text.format(ours)), proto(text.format(theirs))
    assert compare(side(reference), side(reference), VerifyOptions())
    assert not compare(side(reference), side(candidate), VerifyOptions())
