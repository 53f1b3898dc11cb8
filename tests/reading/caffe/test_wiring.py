"""Names, states, in-place layers, outputs: Caffe's rules on which layers exist and what reads what."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Unsupported, UsageError
from bnfold.ir.provenance import SOURCE_KEY
from bnfold.pipeline import pipeline
from bnfold.reading.caffe.prototxt import Text
from bnfold.reading.caffe.schema import Node
from bnfold.reading.caffe.wiring import kept
from bnfold.results.options import ReadOptions, command_line

from .files import Net, input_layer, layer, normal, same

X = input_layer("x", 2, 3, 4, 4)
DATA = normal(2, 3, 4, 4)


def power(bottom, top, scale, name, extra=""):
    return layer("Power", [bottom], [top], f"power_param {{ scale: {scale} }} {extra}", name)


def rule(**fields):
    text = Text(b"", "net")
    node = Node("NetStateRule", text, 0)
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            node.put(name, one)
    return node


@pytest.mark.parametrize(
    ("include", "exclude", "exists"),
    [
        ([], [], True),
        ([rule()], [], True),
        ([rule(phase="TEST")], [], True),
        ([rule(phase="TRAIN")], [], False),
        ([rule(phase="TRAIN"), rule(phase="TEST")], [], True),
        ([], [rule(phase="TEST")], False),
        ([], [rule(phase="TRAIN"), rule(stage=["a", "none"])], True),
        ([], [rule(phase="TRAIN"), rule(stage=["a"])], False),
        ([rule(stage=["a"])], [], True),
        ([rule(stage=["a", "b"])], [], True),
        ([rule(not_stage=["b"])], [], False),
        ([rule(not_stage=["none"], min_level=2)], [], True),
        ([rule(min_level=3)], [], False),
        ([rule(max_level=1)], [], False),
        ([rule(max_level=2, phase="TEST", stage=["b"])], [], True),
    ],
)
def test_rules(include, exclude, exists):
    node = Node("LayerParameter", Text(b"", "net"), 0)
    for field, rules in (("include", include), ("exclude", exclude)):
        for one in rules:
            node.put(field, one)
    assert kept(node, "TEST", 2, ["a", "b"]) is exists


def test_state_stages_add_to_those_asked_for(tmp_path):
    text = (
        "state { stage: 'a' phase: TRAIN level: 9 } "
        + X
        + power("x", "y", 2, "one", "include { stage: 'a' stage: 'b' phase: TEST max_level: 0 }")
    )
    assert Net(tmp_path, text, stages=("b",)).outputs == ["y"]
    assert Net(tmp_path, text).outputs == ["x"]


def test_in_place_versions_are_named_after_blob_and_layer(tmp_path):
    text = (
        X
        + power("x", "a", 2, "one")
        + power("a", "a", 3, "two")
        + layer("Dropout", "a", "a", name="drop")
        + power("a", "a", 5, "three")
        + power("a", "b", 7, "four")
    )
    net = Net(tmp_path, text)
    got = net.run(x=DATA)
    for name, factor in (("a/one", 2), ("a/two", 6), ("a", 30), ("b", 210)):
        same(got[name], DATA * factor)
    assert net.ops() == ["Mul"] * 4
    assert [node.name for node in net.model.graph] == ["one", "two", "three", "four"]
    assert net.model.graph[1].metadata_props[SOURCE_KEY] == "net.prototxt:3 two (Power)"


def test_an_input_keeps_its_name_unless_an_output_wants_it(tmp_path):
    text = X + power("x", "x", 2, "one")
    net = Net(tmp_path, text + power("x", "y", 3, "two"))
    assert (net.inputs, net.outputs) == (["x"], ["y"])
    same(net.run(x=DATA)["x/one"], DATA * 2)
    net = Net(tmp_path, text)
    assert (net.inputs, net.outputs) == (["x/x_in"], ["x"])
    assert "caffe.renamed-input" in net.codes


def test_readers_after_an_in_place_layer_see_its_result(tmp_path):
    text = (
        X
        + power("x", "a", 2, "one")
        + power("a", "a", 3, "two")
        + power("a", "b", 1.5, "p")
        + power("a", "c", 2, "q")
    )
    got = Net(tmp_path, text).run(x=DATA)
    same(got["b"], DATA * 9)
    same(got["c"], DATA * 12)


def test_outputs_are_alphabetical_and_silence_hides(tmp_path):
    text = X + layer("Split", "x", ["c", "a", "b"]) + layer("Silence", "b", [], name="s")
    net = Net(tmp_path, text)
    assert net.outputs == ["a", "c"]
    assert np.array_equal(net.run(x=DATA)["c"], DATA)
    assert Net(tmp_path, X + input_layer("unused", 3) + power("x", "y", 2, "l")).outputs == ["unused", "y"]


def test_duplicate_layer_names_are_fine(tmp_path):
    net = Net(tmp_path, X + power("x", "a", 2, "same") + power("a", "b", 3, "same"))
    same(net.run(x=DATA)["b"], DATA * 6)


BROKEN = [
    (power("z", "y", 2, "l"), "2:33", "unknown bottom 'z'"),
    (power("y", "y", 2, "l"), "2:33", "layers run in file order"),
    (
        power("x", "x2", 2, "a").replace("\n", " ") + power("x2", "x", 2, "l"),
        "2:",
        "top 'x' is produced already, by 'x_in' in line 1",
    ),
    (power("x", "a", 2, "a") + power("x", "x", 2, "l"), "3:45", "which 'a' has read already"),
    (layer("Eltwise", "xx", "x"), "2:", "the layer reads twice"),
    (layer("Split", "x", "aa"), "2:", "top 'a' is given twice"),
    (layer("Reshape", "x", "x", "reshape_param { shape { dim: -1 } }"), "2:", "cannot work in place"),
    (
        layer("Convolution", "x", "x", "convolution_param { num_output: 3 kernel_size: 1 }"),
        "2:",
        "cannot work in place",
    ),
    (layer("Pooling", "x", "x", "pooling_param { kernel_size: 1 }"), "2:", "cannot work in place"),
    (layer("Permute", "x", "x"), "2:", "cannot work in place"),
    (
        power("x", "y", 2, "l", "include { phase: TEST } exclude { phase: TRAIN }"),
        "2:",
        "include and exclude rules",
    ),
    (layer("ReLU", [], "y"), "2:", "0 bottoms"),
    (layer("Input", "x", "y"), "2:", "1 bottoms"),
    (layer("ReLU", "x", [""]), "2:", "a top without a name"),
    (layer("Eltwise", "x", "y"), "2:", "1 bottoms; expected at least 2"),
    (layer("ReLU", "x", "ab"), "2:", "2 tops"),
    ('layer { name: "l" bottom: "x" top: "y" }', "2:", "a layer without a type"),
]


@pytest.mark.parametrize(("text", "place", "words"), BROKEN)
def test_what_caffe_rejects(tmp_path, text, place, words):
    with pytest.raises(Malformed) as caught:
        Net(tmp_path, X + text)
    assert words in str(caught.value)
    assert f"net.prototxt:{place}" in str(caught.value)


def test_shared_memory_that_an_in_place_layer_changes_is_declined(tmp_path):
    text = (
        X
        + power("x", "a", 2, "one")
        + layer("Reshape", "a", "r", "reshape_param { shape { dim: 0 dim: -1 } }")
        + layer("ReLU", "r", "r", name="relu")
    )
    Net(tmp_path, text + layer("Softmax", "r", "s", name="after"))
    with pytest.raises(Unsupported, match=r"net.prototxt:5:1 late \(AbsVal\): the layer reads memory"):
        Net(tmp_path, text + layer("AbsVal", "a", ["late"], name="late"))
    Net(
        tmp_path,
        text.replace("Reshape", "Flatten").replace("reshape_param { shape { dim: 0 dim: -1 } }", "")
        + layer("Split", "r", "s", name="after"),
    )


def test_unknown_layers(tmp_path):
    text = X + power("x", "a", 2, "one") + layer("Convolutin", "a", "u", name="odd")
    with pytest.raises(Unsupported) as caught:
        Net(tmp_path, text + power("u", "y", 3, "two"))
    for words in (
        "net.prototxt:3:1 odd (Convolutin)",
        "is 'Convolution' meant?",
        "reads 'one' (Power)",
        "read by 'two' (Power)",
        "--cut-at a",
        "bnfold.caffe.layer",
    ):
        assert words in str(caught.value)
    net = Net(tmp_path, text + layer("MultiBoxLoss", "u", "m", name="loss"))
    assert net.outputs == ["a"]
    assert "caffe.unknown-layer" in net.codes
    assert Net(
        tmp_path, X + power("x", "a", 2, "one") + layer("StrangeLoss", "a", "m", name="loss")
    ).outputs == ["a"]


def test_cut_at(tmp_path):
    text = (
        X
        + power("x", "a", 2, "one")
        + power("x", "side", 5, "three")
        + layer("Nobody", "a", "u", name="odd")
        + power("u", "y", 3, "two")
    )
    net = Net(tmp_path, text, cut_at=("a",))
    assert net.outputs == ["a", "side"]
    same(net.run(x=DATA)["a"], DATA * 2)
    with pytest.raises(UsageError, match="'cut_at' names 'nowhere', which no layer produces"):
        Net(tmp_path, text, cut_at=("nowhere",))


FIELDS = "layer { name: 'l' type: 'ReLU' bottom: 'x' top: 'y'\n  fancy: 3\n  relu_param { depth: 4 } }"


def test_an_unknown_field_of_a_layer_that_computes_is_refused_with_its_line(tmp_path):
    with pytest.raises(Unsupported) as caught:
        Net(tmp_path, X + FIELDS)
    assert "net.prototxt:3:3 l (ReLU): LayerParameter has no field 'fancy'" in str(caught.value)
    assert "--ignore-field fancy" in str(caught.value)
    with pytest.raises(Unsupported) as caught:
        Net(tmp_path, X + FIELDS, ignore_fields=("fancy",))
    assert "net.prototxt:4:16 l (ReLU): ReLUParameter has no field 'depth'" in str(caught.value)
    assert "--ignore-field relu_param.depth" in str(caught.value)
    net = Net(tmp_path, X + FIELDS, ignore_fields=("fancy", "relu_param.depth"))
    same(net.run(x=DATA)["y"], np.maximum(DATA, 0))
    assert net.codes == ["caffe.ignored-field"] * 2


def test_fields_to_ignore_must_be_there(tmp_path):
    with pytest.raises(UsageError, match=r"'ignore_fields' names 'relu_param\.dept', which no layer has"):
        Net(tmp_path, X + FIELDS, ignore_fields=("relu_param.dept",))


def test_unknown_fields_that_change_nothing_are_told(tmp_path):
    text = (
        "layer { name: 'd' type: 'Data' top: 'x' top: 't' data_param { batch_size: 2 jitter: 3 } }\n"
        "layer { name: 'f' type: 'Convolution' bottom: 'x' top: 'y' relu_param { depth: 4 }\n"
        "  param { lr_mult: 1 mood: 2 } convolution_param { kernel_size: 1 num_output: 1\n"
        "    weight_filler { type: 'constant' value: 2 mood: 3 } bias_term: false } }\n"
        "layer { name: 'loss' type: 'SoftmaxWithLoss' bottom: 'y' bottom: 't' top: 'l' loss_param { gamma: 2 } }"
    )
    net = Net(tmp_path, text, input_shapes=(("x", (2, 1, 3, 3)),))
    told = [f.text for f in net.loaded.findings if f.code == "caffe.unknown-field"]
    assert len(told) == 5
    with pytest.raises(Malformed, match="--strict"):
        Net(tmp_path, text, input_shapes=(("x", (2, 1, 3, 3)),), strict=True)


def test_an_unknown_field_of_a_loss_matters_where_the_loss_is_computed(tmp_path):
    loss = layer("SoftmaxWithLoss", ["x", "t"], "l", "loss_param { gamma: 2 }", name="loss")
    with pytest.raises(Unsupported, match=r"loss \(SoftmaxWithLoss\): LossParameter has no field 'gamma'"):
        Net(tmp_path, X + input_layer("t", 2, 1, 4, 4) + loss)


def test_a_word_that_only_a_fork_has_is_refused_where_it_is_needed(tmp_path):
    text = (
        X
        + power("x", "a", 2, "one")
        + layer("Pooling", "a", params="pooling_param { pool: LIP\n kernel_size: 2 }", name="odd")
    )
    with pytest.raises(Unsupported) as caught:
        Net(tmp_path, text)
    assert "net.prototxt:3:74 odd (Pooling): pooling_param.pool is LIP" in str(caught.value)
    assert "expected MAX, AVE, STOCHASTIC" in str(caught.value)
    assert "--cut-at a" in str(caught.value)
    assert Net(tmp_path, text, cut_at=("a",)).outputs == ["a"]
    assert Net(tmp_path, text, ignore_fields=("pooling_param.pool",)).ops()[-1] == "MaxPool"


def test_input_shapes(tmp_path):
    text = (
        "layer { name: 'i' type: 'Input' top: 'x' } layer { name: 'j' type: 'Input' top: 'z' "
        "input_param { shape { dim: 2 } } }\n"
    )
    text += layer("ReLU", "x")
    assert Net(tmp_path, text, input_shapes=(("x", (1, 2)),)).outputs == ["y", "z"]
    unknown = r"net.prototxt:1:1 i \(Input\): the shape of input 'x' is not known; give it as "
    with pytest.raises(Malformed, match=unknown + "'input_shapes'"):
        Net(tmp_path, text)
    with command_line(), pytest.raises(Malformed, match=unknown + "--input-shape x:1,3,224,224"):
        Net(tmp_path, text)
    for shapes, words in (
        (
            {"x": (1, 2), "w": (1,)},
            "'input_shapes' names 'w', which is no input of the model; expected one of x, z",
        ),
        ((1, 2), "'input_shapes' without a name"),
    ):
        with pytest.raises(UsageError, match=words):
            pipeline.load(tmp_path / "net.prototxt", None, ReadOptions(input_shapes=shapes))
    assert tuple(
        Net(tmp_path, X + layer("ReLU", "x"), input_shapes=(("", (7, 3)),)).model.graph.inputs[0].shape
    ) == (7, 3)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ("dim: 0", "shape of (0)"),
        ("dim: -2", "shape of (-2)"),
        ("dim: 65536 dim: 65536", "fewer than 2^31 values"),
    ],
)
def test_shapes_that_nothing_can_have(tmp_path, shape, words):
    with pytest.raises(Malformed) as caught:
        Net(
            tmp_path,
            f"layer {{ type: 'Input' name: 'i' top: 'x' input_param {{ shape {{ {shape} }} }} }}"
            + layer("ReLU", "x"),
        )
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "options",
    [
        {"dialect": "pjreddie"},
        {"opset": 9},
        {"phase": "test"},
        {"random_weights": 1, "weights": b"\x0a\x01n"},
    ],
)
def test_wrong_usage(tmp_path, options):
    with pytest.raises(UsageError):
        Net(tmp_path, X + layer("ReLU", "x"), **options)


def test_a_solver_is_no_network(tmp_path):
    with pytest.raises(Malformed, match="a solver, not a network"):
        Net(tmp_path, "net: 'train.prototxt' base_lr: 0.1")
    with pytest.raises(Malformed, match="no layers in it"):
        Net(tmp_path, "name: 'empty'")
    with pytest.raises(Malformed, match="computes nothing at inference"):
        Net(
            tmp_path,
            "layer { name: 'd' type: 'Data' top: 'l' top: 't' } layer { name: 'm' type: "
            "'MultiBoxLoss' bottom: 'l' bottom: 't' top: 'm' }",
        )


def test_dummy_data_and_parameters(tmp_path):
    text = (
        X
        + """layer { name: "d" type: "DummyData" top: "k" top: "r" dummy_data_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 }
        data_filler { value: 0.5 } data_filler { type: "gaussian" } } }
    layer { name: "p" type: "Parameter" top: "w" parameter_param { shape { dim: 2 dim: 3 dim: 4 dim: 4 } } }
    layer { name: "e" type: "Eltwise" bottom: "x" bottom: "k" bottom: "r" bottom: "w" top: "y" }"""
    )
    net = Net(tmp_path, text, {"p": [normal(2, 3, 4, 4, seed=6)]})
    assert net.inputs == ["x", "r"]
    assert "caffe.random-data" in net.codes
    same(net.run(x=DATA, r=DATA * 2)["y"], DATA * 3 + 0.5 + normal(2, 3, 4, 4, seed=6))
