"""Decides whether an existing result is up to date, so that it need not be made again.

The record beside an output (`net.result.json`) holds a Fingerprint: bnfold's version, a hash of every option,
and the identity of every input and output. A result is finished if it passed and all of these are still the
same; each of them is checked, none is assumed.

Inputs are identified by their role, not by their path, so that a folder of models may be moved.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from ..errors import OK, BnfoldError
from ..results.batch_run import Fingerprint
from ..results.from_json import Unfit, decoded
from ..version import __version__
from .companions import companions
from .locations import beside, folder_of, joined, store_of
from .task import Task, same_choices

SUFFIX = ".result.json"
_LARGEST = 1 << 28  # bytes of a record
_BESIDE = "beside:"
_NONE: Mapping[str, str] = MappingProxyType({})


def record_of(task: Task) -> str:
    """Where the record of a model is."""
    return joined(task.out, task.name + SUFFIX)


def recorded(task: Task) -> bytes | None:
    """The content of the record of a model; None if there is no record."""
    return store_of(record_of(task)).read(record_of(task), _LARGEST)


def taken(task: Task, network: Path, fetched: Mapping[str, str] = _NONE) -> Fingerprint:
    """The fingerprint of what is about to be read; `network` is the network on this machine, `fetched` the
    identity of each file that was copied to it, for the store may have another one by now. Raises
    Unreadable."""

    def identity(place: str) -> str:
        return fetched.get(place) or store_of(place).identity(place)

    named = [(role, identity(place)) for role, place in _named(task).items()]
    others = [(f"{_BESIDE}{name}", beside(task.network, name)) for name in companions(network)]
    there = [
        (role, identity(place))
        for role, place in others
        if place in fetched or store_of(place).is_file(place)
    ]
    return Fingerprint(__version__, _choices(task), (*named, *there))


def finished(task: Task) -> dict[str, Any] | None:
    """The record of a model that need not be made again."""
    data = recorded(task)
    if data is None:
        return None
    try:
        record = json.loads(data)
        old: Fingerprint = decoded(Fingerprint, record["fingerprint"])
    except (ValueError, LookupError, TypeError, RecursionError, Unfit):
        return None  # not a record of ours, or of another version: then it proves nothing
    if (
        record.get("exit_code") != OK
        or (old.version, old.options) != (__version__, _choices(task))
        or not old.outputs
    ):
        return None
    named = _named(task)
    if {role for role, _ in old.inputs if not role.startswith(_BESIDE)} != set(named):
        return None
    places = [
        (named.get(role) or beside(task.network, role.removeprefix(_BESIDE)), identity)
        for role, identity in old.inputs
    ]
    places += [(joined(folder_of(record_of(task)), name), identity) for name, identity in old.outputs]
    return record if all(_is(place, identity) for place, identity in places) else None


def _is(place: str, identity: str) -> bool:
    try:
        return store_of(place).identity(place) == identity
    except BnfoldError:
        return False  # gone, or out of reach: whoever makes the model again will say so


def _named(task: Task) -> dict[str, str]:
    """Every file that the task names, by its role."""
    policy = task.policy
    named = {"network": task.network, "weights": task.weights}
    if policy is not None:
        named |= {"against": _text(policy.against), "against-weights": _text(policy.against_weights)}
    for name, file in task.verify.input_files if task.verify is not None else ():
        named |= {f"inputs:{name}:{inner}": inner for inner in _files(file)}
    for name, file in task.estimate.files:
        named |= {f"data:{name}:{inner}": inner for inner in _files(file)}
    named |= {f"mean:{name}": file for name, file in task.read.mean_files}
    return {role: place for role, place in named.items() if place is not None}


def _text(path: Path | None) -> str | None:
    return None if path is None else os.fspath(path)


def _files(place: str) -> Iterator[str]:
    """A file, or every file of a folder of images."""
    path = Path(place)
    yield from (
        os.fspath(one) for one in (sorted(path.rglob("*")) if path.is_dir() else [path]) if not one.is_dir()
    )


def _choices(task: Task) -> str:
    return hashlib.sha256(json.dumps(same_choices(task), sort_keys=True, default=str).encode()).hexdigest()
