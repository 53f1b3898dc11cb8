"""The weights file: its header, exact accounting, what is missing on purpose, seeded weights."""

from __future__ import annotations

import numpy as np
import pytest

from bnfold.errors import Malformed, Mismatch, Unreadable, UsageError
from bnfold.ir.tensor import FileMap
from bnfold.reading.darknet import read
from bnfold.reading.darknet.dialects import Fork
from bnfold.reading.darknet.weights import Seeded
from bnfold.reading.darknet.weights import header as read_header
from bnfold.results.options import ReadOptions

from .nets import CONV, NET, codes, floats, header, load, on_disk, run

SIZE = 4 + 4 * 3 * 3 * 3  # floats of CONV on NET
NORMED = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=1\nactivation=leaky\n"  # 4 x 4 + 4 x channels
YOLO = "[convolutional]\nfilters=18\nsize=1\nactivation=linear\n[yolo]\nmask=0,1\nnum=2\nclasses=4\nanchors=1,2,3,4\n"


@pytest.mark.parametrize(
    ("version", "fork", "size", "turned"),
    [
        ((0, 1, 0), Fork.PJREDDIE, 16, False),
        ((0, 1, 0), Fork.ALEXEYAB, 16, False),
        ((0, 2, 0), Fork.PJREDDIE, 20, False),
        ((0, 2, 5), Fork.ALEXEYAB, 20, False),
        ((1, 0, 0), Fork.PJREDDIE, 20, False),
        ((1001, 0, 0), Fork.PJREDDIE, 16, True),
        ((1001, 0, 0), Fork.ALEXEYAB, 20, True),
        ((0, 1001, 0), Fork.PJREDDIE, 16, True),
        ((1000, 0, 0), Fork.PJREDDIE, 16, False),
    ],
)
def test_header(version, fork, size, turned, tmp_path):
    (tmp_path / "w").write_bytes(header(*version, seen=5))
    found = read_header(FileMap(tmp_path / "w"), fork)
    assert (found.size, found.transposed, found.seen) == (size, turned, 5)


@pytest.mark.parametrize(
    "content", [b"\0" * 15, b"[net]\nwidth=10\nheight=10\n", b"\xff" * 64, header()[:18]]
)
def test_what_is_no_header(content, tmp_path):
    network, weights = on_disk(tmp_path, NET + CONV)
    weights.write_bytes(content)
    with pytest.raises(Malformed):
        read(network, weights, ReadOptions())


def test_an_empty_file(tmp_path):
    network, weights = on_disk(tmp_path, NET + CONV)
    weights.write_bytes(b"")
    with pytest.raises(Unreadable):
        read(network, weights, ReadOptions())


def test_weights_and_cfg_in_the_wrong_order(tmp_path):
    network, weights = on_disk(tmp_path, NET + CONV, floats(SIZE))
    with pytest.raises(Malformed) as error:
        read(weights, network, ReadOptions())
    assert "the network comes first" in error.value.way_out


def test_arrays_are_windows_on_the_file_in_order(tmp_path):
    values = floats(SIZE)
    loaded = load(tmp_path, NET + CONV, values)
    tensors = {name: v.const_value for name, v in loaded.model.graph.initializers.items()}
    biases, kernel = tensors["000_convolutional/biases"], tensors["000_convolutional/weights"]
    assert (biases.offset, kernel.offset) == (20, 36)
    assert np.array_equal(kernel.numpy().reshape(-1), values[4:])


@pytest.mark.parametrize("more", [1, 4, 7, 400])
def test_bytes_left_over(more, tmp_path):
    network, weights = on_disk(
        tmp_path, NET + CONV + CONV.replace("filters=4", "filters=2"), floats(SIZE + 2 + 72)
    )
    weights.write_bytes(weights.read_bytes() + b"\0" * more)
    with pytest.raises(Mismatch) as error:
        read(network, weights, ReadOptions(dialect="pjreddie"))
    assert str(error.value.where) == "net.cfg:10 [convolutional] #1"
    assert error.value.found.startswith(f"{more:,} bytes are left over")
    assert f"{4 * (SIZE + 74):,} bytes" in error.value.expected


def test_bytes_missing_name_the_first_layer_that_does_not_fit_and_the_whole_sum(tmp_path):
    with pytest.raises(Mismatch) as error:
        load(tmp_path, NET + 3 * CONV, floats(SIZE + 10))
    assert str(error.value.where) == "net.cfg:10 [convolutional] #1"
    assert f"{4 * (2 * (4 + 144) - 10):,} bytes are missing" in error.value.found
    assert "--allow-partial" in error.value.way_out


