"""Files that nobody meant to write: whatever the bytes, one of bnfold's own errors, in bounded time and
memory."""

from __future__ import annotations

import struct
import tempfile
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bnfold.errors import BnfoldError
from bnfold.reading.darknet import read
from bnfold.reading.darknet import sections as _  # noqa: F401  (fills SECTIONS)
from bnfold.reading.darknet.schema import SECTIONS
from bnfold.results.options import ReadOptions

from .nets import CONV, NET, floats, header, load

QUIET = settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
NUMBERS = st.sampled_from(
    [
        "0",
        "1",
        "2",
        "3",
        "4",
        "7",
        "-1",
        "-2",
        "12",
        "80",
        "999999",
        "2147483647",
        "-2147483648",
        "1e9",
        ".5",
        "x",
        "",
        "1,2",
        "-1,-2",
        "0,0",
        "1,,2",
        "nan",
        "leaky",
        "mish",
        "relu6",
        "per_feature",
        "softmax",
        "9" * 20,
    ]
)
OPTIONS = sorted(
    {option for row in SECTIONS.values() for option in row.parameters}
    | {"dontload", "dontloadscales", "numload", "jitter"}
)
LINES = st.one_of(
    st.tuples(st.sampled_from(OPTIONS), NUMBERS).map("=".join),
    st.sampled_from([f"[{name}]" for name in SECTIONS]),
)


def outcome(network: bytes, weights: bytes | None, **options: object) -> None:
    """Reads without another error than bnfold's own, each with a sentence."""
    with tempfile.TemporaryDirectory() as folder:
        cfg, file = Path(folder) / "net.cfg", Path(folder) / "net.weights"
        cfg.write_bytes(network)
        if weights is not None:
            file.write_bytes(weights)
        try:
            read(
                cfg,
                None if weights is None else file,
                ReadOptions(random_weights=1 if weights is None else None, **options),
            )
        except BnfoldError as error:
            assert str(error)
            assert error.exit_code in (2, 3, 4)


@QUIET
@given(
    st.lists(LINES, max_size=40),
    st.sampled_from(["auto", "alexeyab", "hank-ai", "pjreddie-cpu"]),
    st.sampled_from(["layer", "raw", "boxes"]),
)
def test_any_cfg(lines, dialect, heads):
    outcome(
        ("[net]\nwidth=8\nheight=6\nchannels=4\n" + "\n".join(lines)).encode(),
        None,
        dialect=dialect,
        heads=heads,
    )


@QUIET
@given(
    st.sampled_from(sorted(SECTIONS)),
    st.dictionaries(st.sampled_from(OPTIONS), NUMBERS, max_size=8),
    st.sampled_from(["alexeyab", "hank-ai", "pjreddie"]),
)
def test_any_section(name, options, dialect):
    body = "".join(f"{key}={value}\n" for key, value in options.items())
    outcome(
        f"[net]\nwidth=8\nheight=6\nchannels=4\ntime_steps=2\n{CONV}[{name}]\n{body}{CONV}".encode(),
        None,
        dialect=dialect,
    )


@QUIET
@given(st.binary(max_size=400))
def test_any_bytes_as_a_cfg(data):
    outcome(data, None)
    outcome(data, None, dialect="hank-ai", silu="swish")
    outcome(b"[net]\nwidth=4\nheight=4\nchannels=1\n" + data, None)


@QUIET
@given(st.binary(max_size=400), st.booleans())
def test_any_bytes_as_weights(data, partial):
    cfg = (NET + CONV + "[batchnorm]\n[connected]\noutput=3\n").encode()
    outcome(cfg, data, allow_partial=partial)
    outcome(cfg, data, cut_at=("0",))
    outcome(cfg, header() + data, allow_partial=partial)


@pytest.mark.slow
@pytest.mark.parametrize(
    "cfg",
    [
        "[net]\nwidth=46340\nheight=46340\nchannels=1\n[avgpool]\n[softmax]\ngroups=1\n",
        NET + "[upsample]\nstride=1000\n[yolo]\nclasses=1\nnum=0\n",
        "[net]\nwidth=8000\nheight=8000\nchannels=6\n[yolo]\nclasses=1\nmask=0\n",
        NET + "[local]\nfilters=2000000\nsize=3\npad=1\n",
        NET + "[convolutional]\nfilters=9000000\n[normalization]\n",
        NET + "[convolutional]\nfilters=9000000\nsize=1\nantialiasing=1\n",
        NET + "[history]\nhistory_size=4000000\n",
        NET + "[implicit]\nfilters=2000000\natoms=1000\n",
        NET + "time_steps=1000\n[lstm]\noutput=100000\n",
        NET + "[convolutional]\nfilters=100000\nsize=9\npad=1\nbatch_normalize=1\ndontloadscales=1\n",
        NET + 3000 * "[maxpool]\nstride=1\n",
        "[net]\nwidth=4\nheight=4\nchannels=1\n" + 500 * "[route]\nlayers=-1\n",
    ],
)
@pytest.mark.parametrize("heads", ["layer", "boxes"])
def test_sizes_from_a_cfg_cost_nothing(cfg, heads, tmp_path):
    import tracemalloc

    start = time.process_time()
    tracemalloc.start()
    try:
        load(tmp_path, cfg, heads=heads)
    except BnfoldError as error:
        assert str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 100 << 20
    assert time.process_time() - start < 20


def test_doubling_routes_are_bounded_by_32_bits(tmp_path):
    with pytest.raises(BnfoldError) as error:
        load(tmp_path, NET + CONV + 40 * "[route]\nlayers=-1,-1\n")
    assert "2,147,483,647" in str(error.value)


def test_every_cut_of_a_weights_file_is_refused(tmp_path):
    whole = header() + floats(4 + 108).tobytes()
    (tmp_path / "net.cfg").write_text(NET + CONV)
    for size in range(1, len(whole), 7):
        (tmp_path / "net.weights").write_bytes(whole[:size])
        with pytest.raises(BnfoldError):
            read(tmp_path / "net.cfg", tmp_path / "net.weights", ReadOptions())


def test_a_header_of_the_highest_numbers(tmp_path):
    (tmp_path / "net.cfg").write_text(NET + CONV)
    (tmp_path / "net.weights").write_bytes(
        struct.pack("<iiiQ", 2**31 - 1, -1, 0, 2**64 - 1) + floats(112).tobytes()
    )
    with pytest.raises(BnfoldError) as error:
        read(tmp_path / "net.cfg", tmp_path / "net.weights", ReadOptions())
    assert "2147483647.-1.0" in str(error.value)
