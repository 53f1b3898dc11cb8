"""What is read beside models: inputs that unpack to gigabytes, documents that nest without end, and anything
that is no plain file."""

from __future__ import annotations

import io
import os
import struct
import sys
import zipfile
import zlib

import numpy as np
import pytest

from bnfold.cli import report
from bnfold.errors import BnfoldError
from bnfold.gate import baseline, certificate, policy
from bnfold.ir.graph import ir
from bnfold.results.options import VerifyOptions
from bnfold.verifying.inputs.samples import Input
from bnfold.verifying.inputs.user_files import read_feeds

from .judged import judge

IMAGE = Input("x", ir.DataType.FLOAT, (1, 3, 8, 8))
UNIX = pytest.mark.skipif(sys.platform == "win32", reason="pipes as Unix has them")


@pytest.fixture(autouse=True)
def back(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def refused(folder, name, data, use):
    """`use(path)` must raise an error that names the file, within the bounds of the contract."""
    seen = []

    def attempt(case):
        path = case.file(name)
        try:
            use(path)
        except BnfoldError as error:
            seen.append(error)
            raise

    judge(attempt, data, folder)
    assert seen, "nothing was refused"
    return str(seen[0])


def as_inputs(path):
    return read_feeds([IMAGE], VerifyOptions(inputs=(("x", str(path)),)))


def npy(shape, body=b"", dtype="<f4"):
    head = io.BytesIO()
    np.lib.format.write_array_header_1_0(head, {"descr": dtype, "fortran_order": False, "shape": shape})
    return head.getvalue() + body


def npz(**members):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return out.getvalue()


ARCHIVES = {
    "zeros": npz(**{"x.npy": npy((400_000, 3, 8, 8), bytes(300 << 20))}),
    "many of zeros": npz(**{f"{i}.npy": npy((1 << 24,), bytes(1 << 26)) for i in range(5)}),
    "a claim": npz(**{"x.npy": npy((1 << 40, 3, 8, 8))}),
    "a claim of more than there is": npz(**{"x.npy": npy((1 << 10, 3, 8, 8))}),
    "no array": npz(x=bytes(300 << 20)),
    "a long header": npz(**{"x.npy": b"\x93NUMPY\x02\x00" + struct.pack("<I", 1 << 30) + b" " * 100}),
    "a header that is code": npz(
        **{"x.npy": b"\x93NUMPY\x01\x00" + struct.pack("<H", 32) + b"__import__('os').system('true')\n"}
    ),
    "objects": npz(**{"x.npy": npy((1,), b"cos\nsystem\n(S'touch owned'\ntR.", "|O")}),
    "negative": npz(**{"x.npy": npy((-1, 3, 8, 8))}),
    "cut": npz(**{"x.npy": npy((1, 3, 8, 8), bytes(768))})[:-40],
    "nothing": b"",
}


@pytest.mark.parametrize("name", ARCHIVES)
def test_archives(tmp_path, name):
    refused(tmp_path, "x.npz", ARCHIVES[name], as_inputs)


def test_an_archive_that_is_well(tmp_path):
    path = tmp_path / "x.npz"
    path.write_bytes(npz(**{"x.npy": npy((2, 3, 8, 8), bytes(4 * 2 * 192))}))
    assert len(as_inputs(path)) == 2


@pytest.mark.parametrize(
    "data",
    [
        npy((1 << 40, 3, 8, 8)),
        npy((1,), b"cos\nsystem\n(S'x'\ntR.", "|O"),
        npy((4, 3, 8, 8), bytes(9)),
        b"\x93NUMPY",
    ],
    ids=["a claim", "objects", "cut", "no header"],
)
def test_arrays(tmp_path, data):
    refused(tmp_path, "x.npy", data, as_inputs)


def png(width, height):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(bytes(1000)))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000), (1 << 30, 1)])
def test_pictures_of_billions_of_pixels(tmp_path, size):
    pytest.importorskip("PIL", reason="images are read by Pillow")
    refused(tmp_path, "x.png", png(*size), as_inputs)


@pytest.mark.parametrize("suffix", [".pb", ".bin", ".npy", ".npz"])
@UNIX
def test_inputs_from_a_pipe(tmp_path, suffix):
    def attempt(case):
        path = case.folder / f"x{suffix}"
        os.mkfifo(path)
        case.given.append(path)
        as_inputs(path)

    judge(attempt, b"", tmp_path)


DOCUMENTS = {
    "deep lists": b"[" * 500_000,
    "deep objects": b'{"a":' * 200_000,
    "a long number": b"9" * 500_000,
    "a number beyond floats": b'{"format": 1e999999}',
    "many keys": b"{" + b",".join(b'"k%d": 0' % i for i in range(100_000)) + b"}",
    "a list": b"[]",
    "text": b'"' + b"a" * 1_000_000 + b'"',
    "no text": b"\xff\xfe\x00",
}
READERS = {
    "certificate": certificate.read,
    "baseline": lambda path: baseline.read(path, "bnfold.result/1"),
    "result": lambda path: report.command.callback(result=path, out=None),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("name", DOCUMENTS)
def test_documents(tmp_path, reader, name):
    refused(tmp_path, "document.json", DOCUMENTS[name], READERS[reader])


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 100_000,
        "a = " + "{a=" * 40_000,
        "[" + "a." * 60_000 + "a]",
        "a = " + "9" * 100_000,
        "a = '" + "b" * 900_000,
        "x" * 2_000_000,
        "[[a]]\n" * 20_000,
    ],
    ids=lambda text: text[:6],
)
def test_policies(tmp_path, text):
    refused(tmp_path, "bnfold.toml", text.encode(), lambda path: policy.read(path, {}))