def test_other_classes_are_recognised(tmp_path):
    # trained with 7 classes: 2 x (5 + 7) filters; the cfg says 4 classes and 18 filters
    with pytest.raises(Mismatch) as error:
        load(tmp_path, NET + YOLO, floats(24 * 4))
    assert "with classes=7 instead of 4" in error.value.way_out


def test_where_cfg_and_weights_parted(tmp_path):
    """The file was written for 4 filters in the first layer, the cfg says 5: the second layer's variances are
    kernels."""
    values = np.concatenate([floats(16), np.full(12, 0.5), floats(16), np.full(16, -0.5)]).astype(np.float32)
    with pytest.raises(Mismatch) as error:
        load(tmp_path, NET + NORMED.replace("filters=4", "filters=5") + NORMED, values)
    assert "stop looking like statistics at net.cfg:10 [convolutional] #1" in error.value.found


def test_the_two_headers_are_hinted_at(tmp_path):
    with pytest.raises(Mismatch) as error:
        load(tmp_path, NET + CONV, floats(SIZE + 1), dialect="pjreddie")
    assert "4 bytes are the difference between the two forms of the header" in error.value.way_out


def test_the_fork_is_the_one_that_the_file_fits(tmp_path):
    """[batchnorm]: AlexeyAB stores biases, pjreddie does not; a header above 1000: 20 bytes or 16."""
    cfg = NET + CONV + "[batchnorm]\n"
    assert load(tmp_path, cfg, floats(SIZE + 12)).dialect == "pjreddie"
    theirs = load(tmp_path, cfg, floats(SIZE + 16))
    assert theirs.dialect == "alexeyab"
    assert "fits alexeyab's" in theirs.dialect_reason
    assert load(tmp_path, NET + CONV, floats(SIZE), header(1001, 0, 0, wide=True)).dialect == "alexeyab"
    assert load(tmp_path, NET + CONV, floats(SIZE), header(1001, 0, 0, wide=False)).dialect == "pjreddie"


def test_transposed_connected_weights(tmp_path):
    cfg, values = (
        "[net]\ninputs=3\n[connected]\noutput=2\nactivation=linear\n",
        np.array([10, 20, 1, 2, 3, 4, 5, 6], np.float32),
    )
    x = np.array([[1.0, 10.0, 100.0]])
    assert run(load(tmp_path, cfg, values), x)[0].tolist() == [[331.0, 674.0]]
    assert run(load(tmp_path, cfg, values, header(1001, 0, 0, wide=False)), x)[0].tolist() == [[541.0, 662.0]]


def test_dontload_takes_nothing_and_is_refused_where_it_is_needed(tmp_path):
    cfg = NET + CONV + CONV.replace("[convolutional]\n", "[convolutional]\ndontload=1\n")
    with pytest.raises(Mismatch) as error:
        load(tmp_path, cfg, floats(SIZE))
    assert str(error.value.where) == "net.cfg:10 [convolutional] #1"
    assert "dontload=1" in error.value.found
    assert len(load(tmp_path, cfg + "[route]\nlayers=0\n", floats(SIZE)).model.graph.outputs) == 1


def test_a_partial_file_serves_what_it_has(tmp_path):
    cfg = NET + 3 * CONV
    with pytest.raises(Mismatch) as error:
        load(tmp_path, cfg, floats(SIZE), allow_partial=True)
    assert "an output needs them" in error.value.found
    loaded = load(tmp_path, cfg + "[route]\nlayers=0\n", floats(SIZE), allow_partial=True)
    assert "darknet.partial" in codes(loaded)
    assert not [name for name in loaded.model.graph.initializers if name.startswith("001")]
    assert run(loaded, np.ones((1, 3, 10, 12)))[0].shape == (1, 4, 10, 12)
    with pytest.raises(Mismatch):  # too long is never partial
        load(tmp_path, NET + CONV, floats(SIZE + 3), allow_partial=True)


