"""What `bnfold check` demands of a model: a policy, and the TOML file that it comes from.

    [tool.bnfold]                       in pyproject.toml; in bnfold.toml the same keys stand at the top
    allow-kept = ["kept.training-mode"]
    max-size = "100 MB"
    [[tool.bnfold.models]]              for the models that `path` matches; later tables win over earlier ones
    path = "models/yolo*.onnx"
    against = ["yolo.cfg", "yolo.weights"]

Rule 1: a key is a row of KEYS: its name and the function that makes fields of a Policy of its value. What is
        no row is an error.
Rule 2: paths and patterns in a file are relative to its folder.
Rule 3: what was given on the command line stands before the file.
"""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from ..errors import Malformed
from ..files.memory import size_of
from ..files.text_files import read_text
from ..results.options import FoldOptions, ReadOptions, VerifyOptions

_LARGEST = (
    1 << 17
)  # bytes of a policy file: more is no policy, and TOML takes time that grows with the square of a key
PLACES = ("bnfold.toml", "pyproject.toml")


@dataclass(frozen=True)
class Policy:
    """What a model must be.

    kept                 fnmatch patterns of codes for which a batch norm may be kept (`kept.training-mode`);
                         by default any will do
    against              a model (and its weights) that this one must be numerically equal to
    max_size             bytes of the model's files together
    providers            execution providers that it must have been verified on, by its certificate or against
                         `against`
    noise_limit          the largest noise ratio that either may show, where there is one
    require_certificate  a certificate must lie beside the model
    """

    kept: tuple[str, ...] = ("*",)
    max_size: int | None = None
    against: Path | None = None
    against_weights: Path | None = None
    providers: tuple[str, ...] = ()
    noise_limit: float | None = None
    require_certificate: bool = False
    read: ReadOptions = ReadOptions()  # noqa: RUF009 - frozen
    fold: FoldOptions = FoldOptions()  # noqa: RUF009
    verify: VerifyOptions = VerifyOptions()  # noqa: RUF009

    @property
    def comparing(self) -> VerifyOptions:
        """How to hold the model against another."""
        options = replace(self.verify, providers=self.providers or self.verify.providers)
        return options if self.noise_limit is None else replace(options, noise_limit=self.noise_limit)


@dataclass(frozen=True)
class Policies:
    """The policy of every model: what a file says of all, what it says of some, and what the command line
    says."""

    folder: Path = Path()
    common: Mapping[str, Any] | None = None
    some: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    called: Mapping[str, Any] | None = None

    def of(self, model: Path) -> Policy:
        """The policy of one model."""
        fields = dict(self.common or {})
        for pattern, values in self.some:
            if _matches(model, pattern, self.folder):
                fields |= values
        return Policy(**{**fields, **(self.called or {})})


def find(folder: Path) -> Path | None:
    """The policy file of a folder: bnfold.toml, or a pyproject.toml with a table [tool.bnfold]."""
    for name in PLACES:
        path = folder / name
        if path.is_file() and (
            name != "pyproject.toml"
            or _table(path, read_text(path, _LARGEST, "a policy in TOML")) is not None
        ):
            return path
    return None


def read(path: Path, called: Mapping[str, Any]) -> Policies:
    """The policies of a file, `called` before them. Raises Unreadable, and Malformed with the line of what is
    wrong."""
    text = read_text(path, _LARGEST, "a policy in TOML")
    table = _table(path, text)
    if table is None:
        raise Malformed(
            "has no table [tool.bnfold]",
            where=path,
            expected="one, or a file named bnfold.toml with its keys at the top",
        )
    models = table.pop("models", [])
    if not isinstance(models, list) or not all(isinstance(m, dict) for m in models):
        raise Malformed(
            "'models' is no list of tables",
            where=_place(path, text, "models"),
            expected="[[tool.bnfold.models]] with a path",
        )
    common = _fields(path, text, table)
    return Policies(path.parent, common, tuple(_override(path, text, m) for m in models), called)


