"""The names of the outputs of many models: each is unique, and the same in every run over the same models.

    zoo/vision/net.cfg, found under zoo  ->  vision/net

The folders of the sources are mirrored below the output folder. Models that would share a name get the
folders in which they differ, and after that the format: `digits.onnx` and `digits.cfg` become `digits` and
`digits.cfg`. Two models that still share a name are an error, unless their addresses tell them apart.

Rule: what an address names is chosen by a stranger. Its parts are made safe here, once (`names.safe_part`);
      `..` and its escaped forms lead nowhere.
"""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from ..errors import UsageError
from ..files import names as file_names
from ..files.discovery import Found, bare, is_url, suffix
from .locations import absolute, redacted


def names(models: Sequence[Found], given: Sequence[str] = ()) -> list[str]:
    """A name for each model; `given` names stand as they are ("" for none). Raises UsageError where two share
    one."""
    fixed = given or [""] * len(models)
    found = [name or _below(one) for one, name in zip(models, fixed, strict=True)]
    for rename in (_by_folder, _by_format, _by_address):
        for members in _clashes(found):
            free = [at for at in members if not fixed[at]]
            for at, name in zip(
                free, rename([models[at] for at in free], [found[at] for at in free]), strict=True
            ):
                found[at] = name
    for first, second, *_ in _clashes(found):
        one, other = (redacted(models[at].network) for at in (first, second))
        raise UsageError(
            f"{one} and {other} would both become {found[first]}.onnx",
            expected="a different name for each",
            way_out="a manifest can give names",
        )
    return found


def _below(one: Found) -> str:
    """Its path below the folder that it was found under; its own name where it was named itself."""
    path, root = _path(one.network), _path(one.root) if one.root else None
    inner = path.relative_to(root) if root and root in path.parents else PurePosixPath(path.name)
    return str(inner.with_suffix(""))


def _by_folder(models: Sequence[Found], found: Sequence[str]) -> list[str]:
    """The path below the folder that all of them have in common."""
    paths = [_path(one.network) for one in models]
    if len({path.parent for path in paths}) < 2:
        return list(found)
    common = PurePosixPath(os.path.commonpath([path.parent for path in paths]))
    return [str(path.relative_to(common).with_suffix("")) for path in paths]


def _by_format(models: Sequence[Found], found: Sequence[str]) -> list[str]:
    return [
        name if suffix(one.network) == ".onnx" else name + suffix(one.network)
        for one, name in zip(models, found, strict=True)
    ]


def _by_address(models: Sequence[Found], found: Sequence[str]) -> list[str]:
    """What was made safe may have become the same; the addresses are not."""
    return [
        f"{name}~{hashlib.sha256(one.network.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"
        if is_url(one.network)
        else name
        for one, name in zip(models, found, strict=True)
    ]


def _clashes(found: Sequence[str]) -> list[list[int]]:
    """Which share a name."""
    groups: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(found):
        groups[file_names.same_name(name)].append(at)
    return [members for members in groups.values() if len(members) > 1]


def _path(place: str) -> PurePosixPath:
    """The place as an absolute path with forward slashes; of a URL, whose parts are made safe, with its host
    as the first folder."""
    if is_url(place):
        host, _, path = bare(place).partition("://")[2].partition("/")
        named = (part for part in unquote(path).replace("\\", "/").split("/") if part not in ("", ".", ".."))
        return PurePosixPath("/", *map(file_names.safe_part, (host.rpartition("@")[2], *named)))
    return PurePosixPath(absolute(place).replace(os.sep, "/"))
