"""Results as cfg and weights: the batch norms go, and every other byte is the user's."""

from __future__ import annotations

import numpy as np
import pytest

import bnfold

from ...reading.darknet.nets import NET, floats, header, load, on_disk, run

BN = "[convolutional]\nbatch_normalize=1\nfilters=4\nsize=3\npad=1\nactivation=leaky\n"
BN_COUNT = 4 * 4 + 108  # of BN on three channels
NEXT = BN.replace("filters=4", "filters=2")
NEXT_COUNT = 4 * 2 + 72


class Folded:
    """A network, folded in its own format."""

    def __init__(self, folder, cfg, arrays, head=None, **options):
        self.folder, self.arrays, self.options = folder, arrays, options
        network, weights = on_disk(folder, cfg, arrays, head)
        self.result = bnfold.fold_file(network, weights, out=folder / "merged.cfg", **options)
        self.cfg = (folder / "merged.cfg").read_bytes().decode()
        self.bytes = (folder / "merged.weights").read_bytes()
        self.before = weights.read_bytes()

    def floats(self, head=20):
        return np.frombuffer(self.bytes, "<f4", offset=head)

    def check(self, **options):
        """Both pairs compute the same."""
        options = {"dialect": self.result.origin.dialect} | options
        (other := self.folder / "again").mkdir(exist_ok=True)
        (other / "net.cfg").write_bytes(self.cfg.encode())
        (other / "net.weights").write_bytes(self.bytes)
        before = bnfold.load(self.folder / "net.cfg", self.folder / "net.weights", **options)
        after = bnfold.load(other / "net.cfg", other / "net.weights", **options)
        assert bnfold.verify(before, after)


def test_the_line_goes_and_the_biases_take_the_shift(tmp_path):
    arrays = floats(BN_COUNT)
    folded = Folded(tmp_path, NET + BN, arrays)
    assert folded.cfg == NET + BN.replace("batch_normalize=1\n", "")
    assert folded.bytes[:20] == folded.before[:20]
    beta, gamma, mean, variance, weights = np.split(arrays.astype(np.float64), [4, 8, 12, 16])
    scale = gamma / np.sqrt(variance + 1e-5)
    want = np.concatenate([beta - mean * scale, (weights.reshape(4, -1) * scale[:, None]).ravel()])
    np.testing.assert_allclose(folded.floats(), want, rtol=3e-7, atol=1e-7)
    folded.check()


def test_the_formula_of_the_dialect(tmp_path):
    arrays = floats(BN_COUNT)
    folded = Folded(tmp_path, NET + BN, arrays, dialect="pjreddie-cpu")
    gamma, variance = arrays[4:8].astype(np.float64), arrays[12:16].astype(np.float64)
    want = arrays[16:].reshape(4, -1) * (gamma / (np.sqrt(variance) + 1e-6))[:, None]
    np.testing.assert_allclose(folded.floats()[4:], want.ravel(), rtol=3e-7)


TEXT = (
    "# a net\r\n[net]\r\nwidth=12 ; of the picture\r\nheight = 10\r\nchannels=3\r\n\r\n"
    "[convolutional]\r\n  batch_normalize = 1   # of the training\r\nfilters=4\r\nsize=3\r\npad=1\r\n"
    "batch_normalize=0\r\nactivation=leaky\r\n;batch_normalize=1\r\n\r\n[dropout]\r\n\r\n"
    "[route]\r\nlayers=-2\r\n"
)


def test_everything_else_in_the_text_stays(tmp_path):
    folded = Folded(tmp_path, TEXT, floats(BN_COUNT), dialect="alexeyab")
    gone = ("  batch_normalize = 1   # of the training\r\n", "\nbatch_normalize=0\r\n")
    assert folded.cfg == TEXT.replace(gone[0], "").replace(gone[1], "\n")
    folded.check()


def test_numbers_of_layers_do_not_move(tmp_path):
    cfg = (
        NET
        + BN
        + BN.replace("filters=4", "filters=3")
        + "[route]\nlayers=-2,1\n[shortcut]\nfrom=2\nactivation=linear\n"
    )
    folded = Folded(tmp_path, cfg, floats(BN_COUNT + 4 * 3 + 3 * 4 * 9))
    assert folded.cfg == cfg.replace("batch_normalize=1\n", "")
    folded.check()


@pytest.mark.parametrize(
    ("head", "size"),
    [(header(0, 1, 0, wide=False), 16), (header(0, 2, 5, seen=123), 20), (header(0, 2, 0, seen=2**40), 20)],
)
def test_the_header_stays(tmp_path, head, size):
    folded = Folded(tmp_path, NET + BN, floats(BN_COUNT), head)
    assert folded.bytes[:size] == head
    folded.check()


