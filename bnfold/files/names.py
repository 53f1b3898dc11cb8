"""Names of files: which are possible on this system, which mean the same file, and which every reader of a
model understands.

    refused(name)      why a file cannot have this name here, or ""
    extended(path)     a path that Windows takes whatever its length
    identity(path)     equal for two paths to one file, whether it is there yet or not
    portable(stem)     a stem that a model can name its data file by, on every system
    inside(text)       does a name that a model gives stay in the folder that it is relative to?
    stored(text)       a name that stands in a model, as this system's calls want it
    native(path)       a path as libraries want it that know UTF-8 alone

What differs between systems takes the system as an argument, so that the rules of all are tested on each.
"""

from __future__ import annotations

import os
import re
import sys
import unicodedata
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import TypeVar

P = TypeVar("P", bound=PurePath)
_DEVICES = re.compile(
    r"(CON|PRN|AUX|NUL|CONIN\$|CONOUT\$|(COM|LPT)[0-9\u00b9\u00b2\u00b3])( *\..*| *)", re.I | re.S
)
_WINDOWS_FORBIDS = re.compile(r'[<>:"/\\|?*\x00-\x1f]')
_LONGEST_WINDOWS = 247  # of a folder; files may have 259, but a stage is a folder
_LONGEST_STEM = 200  # bytes: with a hash and a suffix it stays below the 255 of common file systems
_STAGE = 100  # what a stage's name adds


def refused(name: str, system: str = sys.platform) -> str:
    """Why no file can have this name on a system, "" where it can. On Windows devices hide behind names
    (`NUL.onnx` is the device), a colon opens a second stream of the file before it, and dots and spaces at
    the end are dropped."""
    if name in ("", ".", ".."):
        return "the name is empty" if not name else f"'{name}' is a folder"
    if system != "win32":
        return ""
    if _DEVICES.fullmatch(name):
        return f"'{name}' is a device of Windows"
    if found := _WINDOWS_FORBIDS.search(name):
        return f"'{name}' has {found[0]!r} in it"
    return (
        f"'{name}' ends in a {'dot' if name.endswith('.') else 'space'}" if name.endswith((".", " ")) else ""
    )


def extended(path: P, system: str = sys.platform) -> P:
    """An absolute path that is too long for Windows' old calls, in the form that has no such limit; any other
    as it is."""
    text = str(path)
    if system != "win32" or len(text) + _STAGE <= _LONGEST_WINDOWS or text.startswith("\\\\?\\"):
        return path
    return type(path)("\\\\?\\UNC" + text[1:] if text.startswith("\\\\") else "\\\\?\\" + text)


def identity(path: Path, system: str = sys.platform) -> tuple[object, ...]:
    """Equal for two paths to one file: hard links and links included where the file is there; where it is
    not, by its folder and its name as the system compares names (macOS and Windows: whatever the case, macOS:
    however accents are written)."""
    try:
        real = Path(os.path.realpath(path))
    except FileNotFoundError:  # a relative path, and the folder that it is relative to is gone
        return "gone", str(path)
    try:
        found = real.stat()
        return found.st_dev, found.st_ino
    except (OSError, ValueError):
        return (*(identity(real.parent, system) if real.parent != real else ()), same_name(real.name, system))


def same_name(name: str, system: str = sys.platform) -> str:
    """A name in the form in which a system compares it."""
    if system == "darwin":
        name = unicodedata.normalize("NFC", name)
    return name.casefold() if system in ("darwin", "win32") else name


def portable(stem: str) -> str:
    """The stem as text, whatever this system's encoding of names, with `_` for what is none, what readers
    take for a separator, and what some system forbids."""
    text = os.fsencode(stem).decode("utf-8", "surrogateescape")
    clean = "".join("_" if _WINDOWS_FORBIDS.match(c) or not c.isprintable() else c for c in text)
    return clean.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(" ") or "model"


def inside(text: str) -> bool:
    """Does a name that a model gives stay in the folder that it is relative to, on every system? Links are
    not followed here."""
    path = PurePosixPath(text.replace("\\", "/"))
    return (
        bool(text)
        and "\0" not in text
        and not path.is_absolute()
        and not PureWindowsPath(text).drive
        and ".." not in path.parts
    )


def stored(text: str) -> str:
    """The name of a file that a model names. Models are in UTF-8; names of files are bytes, whatever this
    system's encoding."""
    return text if sys.platform == "win32" else os.fsdecode(text.encode("utf-8", "surrogateescape"))


def native(path: Path) -> str:
    """A path for a library that takes UTF-8. Raises UnicodeDecodeError for one that is no such text."""
    return str(path) if sys.platform == "win32" else os.fsencode(path).decode()
