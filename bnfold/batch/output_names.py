"""The names of the outputs of many models: each is unique, and the same in every run over the same models.

    zoo/vision/net.cfg, found under zoo  ->  vision/net

The folders of the sources are mirrored below the output folder. Models that would share a name get the
folders in which they differ, and after that the format: `digits.onnx` and `digits.cfg` become `digits` and
`digits.cfg`. Two models that still share a name are an error.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import PurePosixPath
from urllib.parse import unquote

from ..errors import UsageError
from ..files.discovery import Found, bare, is_url, suffix
from .locations import absolute, redacted


def names(models: Sequence[Found], given: Sequence[str] = ()) -> list[str]:
    """A name for each model; `given` names stand as they are ("" for none). Raises UsageError where two share
    one."""
    fixed = given or [""] * len(models)
    found = [name or _below(one) for one, name in zip(models, fixed, strict=True)]
    for rename in (_by_folder, _by_format):
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
    path = _path(one.network)
    inner = (
        path.relative_to(_path(one.root))
        if one.root and path.is_relative_to(_path(one.root))
        else PurePosixPath(path.name)
    )
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


def _clashes(found: Sequence[str], key: Callable[[str], str] = os.path.normcase) -> list[list[int]]:
    """Which share a name."""
    groups: dict[str, list[int]] = defaultdict(list)
    for at, name in enumerate(found):
        groups[key(name)].append(at)
    return [members for members in groups.values() if len(members) > 1]


def _path(place: str) -> PurePosixPath:
    """The place as an absolute path with forward slashes; of a URL with its host as the first folder."""
    if is_url(place):
        host, _, path = bare(place).partition("://")[2].partition("/")
        return PurePosixPath("/") / host.rpartition("@")[2] / unquote(path).lstrip("/")
    return PurePosixPath(absolute(place).replace(os.sep, "/"))