def test_connected_layers_have_their_batch_norm_behind_the_matrix(tmp_path):
    cfg = NET + "[connected]\noutput=5\nbatch_normalize=1\nactivation=linear\n" + "[connected]\noutput=2\n"
    arrays = floats(5 + 5 * 360 + 15 + 2 + 10)
    folded = Folded(tmp_path, cfg, arrays)
    assert folded.cfg == cfg.replace("batch_normalize=1\n", "")
    np.testing.assert_array_equal(folded.floats()[-12:], arrays[-12:])
    folded.check()


def test_a_matrix_by_columns(tmp_path):
    cfg = NET + "[connected]\noutput=5\nbatch_normalize=1\nactivation=linear\n"
    folded = Folded(
        tmp_path, cfg, floats(5 + 5 * 360 + 15), header(0, 1001, 0, wide=False), dialect="pjreddie"
    )
    assert len(folded.bytes) == 16 + 4 * (5 + 5 * 360)
    folded.check()


def test_flipped_weights_stay_flipped(tmp_path):
    cfg = NET + BN.replace("size=3", "size=3\nflipped=1")
    folded = Folded(tmp_path, cfg, floats(BN_COUNT))
    assert folded.cfg == cfg.replace("batch_normalize=1\n", "")
    folded.check()


def test_shared_kernels(tmp_path):
    """The second layer has no arrays of its own; both fold alike."""
    cfg = NET + "[convolutional]\nfilters=3\nsize=3\npad=1\nbatch_normalize=1\nactivation=linear\n"
    cfg += "[convolutional]\nshare_index=0\nfilters=3\nsize=3\npad=1\nbatch_normalize=1\nactivation=leaky\n"
    folded = Folded(tmp_path, cfg, floats(12 + 81))
    assert folded.cfg == cfg.replace("batch_normalize=1\n", "")
    folded.check()


def test_shared_kernels_of_layers_that_differ_stay(tmp_path):
    cfg = NET + "[convolutional]\nfilters=3\nsize=3\npad=1\nbatch_normalize=1\nactivation=linear\n"
    cfg += "[convolutional]\nshare_index=0\nfilters=3\nsize=3\npad=1\nactivation=leaky\n"
    folded = Folded(tmp_path, cfg, floats(12 + 81))
    assert folded.cfg == cfg
    assert folded.bytes == folded.before
    assert [kept.code for kept in folded.result.plan.kept] == ["kept.format"]


def test_a_section_that_is_a_batch_norm_stays(tmp_path):
    cfg = NET + BN.replace("leaky", "linear") + "[batchnorm]\n"
    folded = Folded(tmp_path, cfg, floats(BN_COUNT + 16), dialect="alexeyab")
    assert folded.cfg == cfg.replace("batch_normalize=1\n", "")
    assert [kept.code for kept in folded.result.plan.kept] == ["kept.format"]
    folded.check()


def test_every_step_of_a_recurrent_section(tmp_path):
    cfg = NET.replace("[net]", "[net]\nbatch=3\ntime_steps=3") + (
        "[crnn]\nbatch_normalize=1\noutput_filters=2\nhidden_filters=2\nactivation=leaky\n"
    )
    count = (8 + 2 * 3 * 9) + 2 * (8 + 2 * 2 * 9)
    folded = Folded(tmp_path, cfg, floats(count), dialect="pjreddie")
    assert folded.cfg == cfg.replace("batch_normalize=1\n", "")
    assert len(folded.bytes) == 20 + 4 * (count - 3 * 6)
    folded.check()


def test_a_tree_goes_with_the_cfg(tmp_path):
    (tmp_path / "t.tree").write_text("a -1\nb -1\n")
    (tmp_path / "out").mkdir()
    cfg = NET + NEXT.replace("leaky", "linear") + "[avgpool]\n[softmax]\ntree=t.tree\n"
    network, weights = on_disk(tmp_path, cfg, floats(8 + 54))
    bnfold.fold_file(network, weights, out=tmp_path / "out" / "merged.cfg")
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == [
        "merged.cfg",
        "merged.weights",
        "t.tree",
    ]


def test_what_is_not_folded_is_copied(tmp_path):
    cfg = NET + BN.replace("batch_normalize=1\n", "")
    folded = Folded(tmp_path, cfg, floats(4 + 108))
    assert (folded.cfg, folded.bytes, folded.result.unchanged) == (cfg, folded.before, True)


def test_values_under_the_same_names(tmp_path):
    folded = Folded(tmp_path, NET + BN + NEXT, floats(BN_COUNT + NEXT_COUNT))
    x = np.random.default_rng(5).standard_normal((2, 3, 10, 12))
    (tmp_path / "again").mkdir()
    names = ("000_convolutional", "001_convolutional")
    before = run(load(tmp_path / "again", NET + BN + NEXT, folded.arrays, dialect="pjreddie"), x, *names)
    after = run(load(tmp_path / "again", folded.cfg, folded.floats(), dialect="pjreddie"), x, *names)
    for a, b in zip(before, after, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)
