"""The whole way: names, sources, shapes, outputs, batch, and what is wrong with a cfg, each with its line."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import BnfoldError, Malformed, Mismatch, Unreadable, Unsupported, UsageError
from bnfold.ir.provenance import SOURCE_KEY, Source, parse

from .nets import CONV, NET, codes, floats, load, ops, run

YOLO = "[convolutional]\nfilters=18\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nnum=2\nclasses=4\nanchors=1,2,3,4\n"
DETECTOR = NET + CONV + YOLO + "[route]\nlayers=0\n[maxpool]\nsize=2\nstride=2\n" + YOLO


def test_names_sources_and_shapes(tmp_path):
    loaded = load(
        tmp_path,
        NET
        + "[conv]\nfilters=5\nsize=3\npad=1\nstride=2\nbatch_normalize=1\nactivation=leaky\n[avg]\n[soft]\n",
    )
    graph = loaded.model.graph
    assert [v.name for v in graph.inputs] == ["data"]
    results = {v.name: list(v.shape.dims) for node in graph for v in node.outputs if "/" not in v.name}
    assert {name: [str(d) for d in dims] for name, dims in results.items()} == {
        "000_convolutional": ["N", "5", "5", "6"],
        "001_avgpool": ["N", "5", "1", "1"],
        "002_softmax": ["N", "5"],
    }
    assert {node.metadata_props[SOURCE_KEY] for node in graph} == {
        "net.cfg:5 [convolutional] #0",
        "net.cfg:12 [avgpool] #1",
        "net.cfg:13 [softmax] #2",
    }
    assert parse("net.cfg:5 [convolutional] #0") == Source("net.cfg", 5, index=0, type="convolutional")
    assert (loaded.format, loaded.name, [f.name for f in loaded.files]) == ("darknet", "net", ["net.cfg"])


def test_batch_norm_is_batch_normalization_with_the_files_own_arrays(tmp_path):
    cfg = NET + "[convolutional]\nbatch_normalize=1\nfilters=2\nactivation=relu\n"
    values = np.arange(1, 15, dtype=np.float32)
    graph = load(tmp_path, cfg, values).model.graph
    norm = next(node for node in graph if node.op_type == "BatchNormalization")
    assert [v.const_value.numpy().tolist() for v in norm.inputs[1:]] == [
        [3, 4],
        [1, 2],
        [5, 6],
        [7, 8],
    ]  # scales, biases, mean, variance
    assert norm.attributes["epsilon"].value == np.float32(1e-5)


@pytest.mark.parametrize(
    ("options", "rows"), [({}, "N"), ({"batch": 3}, "3"), ({"input_shapes": (("", (5, 3, 10, 12)),)}, "5")]
)
def test_batch(options, rows, tmp_path):
    loaded = load(tmp_path, NET + CONV + "[implicit]\nfilters=2\n[route]\nlayers=-1\n", **options)
    assert {str(v.shape.dims[0]) for v in (*loaded.model.graph.inputs, *loaded.model.graph.outputs)} == {rows}
    count = 2 if rows == "N" else int(rows)
    assert run(loaded, np.ones((count, 3, 10, 12)))[0].shape == (count, 2, 1, 1)


def test_rows_are_time_steps_in_a_recurrent_net(tmp_path):
    cfg = NET + "time_steps=3\n[rnn]\noutput=2\n"
    assert load(tmp_path, cfg).model.graph.inputs[0].shape.dims[0] == 3
    loaded = load(tmp_path, cfg, batch=2)
    assert loaded.model.graph.inputs[0].shape.dims[0] == 6
    one = load(tmp_path, cfg)
    x = np.random.default_rng(0).random((3, 2, 3, 10, 12))  # step, sequence
    together = run(loaded, x.reshape(6, 3, 10, 12))[0].reshape(3, 2, 2)
    for sequence in range(2):
        assert np.allclose(run(one, x[:, sequence])[0], together[:, sequence], atol=1e-6)


def test_another_size(tmp_path):
    loaded = load(tmp_path, DETECTOR, input_shapes=(("data", (1, 3, 32, 64)),))
    assert [list(v.shape.dims) for v in loaded.model.graph.outputs] == [[1, 18, 32, 64], [1, 18, 16, 32]]
    for wrong in ((1, 4, 32, 64), (1, 32, 64), (1, 3, 0, 64)):
        with pytest.raises(UsageError):
            load(tmp_path, DETECTOR, input_shapes=(("", wrong),))
    with pytest.raises(UsageError):
        load(tmp_path, DETECTOR, input_shapes=(("", (4, 3, 32, 64)),), batch=2)


@pytest.mark.parametrize(
    ("heads", "outputs"),
    [
        ("layer", ["002_yolo", "006_yolo"]),
        ("raw", ["001_convolutional", "005_convolutional"]),
        ("boxes", ["boxes", "scores"]),
    ],
)
def test_heads(heads, outputs, tmp_path):
    assert [v.name for v in load(tmp_path, DETECTOR, heads=heads).model.graph.outputs] == outputs


def test_heads_of_a_net_without_any(tmp_path):
    for heads in ("raw", "boxes", "all"):
        with pytest.raises(UsageError):
            load(tmp_path, NET + CONV, heads=heads)


def test_cost_is_never_the_output(tmp_path):
    loaded = load(tmp_path, NET + CONV + "[softmax]\n[cost]\ntype=sse\n")
    assert [v.name for v in loaded.model.graph.outputs] == ["001_softmax"]


def test_dropout_and_route_keep_their_numbers(tmp_path):
    loaded = load(tmp_path, NET + CONV + "[dropout]\n[route]\nlayers=1\n" + CONV)
    assert ops(loaded) == ["Conv", "Identity", "Identity", "Conv"]


def test_a_tree_is_looked_for_beside_the_cfg(tmp_path):
    cfg = NET + CONV + "[avgpool]\n[softmax]\ntree=data/t.tree\n"
    with pytest.raises(Unreadable) as error:
        load(tmp_path, cfg)
    assert str(error.value.where) == "net.cfg:12"
    (tmp_path / "t.tree").write_text("a -1\nb -1\nc 0\nd 0\n")
    loaded = load(tmp_path, cfg)
    assert [f.name for f in loaded.files] == ["net.cfg", "t.tree"]
    shares = run(loaded, np.random.default_rng(0).random((2, 3, 10, 12)))[0]
    assert np.allclose(shares.reshape(2, 2, 2).sum(axis=2), 1)
    for text, kind in (
        ("a -1\n", Mismatch),
        ("a 4\nb\nc\nd\n", Malformed),
        ("a 99999999999\nb\nc\nd\n", Malformed),
    ):
        (tmp_path / "t.tree").write_text(text)
        with pytest.raises(kind):
            load(tmp_path, cfg)


def test_unknown_options_are_named_with_their_line_and_an_idea(tmp_path):
    loaded = load(tmp_path, NET + "[convolutional]\nfilter=4\nlearning_rate=2\n")
    (finding,) = loaded.findings
    assert (finding.level, finding.code, finding.where) == ("warning", "darknet.unknown-option", "net.cfg:6")
    assert "'filters'" in finding.text
    with pytest.raises(Unsupported):
        load(tmp_path, NET + "[convolutional]\nfilter=4\n", strict=True)


@pytest.mark.parametrize("line", ["stride=2.5", "pad=yes", "groups=1x"])
def test_numbers_that_darknet_cuts_short_are_reported(line, tmp_path):
    assert codes(load(tmp_path, NET + "[convolutional]\nfilters=4\n" + line)) == ["darknet.number"]


BAD = [
    ("[convolutional]\nfilters=0\n", Malformed, "filters=0"),
    ("[convolutional]\nfilters=2000000000\n", Malformed, "2,000,000,000 x 3 x 1 x 1"),
    ("[convolutional]\nfilters=200000000000\n", Malformed, "32-bit"),
    ("[convolutional]\nstride=-1\n", Malformed, "stride=-1"),
    ("[convolutional]\nstride=0\n", Malformed, "stride=0"),
    ("[convolutional]\nsize=13\n", Malformed, "window of 13 over 10 pixels"),
    ("[convolutional]\npadding=-3\n", Malformed, "padding=-3"),
    ("[convolutional]\ngroups=2\n", Malformed, "groups=2"),
    ("[convolutional]\nsize=3\ndilation=2\n", Unsupported, "dilation=2"),
    ("[convolutional]\nnumload=7\nfilters=8\n", Unsupported, "numload=7"),
    ("[convolutional]\nshare_index=-1\n", Malformed, "names layer #-1"),
    ("[maxpool]\nsize=2\nstride=0\n", Malformed, "stride=0"),
    ("[maxpool]\nsize=40\npadding=0\n", Malformed, "window of 40"),
    ("[route]\n", Malformed, "has no 'layers'"),
    ("[route]\nlayers=0\n", Malformed, "names layer #0"),
    ("[route]\nlayers=3\n", Malformed, "names layer #3"),
    ("[route]\nlayers=-2\n", Malformed, "names layer #-2"),
    ("[shortcut]\n", Malformed, "has no 'from'"),
    ("[shortcut]\nfrom=7\n", Malformed, "names layer #7"),
    ("[yolo]\nclasses=0\n", Malformed, "classes=0"),
    ("[yolo]\nclasses=80\nnum=3\n", Malformed, "3 channels for 3 anchors"),
    ("[yolo]\nnum=2000000000\n", Malformed, "num=2000000000"),
    ("[region]\nclasses=-5\nnum=-1\n", Malformed, "num=-1"),
    ("[detection]\nclasses=3\n", Malformed, "numbers for side=7"),
    ("[upsample]\nstride=0\n", Malformed, "stride=0"),
    ("[upsample]\nstride=60000\n", Malformed, "numbers"),
    ("[reorg]\nstride=5\n", Unsupported, "stride of 5"),
    ("[crop]\ncrop_height=11\ncrop_width=4\n", Malformed, "11 x 4 pixels"),
    ("[softmax]\ngroups=7\n", Malformed, "groups=7"),
    ("[connected]\noutput=0\n", Malformed, "output=0"),
    ("[connected]\noutput=2147483647\n", Malformed, "2,147,483,647 x 360 numbers"),
    ("[crnn]\nhidden=2\noutput=2\nsize=3\n", Malformed, "change the size of the state"),
    ("[local]\nsize=5\npad=1\n", Unsupported, "pad=1 with size=5"),
    ("[softmax]\n[convolutional]\n", Malformed, "flat numbers"),
    (
        "[maxpool]\nstride=2\n[convolutional]\n[maxpool]\nstride=2\n[route]\nlayers=-1,0\n[convolutional]\n",
        Malformed,
        "[route] #3 joins pictures of 3 x 3 and 5 x 6 pixels",
    ),
    ("[cost]\n[convolutional]\n", Malformed, "flat numbers"),
    ("[net]\nwidth=1\n", Malformed, "a second [net]"),
    ("[convolutionall]\n", Unsupported, "no darknet has a section [convolutionall]"),
    ("[yolo] # the last\n", Unsupported, "section header"),
    ("[conv_lstm]\nbottleneck=1\npad=1\n", Unsupported, "bottleneck=1"),
    ("[normalization]\nsize=9\n", Unsupported, "size=9"),
]


@pytest.mark.parametrize(("section", "kind", "found"), BAD, ids=[found for _, _, found in BAD])
def test_what_is_wrong_is_said_with_its_line(section, kind, found, tmp_path):
    with pytest.raises(kind) as error:
        load(tmp_path, NET + section)
    assert found in str(error.value)
    assert str(error.value).startswith("net.cfg:")


@pytest.mark.parametrize(
    "net",
    [
        "[net]\n",
        "[net]\nwidth=0\nheight=0\n",
        "[net]\nwidth=-4\nheight=4\nchannels=3\n",
        "[net]\ninputs=-3\n",
        "[net]\nwidth=60000\nheight=60000\nchannels=3\n",
        "[net]\ninputs=4\ntime_steps=2000000000\n[rnn]\n",
    ],
)
def test_inputs_that_are_none(net, tmp_path):
    with pytest.raises(Malformed):
        load(tmp_path, net + "[connected]\n", batch=2)


def test_a_cfg_without_layers(tmp_path):
    with pytest.raises(Malformed):
        load(tmp_path, NET)


def test_an_absurd_number_of_time_steps(tmp_path):
    with pytest.raises(Unsupported):
        load(tmp_path, "[net]\ninputs=4\ntime_steps=100000\n[gru]\noutput=2\n")


def test_opset(tmp_path):
    for opset in (15, 18, 21):
        cfg = (
            NET
            + CONV
            + "[convolutional]\nfilters=2\nactivation=normalize_channels_softmax_maxval\n"
            + "[maxpool]\nmaxpool_depth=1\n"
        )
        loaded = load(tmp_path, cfg, opset=opset)
        assert run(loaded, np.ones((1, 3, 10, 12)))[0].shape == (1, 1, 10, 12)
    with pytest.raises(UsageError):
        load(tmp_path, NET + CONV, opset=11)


def test_nothing_is_allocated_because_a_cfg_says_so(tmp_path):
    """Sizes that fit darknet's integers but no machine: refused by the accounting of the file, or kept as
    recipes."""
    import tracemalloc

    cfg = NET + CONV + "[connected]\noutput=1000000\n[connected]\noutput=2000\n"
    tracemalloc.start()
    try:
        with pytest.raises(BnfoldError):
            load(tmp_path, cfg, floats(500))
        load(tmp_path, cfg)
        assert tracemalloc.get_traced_memory()[1] < 5 << 20
    finally:
        tracemalloc.stop()