def test_seeded_weights_are_reproducible_and_healthy(tmp_path):
    block = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n[shortcut]\nfrom=-2\nactivation=linear\n"
    cfg = NET + NORMED + 20 * block
    x = np.random.default_rng(0).random((1, 3, 10, 12))
    first, again, other = (run(load(tmp_path, cfg, random_weights=seed), x)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert 1e-2 < np.abs(first).mean() < 1e3


def test_seeded_statistics():
    seeded = Seeded(3)
    variance = seeded.take((70_000,), "variance", None).numpy()
    assert variance.shape == (70_000,)
    assert 0.5 <= variance.min() < variance.max() <= 1.5


def test_neither_and_both(tmp_path):
    network, weights = on_disk(tmp_path, NET + CONV, floats(SIZE))
    with pytest.raises(UsageError):
        read(network, None, ReadOptions())
    with pytest.raises(UsageError):
        read(network, weights, ReadOptions(random_weights=1))


@pytest.mark.parametrize("kind", ["flipped", "xnor"])
def test_what_is_made_from_missing_arrays_is_missing(kind, tmp_path):
    cfg = NET + CONV + CONV.replace("[convolutional]\n", f"[convolutional]\n{kind}=1\n")
    with pytest.raises(Mismatch) as error:
        load(tmp_path, cfg, floats(SIZE), allow_partial=True)
    assert "an output needs them" in error.value.found


def test_bytes_left_over_are_blamed_on_the_last_layer_of_the_file(tmp_path):
    """Not on a layer that takes nothing from it."""
    cfg = NET + CONV.replace("[convolutional]\n", "[convolutional]\ndontload=1\n") + CONV
    with pytest.raises(Mismatch) as error:
        load(tmp_path, cfg, floats(4 + 144 + 1))
    assert str(error.value.where) == "net.cfg:11 [convolutional] #1"


@pytest.mark.parametrize("dialect", ["auto", "alexeyab", "hank-ai", "pjreddie"])
@pytest.mark.parametrize("version", [(0, 0, 0), (0, 1, 0), (0, 0, 5)])
def test_an_old_version_with_a_wide_counter_is_read_as_the_file_fits(version, dialect, tmp_path):
    values = floats(SIZE)
    loaded = load(tmp_path, NET + CONV, values, header(*version, seen=32_013_312, wide=True), dialect=dialect)
    kernel = loaded.model.graph.initializers["000_convolutional/weights"].const_value.numpy()
    assert np.array_equal(kernel.reshape(-1), values[4:])
    (finding,) = [f for f in loaded.findings if f.level == "warning"]
    assert finding.code == "darknet.header"
    assert "fits exactly with one of 20" in finding.text


def test_the_header_that_the_version_says_comes_first(tmp_path):
    for values in (floats(SIZE), np.zeros(SIZE)):
        loaded = load(tmp_path, NET + CONV, values, header(0, 0, 0, wide=False))
        assert "darknet.header" not in codes(loaded)


def test_four_bytes_too_many_behind_an_old_header_are_no_wide_counter(tmp_path):
    """What would be the upper half of the counter is a bias, so the file is not read a float too late."""
    with pytest.raises(Mismatch, match="4 bytes are left over"):
        load(tmp_path, NET + CONV, floats(SIZE + 1), header(0, 1, 0, wide=False))


@pytest.mark.parametrize("more", [-2, 1, 100])
def test_a_wide_counter_that_does_not_fit_exactly_is_no_way_out(more, tmp_path):
    with pytest.raises(Mismatch):
        load(tmp_path, NET + CONV, floats(SIZE + more), header(0, 0, 0, wide=True))


def test_the_dialect_is_named_only_where_it_says_how_long_the_header_is(tmp_path):
    with pytest.raises(Mismatch, match="--dialect"):
        load(tmp_path, NET + CONV, floats(SIZE), header(1001, 0, 0, wide=True), dialect="pjreddie")
    with pytest.raises(Mismatch, match=r"version 0\.2\.0 says 20 bytes") as error:
        load(tmp_path, NET + CONV, floats(SIZE), header(0, 2, 0, wide=False), dialect="pjreddie")
    assert "--dialect" not in error.value.way_out


@pytest.mark.parametrize(
    "sections",
    [
        "[maxpool]\nsize=2\nstride=2\n",
        "[upsample]\n",
        "[maxpool]\nsize=3\nstride=1\n[upsample]\n[route]\nlayers=-1,-1\n[avgpool]\n[softmax]\n",
    ],
)
def test_a_net_without_weights_needs_no_file(sections, tmp_path):
    network, _ = on_disk(tmp_path, NET + sections)
    assert run(read(network, None, ReadOptions()), np.ones((1, 3, 10, 12)))[0].size
    (tmp_path / "net.weights").write_bytes(header())
    assert len(read(network, tmp_path / "net.weights", ReadOptions()).files) == 2


def test_a_net_with_weights_names_the_layer_that_needs_the_file(tmp_path):
    network, _ = on_disk(tmp_path, NET + "[maxpool]\n" + CONV)
    with pytest.raises(UsageError, match="needs its weights file") as error:
        read(network, None, ReadOptions())
    assert str(error.value.where) == "net.cfg:6 [convolutional] #1"
