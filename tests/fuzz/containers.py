"""Arrays and pictures by grammar: .npz, .npy, tensors and images as inputs, and weights in HDF5, with one thing
wrong. Half of them are made anew by the libraries that write such files, the others are changed byte by byte.
"""

from __future__ import annotations

import io
import random
import struct
import zipfile
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from onnx import numpy_helper

from . import seeds
from .contract import Case

SHAPE = (1, 3, 4, 4)
KINDS = ((b"PK", "x.npz"), (b"\x93NUMPY", "x.npy"), (b"\x89PNG", "x.png"), (b"\xff\xd8", "x.jpg"))
MOST_BYTES = 1 << 14


def flipped(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, cut off, doubled."""
    made = bytearray(data)
    for _ in range(chance.choice((1, 1, 2, 8))):
        if not made:
            break
        at = chance.randrange(len(made))
        match chance.randrange(4):
            case 0:
                made[at] ^= 1 << chance.randrange(8)
            case 1:
                made[at : at + 4] = struct.pack("<I", chance.choice((0, 1, 0xFFFFFFFF, 0x7FFFFFFF, 1 << 20)))
            case 2:
                del made[at : at + chance.choice((1, 8, len(made)))]
            case _:
                made[at:at] = made[at : at + chance.choice((1, 16))]
    return bytes(made)


# What inputs are read from.


def _npy(array: Any, *, pickled: bool = False) -> bytes:
    out = io.BytesIO()
    np.save(out, array, allow_pickle=pickled)
    return out.getvalue()


def _npz(chance: random.Random, **arrays: Any) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(
        out, "w", chance.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    ) as file:
        for name, array in arrays.items():
            file.writestr(f"{name}.npy", array if isinstance(array, bytes) else _npy(array))
    return out.getvalue()


def _picture(chance: random.Random) -> bytes:
    from PIL import Image

    mode = chance.choice(("RGB", "L", "RGBA", "1", "P", "CMYK", "I", "F"))
    size = (chance.randint(1, 9), chance.randint(1, 9))
    form = {"CMYK": "JPEG", "F": "TIFF", "I": "TIFF"}.get(mode, "PNG")
    out = io.BytesIO()
    Image.new(mode, size).save(out, form)
    return out.getvalue()


def _claims(chance: random.Random) -> bytes:
    """A header whose shape is not that of what follows."""
    shape = chance.choice(
        ("(9999999999, 3)", "(-1, 3, 4, 4)", "(1, 3, 4, 4, 0)", "()", "(1,)" * 9, "(True,)")
    )
    kind = chance.choice(("<f4", "|O", ">f8", "|V0", "<U9", "<c8", "[('a', '<f4')]", "<M8[s]"))
    head = f"{{'descr': {kind if kind[0] == '[' else repr(kind)}, 'fortran_order': {chance.random() < 0.5}, 'shape': {shape}, }}"
    head = head.ljust(117) + "\n"
    return (
        b"\x93NUMPY\x01\0" + struct.pack("<H", len(head)) + head.encode() + bytes(chance.choice((0, 48, 192)))
    )


def given(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A new file of inputs, or the old one with bytes changed."""
    array = np.zeros(SHAPE, chance.choice((np.float32, np.float64, np.int8, np.bool_, np.complex64, "U3")))
    odd = array.reshape(
        chance.choice(((3, 4, 4), (1, 3, 16), (1, 4, 4, 3), (48,), (2, 3, 4, 2), (1, 3, 4, 4)))
    )
    made: Callable[[], bytes] = chance.choice(
        (
            lambda: _npy(odd),
            lambda: _npy(np.asfortranarray(array)),
            lambda: _npy(np.array([None, 1]), pickled=True),
            lambda: _claims(chance),
            lambda: _npz(chance, x=odd),
            lambda: _npz(chance, x=array, y=odd),
            lambda: _npz(chance, x=_claims(chance)),
            lambda: _npz(chance, **{chance.choice(("../x", "", "x/y", "\u202e")): array}),
            lambda: _npz(chance),
            lambda: _picture(chance),
            lambda: bytes(numpy_helper.from_array(np.ones(odd.shape, np.float32), "x").SerializeToString()),
        )
    )
    fresh = made()
    return flipped(data if chance.random() < 0.5 else fresh, chance) if chance.random() < 0.6 else fresh


def inputs() -> list[bytes]:
    """Right ones of every kind."""
    chance, array = random.Random(0), np.ones(SHAPE, np.float32)
    tensor = bytes(numpy_helper.from_array(array, "x").SerializeToString())
    return [_npy(array), _npz(chance, x=array), _picture(chance), _picture(chance), tensor]


def read_inputs(case: Case) -> None:
    """The samples of a model with one input."""
    from bnfold.ir.graph import ir
    from bnfold.results.options import VerifyOptions
    from bnfold.verifying.inputs.samples import Input
    from bnfold.verifying.inputs.user_files import read_feeds

    name = next((name for magic, name in KINDS if case.data.startswith(magic)), "x.pb")
    path = case.file(name)
    feeds = read_feeds([Input("x", ir.DataType.FLOAT, SHAPE)], VerifyOptions(inputs=(("x", str(path)),)))
    assert all(feed["x"].shape == SHAPE and feed["x"].dtype == np.float32 for feed in feeds)


# Weights in HDF5.


def h5(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """The weights of FIXED_PROTOTXT with one thing wrong, or the old file with bytes changed."""
    if chance.random() < 0.4 and data.startswith(b"\x89HDF"):
        return flipped(data, chance)
    import h5py

    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        for name, arrays in seeds.BLOBS.items():
            for index, array in enumerate(arrays):
                file.create_dataset(f"data/{name}/{index}", data=array)
        chance.choice(H5_FAULTS)(file["data"], f"{chance.choice(list(seeds.BLOBS))}/0", chance)
    return out.getvalue()


def _other_values(data: Any, name: str, chance: random.Random) -> None:
    old = data[name][...]
    del data[name]
    data.create_dataset(
        name,
        data=chance.choice(
            (
                old.astype(chance.choice((np.float16, np.float64, np.int32, np.complex64, "S4", ">f4"))),
                old.reshape(-1),
                old[:1],
                np.full(old.shape, np.nan, np.float32),
                np.float32(1),
                np.zeros(old.shape, [("a", "<f4"), ("b", "<i2")]),
            )
        ),
    )


def _link(data: Any, name: str, chance: random.Random) -> None:
    import h5py

    del data[name]
    data[name] = chance.choice(
        (
            h5py.SoftLink("/data/c/1"),
            h5py.ExternalLink("other.h5", "/data/c/0"),
            h5py.SoftLink(f"/data/{name}"),
        )
    )


def _huge(data: Any, name: str, chance: random.Random) -> None:
    """Room that is claimed, and no bytes in it."""
    del data[name]
    shape = chance.choice(((1 << 40,), (1 << 20, 1 << 20), (1 << 26,)))
    data.create_dataset(
        name,
        shape,
        chance.choice(("<f4", "<f8")),
        chunks=tuple(min(edge, 64) for edge in shape),
        compression="gzip",
    )


def _group(data: Any, name: str, chance: random.Random) -> None:
    del data[name]
    inner = data.create_group(name)
    for _ in range(chance.choice((0, 3, 60))):
        inner = inner.create_group("g")
    if chance.random() < 0.5:
        inner["up"] = data


def _missing(data: Any, name: str, chance: random.Random) -> None:
    del data[chance.choice((name, name.partition("/")[0]))]


def _more(data: Any, name: str, chance: random.Random) -> None:
    data.create_dataset(chance.choice(("c/2", "new/0", "c/-1", "c/x", "n/9")), data=np.ones(4, np.float32))


def _virtual(data: Any, name: str, chance: random.Random) -> None:
    import h5py

    layout = h5py.VirtualLayout(shape=(4,), dtype="<f4")
    layout[:] = h5py.VirtualSource("/etc/hostname", "x", shape=(4,))
    del data[name]
    data.create_virtual_dataset(name, layout)


H5_FAULTS: tuple[Callable[[Any, str, random.Random], None], ...] = (
    _other_values,
    _other_values,
    _link,
    _huge,
    _group,
    _missing,
    _more,
    _virtual,
)


def h5_files() -> list[bytes]:
    """The right one, where h5py is installed."""
    return [data for data in seeds.caffemodels() if data.startswith(b"\x89HDF")]
