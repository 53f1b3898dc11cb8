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

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path, PurePath
from typing import Any

from ..errors import Malformed
from ..files.text_files import read_text
from ..records import dataclass
from ..results.baking import Preprocessing
from ..results.options import OPTIONS, FoldOptions, ReadOptions, VerifyOptions
from ..results.value_kinds import Codes, Kind, Names, Size, Switch, Wrong, cannot_be, did_you_mean
from .places import POLICIES

_LARGEST = (
    1 << 17
)  # bytes of a policy file: more is no policy, and TOML takes time that grows with the square of a key
_BAKED = ("bake_input", "input_type", "input_layout")
FOLD = "fold"  # a table of the same file, which `bnfold fold` reads


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
    bake_input, input_type, input_layout
                         the preprocessing that `against` gets before the model, which has it in it, is held
                         against it
    """

    kept: tuple[str, ...] = ("*",)
    max_size: int | None = None
    against: Path | None = None
    against_weights: Path | None = None
    providers: tuple[str, ...] = ()
    noise_limit: float | None = None
    require_certificate: bool = False
    bake_input: tuple[tuple[str, Preprocessing], ...] = ()
    input_type: tuple[tuple[str, str], ...] = ()
    input_layout: tuple[tuple[str, str], ...] = ()
    read: ReadOptions = ReadOptions()
    fold: FoldOptions = FoldOptions()
    verify: VerifyOptions = VerifyOptions()

    @property
    def reading_against(self) -> ReadOptions:
        """How to read `against`: what the command line bakes into it stands before what the file does."""
        baked = {name: getattr(self.read, name) or getattr(self, name) for name in _BAKED}
        return replace(self.read, **baked)

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
    for name in POLICIES:
        path = folder / name
        if path.is_file() and (
            name != "pyproject.toml"
            or _table(path, read_text(path, _LARGEST, "a policy in TOML")) is not None
        ):
            return path
    return None


def text_and_table(path: Path) -> tuple[str, dict[str, Any]]:
    """The text of a policy file, and the table in it that is ours. Raises Unreadable, Malformed."""
    text = read_text(path, _LARGEST, "a policy in TOML")
    return text, _table(path, text) or {}


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
    table.pop(FOLD, None)
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
            raise Malformed(
                f"unknown key '{key}'",
                where=where,
                expected="one of " + ", ".join(KEYS),
                way_out=did_you_mean(key, KEYS),
            )
        try:
            found |= KEYS[key](value, path.parent)
        except Wrong as wrong:
            raise Malformed(
                cannot_be(f"'{key}'", value), where=where, expected=wrong.expected, way_out=wrong.way_out
            ) from wrong
    return found


# The keys: each makes fields of a Policy of its value. Raises Wrong.


def _plain(name: str, kind: Kind) -> Callable[[Any, Path], dict[str, Any]]:
    """A key that is one field of a Policy."""
    return lambda value, folder: {name: kind.check(value)}


def _listed(name: str, kind: Kind) -> Callable[[Any, Path], dict[str, Any]]:
    """A key whose value is a list in TOML, although one alone would do elsewhere."""

    def fields(value: Any, folder: Path) -> dict[str, Any]:
        if not isinstance(value, list):
            raise Wrong(f"a list of {kind.expected}")
        return {name: kind.check(value)}

    return fields


def _size(value: Any, folder: Path) -> dict[str, Any]:
    return {"max_size": MAX_SIZE.parse(value) if isinstance(value, str) else MAX_SIZE.check(value)}


def _against(value: Any, folder: Path) -> dict[str, Any]:
    files = [value] if isinstance(value, str) else value
    if not isinstance(files, list) or not 1 <= len(files) <= 2:
        raise Wrong(_FILES.expected)
    network, *weights = _FILES.check(files)
    return {"against": folder / network, "against_weights": folder / weights[0] if weights else None}


def _baked(name: str) -> Callable[[Any, Path], dict[str, Any]]:
    """A key whose value is what stands on the command line, several of it in a list, or a table by input; a
    mean image lies beside the policy."""
    kind = OPTIONS[name].kind

    def fields(value: Any, folder: Path) -> dict[str, Any]:
        texts = [value] if isinstance(value, str) else value
        if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
            value = tuple(pair for text in texts for pair in kind.parse(text))
        made = kind.check(value)
        if name != "bake_input":
            return {name: made}
        read = ReadOptions(bake_input=made).with_mean_files(lambda file: str(folder / file))
        return {name: read.bake_input}

    return fields


_FILES = Names("a model, or a list of a network and its weights")
MAX_SIZE = Size(0)
KEYS: dict[str, Callable[[Any, Path], dict[str, Any]]] = {
    "allow-kept": _listed("kept", Codes()),
    "max-size": _size,
    "against": _against,
    "providers": _listed("providers", OPTIONS["providers"].kind),
    "noise-limit": _plain("noise_limit", OPTIONS["noise_limit"].kind),
    "require-certificate": _plain("require_certificate", Switch()),
    **{OPTIONS[name].flag.removeprefix("--"): _baked(name) for name in _BAKED},
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
