"""Files, folders and patterns -> models: each network with the weights that belong to it.

    gathered(["zoo", "yolo.cfg", "yolo.weights", "nets/*.onnx"])   -> [Found(network, weights, root), ...]

A folder stands for every model in it. Weights belong to a network if they have its name, or if they follow
it. A `Storage` knows where files lie: DISK is this machine's file system, and others are behind URLs.
Locations are strings, so that a path and a URL are treated alike.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Protocol

from ..errors import Unreadable, UsageError
from ..records import dataclass

WEIGHTS = {".prototxt": ".caffemodel", ".pbtxt": ".caffemodel", ".cfg": ".weights"}
MODELS = (".onnx", *WEIGHTS)
UNFINISHED = ".bnfold-"  # what folders are called in which outputs are being made: no model is in them yet
_MAGIC = "*?["


@dataclass(frozen=True)
class Found:
    """A model. `root` is the folder that it was found in or under, "" for one that was named itself."""

    network: str
    weights: str | None = None
    root: str = ""


class Storage(Protocol):
    """Where files lie."""

    def exists(self, place: str) -> bool:
        """Is anything there?"""

    def is_file(self, place: str) -> bool:
        """Is a file there?"""

    def is_folder(self, place: str) -> bool:
        """Is a folder there?"""

    def walk(self, folder: str) -> list[str]:
        """Every file under a folder."""

    def matches(self, pattern: str) -> list[str]:
        """Every place that a pattern with *, ? or [ matches."""


class _Disk:
    """This machine's files."""

    def exists(self, place: str) -> bool:
        return Path(place).exists()

    def is_file(self, place: str) -> bool:
        return Path(place).is_file()

    def is_folder(self, place: str) -> bool:
        return Path(place).is_dir()

    def walk(self, folder: str) -> list[str]:
        found: list[str] = []
        for inner, folders, names in os.walk(folder):  # which skips a folder that vanishes meanwhile
            folders[:] = [name for name in folders if not name.startswith(UNFINISHED)]
            found += [os.path.join(inner, name) for name in names]  # noqa: PTH118
        return sorted(found, key=lambda place: Path(place).parts)

    def matches(self, pattern: str) -> list[str]:
        return sorted(glob.glob(pattern, recursive=True))  # noqa: PTH207 - an absolute pattern is allowed


DISK: Storage = _Disk()


def is_url(place: str) -> bool:
    """`s3://bucket/net.onnx` is one, `C:\\nets\\net.onnx` is none."""
    return "://" in place


def suffix(place: str) -> str:
    """What a place ends in, in lower case: `.onnx`. The query of a URL is no part of its name."""
    return PurePosixPath(bare(place)).suffix.lower() if is_url(place) else Path(place).suffix.lower()


def with_suffix(place: str, new: str) -> str:
    """The file beside it, with another suffix. What stands behind a URL's path is left out."""
    if not is_url(place):
        return os.fspath(Path(place).with_suffix(new))
    return bare(place).removesuffix(PurePosixPath(bare(place)).suffix) + new


def bare(url: str) -> str:
    """A web address without its query; in a store's address every sign is part of a name."""
    return url.partition("?")[0].partition("#")[0] if url.startswith(("http://", "https://")) else url


def gathered(given: Sequence[str], storage_of: Callable[[str], Storage] = lambda _: DISK) -> list[Found]:
    """Every model that the arguments name, each once, in order. Raises UsageError for a pattern without a
    match, and for weights without a network; Unreadable for a folder without a model."""
    found: list[Found] = []
    for place in given:
        for network, root in _hits(place, storage_of(place)):
            if suffix(network) not in WEIGHTS.values():
                found.append(Found(network, beside(network, storage_of(network)), root))
            elif found and WEIGHTS.get(suffix(found[-1].network)) == suffix(network):
                found[-1] = Found(found[-1].network, network, found[-1].root)
            else:
                raise UsageError(
                    f"the weights {network} do not follow a network",
                    expected="NETWORK WEIGHTS, in this order",
                )
    once: dict[tuple[str, str | None], Found] = {}
    for one in found:
        once.setdefault((one.network, one.weights), one)
    return list(once.values())


def beside(network: str, storage: Storage = DISK) -> str | None:
    """The weights that are named after a network."""
    kind = WEIGHTS.get(suffix(network))
    weights = with_suffix(network, kind) if kind else ""
    return weights if weights and storage.is_file(weights) else None


def _hits(given: str, storage: Storage) -> Iterator[tuple[str, str]]:
    """(file, the folder that it was found under)."""
    named = is_url(given) and suffix(given) in (
        *MODELS,
        *WEIGHTS.values(),
    )  # asking whether a URL is a folder may take seconds
    if not named and storage.is_folder(given):
        yield from ((place, given) for place in _models(given, storage))
        return
    if not _is_pattern(given) or (not is_url(given) and storage.exists(given)):
        yield given, ""
        return
    hits = storage.matches(given)
    if not hits:
        raise UsageError(f"nothing matches {given}")
    root = _fixed_part(given)
    yield from ((hit, root) for hit in hits)


def _models(folder: str, storage: Storage) -> list[str]:
    models = [
        place
        for place in storage.walk(folder)
        if suffix(place) == ".onnx" or (suffix(place) in WEIGHTS and beside(place, storage))
    ]
    if not models:
        raise Unreadable(
            "the folder holds no model",
            where=folder,
            expected=".onnx files, or networks with weights of the same name",
        )
    return models


def _is_pattern(place: str) -> bool:
    """The question mark of a web address begins its query."""
    signs = _MAGIC.replace("?", "") if place.startswith(("http://", "https://")) else _MAGIC
    return any(sign in place for sign in signs)


def _fixed_part(pattern: str) -> str:
    """The folders of a pattern before the first that is one itself."""
    head = pattern[: min(at for sign in _MAGIC if (at := pattern.find(sign)) >= 0)]
    cut = max(head.rfind("/"), head.rfind(os.sep))
    return head[:cut] if cut > 0 else head[: cut + 1] or os.curdir
