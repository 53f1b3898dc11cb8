"""Which format is it: from the content first, from the extension only where content cannot tell.

Rule 1: a row in READERS is a format; a row in FOREIGN is a file that people give by mistake, with the way
        out.
Rule 2: a name never decides against the content.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import Unreadable, UsageError, reason
from ..files.discovery import MODELS
from ..records import dataclass
from ..results.options import ReadOptions
from ..results.plan import Loaded
from ..results.value_kinds import did_you_mean

HEAD = 1 << 16  # bytes looked at: long licence comments stand before the first word of some text files
# First byte of an ONNX file: the key of a ModelProto field (ir_version, producer, version, domain, doc,
# graph, opset, metadata).
_ONNX_KEYS = frozenset((0x08, 0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42, 0x72))
_CONTROLS = frozenset(range(32)) - frozenset(b"\t\n\r\f")


@dataclass(frozen=True)
class _Format:
    """`module` has `read`, and for text formats `sniff(head) -> bool`."""

    name: str
    module: str
    suffixes: tuple[str, ...]
    weights: str = ""


READERS = (
    _Format("onnx", "onnx", (".onnx", ".ort", ".pb")),
    _Format("caffe", "caffe", (".prototxt", ".pbtxt"), ".caffemodel"),
    _Format("darknet", "darknet", (".cfg",), ".weights"),
)

HDF5 = b"\x89HDF\r\n\x1a\n"
FOREIGN = (
    (
        0,
        b"version https://git-lfs",
        "is a Git LFS pointer and not the file it points to",
        "run 'git lfs pull'",
    ),
    (0, b"PK\x03\x04", "is a zip archive (a PyTorch checkpoint is one)", "export the model to ONNX first"),
    (
        0,
        b"\x80\x02",
        "is a Python pickle (an old PyTorch checkpoint is one)",
        "export the model to ONNX first",
    ),
    (
        0,
        HDF5,
        "is an HDF5 file",
        "give the network first and the weights second, or export the model to ONNX",
    ),
    (0, b"\x1f\x8b", "is compressed with gzip", "unpack it first"),
    (4, b"TFL3", "is a TensorFlow Lite model", "convert it to ONNX first"),
    (4, b"ORTM", "is a model in onnxruntime's own format", "give the .onnx file that it was made from"),
    (0, b"<", "is HTML or XML (a web page saved in place of the file?)", "download the file itself"),
)

WEIGHTS_FIRST = {
    ".caffemodel": "bnfold fold net.prototxt net.caffemodel",
    ".weights": "bnfold fold net.cfg net.weights",
}


def read(
    source: Any, weights: str | os.PathLike[str] | None, options: ReadOptions, *, pair: bool = False
) -> Loaded:
    """A complete, unfolded model, whatever its format. `source` is a path or anything that the ONNX reader
    takes. With `pair` it is read for a result in its own format, of text and weights (`Loaded.pair`). Raises
    UsageError (exit 2), Unreadable, Malformed, Mismatch (exit 3), Unsupported (exit 4)."""
    if not isinstance(source, (str, os.PathLike)):
        if weights is not None:
            raise UsageError("a weights file can only be given with the path of a Caffe or darknet network")
        return _room("onnx").read(source, options)  # type: ignore[no-any-return]
    path = Path(source)
    name = kind_of(path)
    if name == "onnx":
        if weights is not None:
            raise UsageError(
                f"{path} is an ONNX model, which carries its weights",
                where=os.fspath(weights),
                way_out="leave the second file out",
            )
        return _room("onnx").read(path, options)  # type: ignore[no-any-return]
    if weights is not None:
        _check_weights(name, Path(weights))
    room = _room(name)
    reader = room.read_pair if pair else room.read
    return reader(path, Path(weights) if weights is not None else None, options)  # type: ignore[no-any-return]


def kind_of(path: Path) -> str:
    """ "onnx", "caffe" or "darknet". Raises Unreadable for what is none of them."""
    head = _head(path)
    _check_foreign(head, path, "an ONNX model, a prototxt or a cfg")
    found = _by_content(head) or _by_suffix(path)
    if found:
        return found
    if path.suffix.lower() in WEIGHTS_FIRST:
        raise Unreadable(
            "looks like a weights file",
            where=path,
            expected="the network first, its weights second",
            way_out=f"as in '{WEIGHTS_FIRST[path.suffix.lower()]}'",
        )
    raise Unreadable("is neither an ONNX model, nor a Caffe prototxt, nor a darknet cfg", where=path)


def _check_foreign(head: bytes, path: Path, expected: str) -> None:
    """Raises Unreadable for a file that people give by mistake."""
    for offset, magic, what, way_out in FOREIGN:
        if head[offset:].lstrip(b"\xef\xbb\xbf \t\r\n" if magic == b"<" else b"").startswith(magic):
            raise Unreadable(what, where=path, expected=expected, way_out=way_out)


def _check_weights(name: str, path: Path) -> None:
    """Raises Unreadable for what is certainly no weights file of this format, before its reader wonders."""
    head = _head(path)
    format_ = next(f for f in READERS if f.name == name)
    if not (name == "caffe" and head.startswith(HDF5)):  # Caffe writes weights in this form, too
        _check_foreign(head, path, f"a {format_.weights}")
    other = next((f for f in READERS if f.weights and f.weights != format_.weights), None)
    assert other is not None
    # darknet's header begins with a version below 256, no message of protobuf with a zero
    darknets = head[:1] == b"\0" or (path.suffix.lower() == ".weights" and head[1:4] == b"\0\0\0")
    if darknets if name == "caffe" else path.suffix.lower() == other.weights and head[:1] != b"\0":
        raise Unreadable(
            f"is a weights file of {other.name}, and the network is one of {name}",
            where=path,
            expected=f"the {format_.weights} of the network",
            way_out=f"to read it with its own network, type '{WEIGHTS_FIRST[other.weights]}'",
        )


def _by_content(head: bytes) -> str:
    """A format that the first bytes prove, or ""."""
    if not _is_text(head):
        return "onnx" if head[:1] and head[0] in _ONNX_KEYS else ""
    sniffing: list[tuple[str, Callable[[bytes], bool]]] = [
        (f.name, _room(f.module).sniff) for f in READERS if f.weights
    ]
    found = [name for name, sniff in sniffing if sniff(head)]
    return found[0] if len(found) == 1 else ""


def _by_suffix(path: Path) -> str:
    return next((f.name for f in READERS if path.suffix.lower() in f.suffixes), "")


def _is_text(head: bytes) -> bool:
    """No control characters but white space."""
    return bool(head) and _CONTROLS.isdisjoint(head)


def _head(path: Path) -> bytes:
    try:
        mode = path.stat().st_mode
        if stat.S_ISDIR(mode):
            raise Unreadable(
                "is a folder",
                where=path,
                expected="a model file",
                way_out=f"'bnfold batch {path} --out FOLDER' folds every model in it",
            )
        if not stat.S_ISREG(mode):
            raise Unreadable("is not a regular file", where=path, expected="a model file")
        with path.open("rb") as file:
            head = file.read(HEAD)
    except (OSError, ValueError) as error:  # ValueError: a null byte in the path
        way_out = _near(path) if isinstance(error, FileNotFoundError) else ""
        raise Unreadable(f"cannot be read ({reason(error)})", where=path, way_out=way_out) from error
    if not head:
        raise Unreadable("the file is empty", where=path)
    return head


def _near(path: Path) -> str:
    """The model in the same folder that a slip is closest to, as a question; of a URL or a pattern, who takes
    it."""
    if re.match(r"[a-z][a-z0-9+.-]+:/", str(path)):
        return "a URL is no file: download it first, or give it to 'bnfold batch', which takes URLs"
    if set("*?[") & set(path.name):
        return f"'bnfold batch' takes patterns: bnfold batch {shlex.quote(str(path))} --out FOLDER"
    try:
        here = (one for one in path.parent.iterdir() if one.suffix.lower() in MODELS)
        names = sorted(one.name for one in here if one.exists())  # a link may lead nowhere
    except OSError:
        return ""
    return did_you_mean(path.name, names)


def _room(name: str) -> Any:
    """A reader's package, imported when a file of its format is there."""
    return import_module(f".{name}", __package__)
