"""Names of files: which names this system allows, which paths lead to the same file, and which names every
reader of a model understands.

    refused(name)      why a file cannot have this name here, or ""
    extended(path)     the path in a form that Windows accepts at any length
    identity(path)     a key that is equal for two paths to one file, whether the file exists yet or not
    portable(stem)     a stem that a model can use to name its data file, on every system
    safe_part(text)    the name of a file or folder, made of a name that comes from outside
    inside(text)       does a name from a model stay in the folder that it is relative to?
    stored(text)       a name from a model, in the form that this system's calls take
    native(path)       a path for libraries that accept only UTF-8

Functions that differ between systems take the system as an argument, so that the rules of every system are
tested on each one.
"""

from __future__ import annotations

import hashlib
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
_LONGEST_PART = 120  # characters of a name from outside; endings such as .result.json come besides
_TAIL = 20  # characters at the end of a long name that stay, for the suffix is among them


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
    """A key that is equal for two paths to one file. For a file that exists it follows links and hard links;
    for one that does not, it is made of the folder and the name as the system compares names (macOS and
    Windows ignore case, and macOS ignores how accents are encoded)."""
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
    """The stem as text, whatever this system's encoding of names. `_` replaces bytes that are not text,
    separators, and characters that some system forbids."""
    text = os.fsencode(stem).decode("utf-8", "surrogateescape")
    clean = "".join("_" if _WINDOWS_FORBIDS.match(c) or not c.isprintable() else c for c in text)
    return clean.encode()[:_LONGEST_STEM].decode(errors="ignore").strip(" ") or "model"


def safe_part(text: str) -> str:
    """One name of a file or folder, made of a name that somebody else has chosen. It is no path, leads
    nowhere, is not hidden, no option and no device; two long names that differ stay different."""
    part = portable(text).rstrip(". ")
    if part.startswith((".", "-")) or not part or _DEVICES.fullmatch(part):
        part = f"_{part.lstrip('.-')}"
    if len(part.encode()) <= _LONGEST_PART:
        return part
    middle = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:8]
    head = part.encode()[: _LONGEST_PART - 4 * _TAIL - len(middle) - 2].decode(errors="ignore")
    return f"{head}~{middle}~{part[-_TAIL:]}"


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
    """A path for a library that accepts only UTF-8. Raises UnicodeDecodeError for a path in another
    encoding."""
    return str(path) if sys.platform == "win32" else os.fsencode(path).decode()