def _override(path: Path, text: str, table: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    pattern = table.pop("path", None)
    if not isinstance(pattern, str) or not pattern:
        raise Malformed(
            f"a table of 'models' has the path {pattern!r}",
            where=_place(path, text, "path"),
            expected='a file or a pattern, as in path = "models/*.onnx"',
        )
    return pattern, _fields(path, text, table)


def _fields(path: Path, text: str, table: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in table.items():
        where = _place(path, text, key)
        if key not in KEYS:
            near = get_close_matches(key, KEYS, 1)
            raise Malformed(
                f"unknown key '{key}'",
                where=where,
                expected="one of " + ", ".join(KEYS),
                way_out=f"'{near[0]}' is meant?" if near else "",
            )
        expected, fields = KEYS[key]
        made = fields(value, path.parent)
        if made is None:
            raise Malformed(f"'{key}' is {value!r}"[:200], where=where, expected=expected)
        found |= made
    return found


# The keys: each makes fields of a Policy, or None of what it cannot be.


def _kept(value: Any, folder: Path) -> dict[str, Any] | None:
    fits = _strings(value) and all(re.fullmatch(r"kept\.[a-z*?.-]+|[*]", v) for v in value)
    return {"kept": tuple(value)} if fits else None


def _size(value: Any, folder: Path) -> dict[str, Any] | None:
    size = size_of(str(value)) if isinstance(value, (int, str)) and not isinstance(value, bool) else None
    return {"max_size": size} if size is not None else None


def _against(value: Any, folder: Path) -> dict[str, Any] | None:
    files = [value] if isinstance(value, str) else value
    if not _strings(files) or not 1 <= len(files) <= 2:
        return None
    return {"against": folder / files[0], "against_weights": folder / files[1] if len(files) == 2 else None}


def _providers(value: Any, folder: Path) -> dict[str, Any] | None:
    return {"providers": tuple(value)} if _strings(value) else None


def _limit(value: Any, folder: Path) -> dict[str, Any] | None:
    fits = (
        isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value > 0
    )
    return {"noise_limit": float(value)} if fits else None


def _required(value: Any, folder: Path) -> dict[str, Any] | None:
    return {"require_certificate": value} if isinstance(value, bool) else None


def _strings(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(v, str) and v and "\0" not in v for v in value)


KEYS: dict[str, tuple[str, Callable[[Any, Path], dict[str, Any] | None]]] = {
    "allow-kept": ('a list of codes, as in ["kept.training-mode"]', _kept),
    "max-size": ('bytes, as a number or as in "100 MB"', _size),
    "against": ("a model, or a list of a network and its weights", _against),
    "providers": ('a list of execution providers, as in ["cpu", "cuda"]', _providers),
    "noise-limit": ("a positive number", _limit),
    "require-certificate": ("true or false", _required),
}


# The file.


def _table(path: Path, text: str) -> dict[str, Any] | None:
    """The table with our keys; None where a file that is not ours alone has none."""
    try:
        document: Any = tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"is not TOML ({error})", where=path, expected="a policy in TOML") from error
    if "tool" not in document and path.name != "pyproject.toml":
        return dict(document)
    tool = document.get("tool", {})
    found = tool.get("bnfold") if isinstance(tool, dict) else None
    return dict(found) if isinstance(found, dict) else None


def _place(path: Path, text: str, key: str) -> str:
    """The first line that sets a key, where it is found."""
    match = re.search(rf"^[ \t]*(\[+[\w. \t\"]*)?[\"']?{re.escape(key)}[\"']?[ \t]*[=\].]", text, re.M)
    return f"{path}:{text.count(chr(10), 0, match.start()) + 1}" if match else str(path)


def _matches(model: Path, pattern: str, folder: Path) -> bool:
    """A pattern without a folder matches names, any other the path from the policy's folder."""
    if len(PurePath(pattern).parts) == 1:
        return fnmatchcase(model.name, pattern)
    absolute, home = Path(os.path.abspath(model)), Path(os.path.abspath(folder))  # noqa: PTH100 - a link counts where it lies
    return fnmatchcase(
        (absolute.relative_to(home) if absolute.is_relative_to(home) else model).as_posix(), pattern
    )
