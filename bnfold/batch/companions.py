"""Files that a model needs beside it, found without reading a weight: the external data of an ONNX file, the
class trees of a darknet cfg, the mean image of a Caffe network.

Names come from untrusted files, so only files inside the model's own folder count. The reader refuses all
others with an error.
"""

from __future__ import annotations

import mmap
import re
from collections.abc import Iterator
from pathlib import Path

from ..errors import Malformed
from ..files import names, protobuf
from ..files.onnx_fields import EXTERNAL_DATA, KEY, MAX_DEPTH, PATH_TO_TENSORS, VALUE

_MEAN = re.compile(
    rb"""\bmean_file\s*:\s*["'](?:[^"'\r\n]*[/\\])?([^"'\r\n/\\]+)["']"""
)  # beside, by its name
_TEXTS = {
    ".cfg": re.compile(rb"^[ \t]*tree[ \t]*=[ \t]*([^\r\n#;]+)", re.M),
    ".prototxt": _MEAN,
    ".pbtxt": _MEAN,
}
_LARGEST_TEXT = 1 << 24
_TENSOR = "tensor"


def companions(network: Path) -> list[str]:
    """Their names, relative to the folder of the network, each once; the files may not exist."""
    pattern = _TEXTS.get(network.suffix.lower())
    if pattern is not None:
        with network.open("rb") as file:
            found = [
                match.strip().decode("utf-8", "replace")
                for match in pattern.findall(file.read(_LARGEST_TEXT))
            ]
    elif network.suffix.lower() in (".onnx", ".pb", ".ort", ""):
        found = _external(network)
    else:
        found = []
    return [name for name in dict.fromkeys(found) if names.inside(name)]


def _external(network: Path) -> list[str]:
    if not network.stat().st_size:
        return []
    with (
        network.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
    ):
        try:
            return [
                bytes(view[start:end]).decode("utf-8", "replace")
                for start, end in _locations(view, 0, len(view), "model", 0)
            ]
        except Malformed:
            return []  # the reader says what is wrong with it


def _locations(view: memoryview, start: int, end: int, message: str, depth: int) -> Iterator[tuple[int, int]]:
    """Where the locations of external data stand: TensorProto{external_data{key: "location", value}}."""
    if depth > MAX_DEPTH:
        return
    for one in protobuf.fields(view, start, end):
        if one.type != protobuf.BYTES:
            continue
        if message == _TENSOR:
            if one.number == EXTERNAL_DATA:
                entry = {
                    part.number: (part.start, part.end) for part in protobuf.fields(view, one.start, one.end)
                }
                if KEY in entry and VALUE in entry and bytes(view[slice(*entry[KEY])]) == b"location":
                    yield entry[VALUE]
        elif one.number in PATH_TO_TENSORS[message]:
            yield from _locations(view, one.start, one.end, PATH_TO_TENSORS[message][one.number], depth + 1)
