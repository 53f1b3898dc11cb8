"""OpenCV's own darknet importer as an independent reader of the same files; its epsilon is 1e-6, so variances
are large."""

from __future__ import annotations

import numpy as np
import pytest

from .nets import load, on_disk, run

cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
if not hasattr(cv2.dnn, "readNetFromDarknet"):  # OpenCV 5 removed it
    pytest.skip("this OpenCV reads no darknet files", allow_module_level=True)

NET = "[net]\nwidth=32\nheight=32\nchannels=3\n"
C = "[convolutional]\nbatch_normalize=1\nfilters={f}\nsize={k}\nstride={s}\npad=1\nactivation={a}\n"
HEAD = "[convolutional]\nfilters=6\nsize=1\nactivation=linear\n"


def conv(f: int = 8, k: int = 3, s: int = 1, a: str = "leaky") -> str:
    return C.format(f=f, k=k, s=s, a=a)


def norm(channels: int, rng: np.random.Generator) -> list[np.ndarray]:
    """biases, scales, mean, variance around 1."""
    return [
        rng.normal(0, 0.2, channels),
        rng.uniform(0.5, 1.5, channels),
        rng.normal(0, 0.2, channels),
        rng.uniform(0.8, 1.6, channels),
    ]


CASES = {
    "conv": (conv() + conv(4, 1) + HEAD, [(8, 3, 3), (4, 8, 1)], 4),
    "activations": (
        conv(a="relu") + conv(a="mish") + conv(a="swish") + conv(a="logistic") + HEAD,
        [(8, 3, 3)] + 3 * [(8, 8, 3)],
        8,
    ),
    "shortcut": (
        conv() + conv() + conv() + "[shortcut]\nfrom=-3\nactivation=linear\n" + HEAD,
        [(8, 3, 3), (8, 8, 3), (8, 8, 3)],
        8,
    ),
    "route": (conv() + conv(6) + "[route]\nlayers=-1,0\n" + HEAD, [(8, 3, 3), (6, 8, 3)], 14),
    "route groups": (conv() + "[route]\nlayers=-1\ngroups=2\ngroup_id=1\n" + HEAD, [(8, 3, 3)], 4),
    "maxpool": (
        conv()
        + "[maxpool]\nsize=2\nstride=2\n[maxpool]\nsize=2\nstride=1\n[maxpool]\nsize=5\nstride=1\n"
        + HEAD,
        [(8, 3, 3)],
        8,
    ),
    "upsample": (conv(s=2) + "[upsample]\nstride=2\n" + HEAD, [(8, 3, 3)], 8),
    "reorg": (conv() + "[reorg]\nstride=2\n" + HEAD, [(8, 3, 3)], 32),
}


@pytest.mark.parametrize("name", CASES)
def test_the_same_numbers(name, tmp_path):
    sections, kernels, last = CASES[name]
    rng = np.random.default_rng(len(name))
    arrays = [
        a
        for f, c, k in kernels
        for a in (*norm(f, rng), rng.normal(0, 1 / np.sqrt(c * k * k), f * c * k * k))
    ]
    arrays += [rng.normal(0, 0.2, 6), rng.normal(0, 1 / np.sqrt(last), 6 * last)]
    values = np.concatenate(arrays).astype(np.float32)
    x = rng.random((1, 3, 32, 32)).astype(np.float32)
    loaded = load(tmp_path, NET + sections, values)
    network, weights = on_disk(tmp_path, NET + sections, values)
    theirs = cv2.dnn.readNetFromDarknet(str(network), str(weights))
    theirs.setPreferableBackend(cv2.dnn.DNN_BACKEND_OPENCV)
    theirs.setInput(x)
    want, got = theirs.forward(), run(loaded, x)[0]
    assert got.shape == want.shape
    assert np.abs(got - want).max() < 1e-4 * (1 + np.abs(want).max())
