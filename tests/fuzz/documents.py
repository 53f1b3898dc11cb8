"""Documents by grammar: manifests, policies and certificates that are right, with one thing wrong.

A document is a tree of dicts, lists and plain values. One place of it is changed, and it is written again, as
TOML, CSV or JSON; a certificate gets the digest that its new content has, or what is wrong with it would never
be looked at.
"""

from __future__ import annotations

import csv
import io
import json
import random
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from bnfold.errors import BnfoldError, UsageError
from bnfold.results.from_json import Unfit

from ..models import CONV_BN_RELU, model
from .contract import Case

ODD: tuple[Any, ...] = (
    *(0, 1, -1, 2**31, 2**64, 1.5, -0.0, 1e308, True, False, "", " ", "x", "1", "true", "-1", "1,2,3", "nan"),
    *(
        "a:1,2",
        "x=y",
        "../up.onnx",
        "/etc/hostname",
        "net.onnx",
        "*",
        "[",
        "\u202e",
        "é" * 40,
        "1 TB",
        "kept.*",
    ),
    *([], [1], ["x", "y"], [[]], {}, {"x": 1}, "s3://a/b.onnx", "http://[", "x" * 2000),
)


def spoiled(document: Any, chance: random.Random, words: Sequence[str]) -> Any:
    """The document with one place changed."""
    places = list(_places(document))
    if not places:
        return chance.choice(ODD)
    holder, key = chance.choice(places)
    match chance.randrange(5):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[chance.choice((*words, "", "x y", "model"))] = holder.pop(key)
        case 2 if isinstance(holder, dict):
            holder[chance.choice(words)] = chance.choice(ODD)
        case 3:
            holder[key] = [holder[key]] * chance.choice((1, 2, 3))
        case _:
            holder[key] = chance.choice(ODD)
    return document


def _places(value: Any) -> list[tuple[Any, Any]]:
    keys: list[Any] = []
    if isinstance(value, dict):
        keys = list(value)
    elif isinstance(value, list):
        keys = list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in _places(value[key])]


def toml(value: Any) -> str:
    """A value of TOML in one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return json.dumps(value) if isinstance(value, str) else repr(value)


def _tables(document: Any, named: str) -> bytes:
    """Keys, tables and lists of tables, each on lines of its own; `named` is the list of tables."""
    if not isinstance(document, dict):
        return toml(document).encode()
    lines = [
        f"{json.dumps(key)} = {toml(one)}" for key, one in document.items() if not _is_table(key, one, named)
    ]
    for key, one in document.items():
        if _is_table(key, one, named):
            for table in one if isinstance(one, list) else [one]:
                lines.append(f"[[{key}]]" if isinstance(one, list) else f"[{key}]")
                lines += [f"{json.dumps(name)} = {toml(inner)}" for name, inner in table.items()]
    return "\n".join(lines).encode() + b"\n"


def _is_table(key: str, value: Any, named: str) -> bool:
    tables = value if isinstance(value, list) else [value]
    return key in (named, "defaults") and bool(tables) and all(isinstance(one, dict) for one in tables)


# Manifests.

RIGHT: dict[str, Any] = {
    **{"samples": 2, "seed": 7, "input-shape": ["x:1,3,6,6"], "noise-limit": 3.5, "keep": ["Conv*", "n"]},
    **{"ep": ["cpu"], "inputs": ["x:net.npy"], "mean": "1,2,3", "std": 2, "rtol": ["1e-4", "y:0.1"]},
    **{
        "strict": True,
        "no-verify": False,
        "max-memory": "1 GB",
        "truth": "float64",
        "freeze-initializers": True,
    },
    **{
        "rename": ["a=b"],
        "external-data": True,
        "weights": "w.weights",
        "name": "deep/net",
        "layout": "NCHW",
    },
}
MODELS = ("net.onnx", "*.onnx", "zoo/net.cfg", "deploy.prototxt", "https://host/net.onnx")


def manifest(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A new manifest, as TOML or as CSV."""
    keys = [word.decode() for word in words]
    models = [
        {
            "model": chance.choice(MODELS),
            **{key: RIGHT[key] for key in chance.sample(list(RIGHT), chance.randint(0, 4))},
        }
        for _ in range(chance.randint(1, 4))
    ]
    if chance.random() < 0.4:
        return _csv(models, chance, keys)
    defaults = {key: RIGHT[key] for key in ("samples", "seed") if chance.random() < 0.5}
    return _tables(spoiled({"defaults": defaults, "model": models}, chance, keys), "model")


def _csv(models: list[dict[str, Any]], chance: random.Random, keys: Sequence[str]) -> bytes:
    head = list(dict.fromkeys(key for one in models for key in one))
    rows: list[Any] = [head, *([_cell(one.get(key, "")) for key in head] for one in models)]
    rows = spoiled(rows, chance, keys)
    out = io.StringIO()
    writer = csv.writer(out)
    for row in rows if isinstance(rows, list) else [rows]:
        writer.writerow(row if isinstance(row, list) else [row])
    return out.getvalue().encode("utf-8", "replace")


def _cell(value: Any) -> str:
    return ";".join(map(str, value)) if isinstance(value, list) else str(value)


def manifests() -> list[bytes]:
    """Right ones."""
    every = {key: value for key, value in RIGHT.items() if key != "weights"}
    return [
        _tables({"defaults": {"seed": 1}, "model": [{"model": "net.onnx", **every}]}, "model"),
        b"model,weights,name,samples\nnet.onnx,,deep/net,2\nzoo/net.cfg,w.weights,,3\n",
    ]


def read_manifest(case: Case) -> None:
    """Every entry, and the options that it means."""
    from bnfold.cli import manifest, options

    path = case.file("list.csv" if case.data.startswith(b"model,") else "list.toml")
    for entry in manifest.read(str(path)):
        try:
            options.read_options(entry.values)
            options.fold_options(entry.values)
            options.verify_options(entry.values)
        except BnfoldError as error:
            raise AssertionError(f"what the manifest took is refused later: {error}") from error


# Policies.

POLICY: dict[str, Any] = {
    "allow-kept": ["kept.training-mode", "kept.*"],
    "max-size": "100 MB",
    "providers": ["cpu"],
    "noise-limit": 3.0,
    "require-certificate": True,
    "models": [
        {"path": "*.onnx", "against": ["yolo.cfg", "yolo.weights"]},
        {"path": "a/b.onnx", "max-size": 5},
    ],
}


def policy(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A new policy, with the keys at the top or under [tool.bnfold]."""
    some = chance.sample(list(POLICY), chance.randint(1, len(POLICY)))
    document = spoiled(json.loads(json.dumps({key: POLICY[key] for key in some})), chance, [*POLICY, "path"])
    if isinstance(document, dict) and chance.random() < 0.3:
        return f"[tool]\nbnfold = {toml(document)}\n".encode()
    return _tables(document, "models")


def policies() -> list[bytes]:
    """Right ones."""
    return [_tables(POLICY, "models"), f"[tool]\nbnfold = {toml(POLICY)}\n".encode()]


def read_policy(case: Case) -> None:
    """The policy of a model, and how it is compared."""
    from bnfold.gate import policy

    found = policy.read(case.file("bnfold.toml"), {})
    for name in ("net.onnx", "a/b.onnx"):
        assert found.of(case.folder / name).comparing.samples


# Certificates.


@cache
def certified() -> tuple[bytes, bytes, bytes]:
    """(source, folded model, certificate)"""
    from bnfold.cli.main import run

    with tempfile.TemporaryDirectory() as folder:
        source, out, evidence = (Path(folder, name) for name in ("source.onnx", "net.onnx", "net.json"))
        source.write_bytes(model(CONV_BN_RELU).SerializeToString())
        assert run(["fold", str(source), "-o", str(out), "--certificate", str(evidence), "-q"]) == 0
        return source.read_bytes(), out.read_bytes(), evidence.read_bytes()


def certificate(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """A certificate with one thing wrong, mostly with the digest of what it says."""
    from bnfold.gate import certificate
    from bnfold.results.certificate import Certificate
    from bnfold.results.from_json import decoded

    document = json.loads(certified()[2])
    keys = [key for holder, key in _places(document) if isinstance(holder, dict)]
    document = spoiled(document, chance, keys)
    with suppress(Unfit, ValueError, TypeError, OverflowError, RecursionError):
        if chance.random() < 0.8:
            made = decoded(Certificate, document)
            return certificate.text(replace(made, digest=certificate.digest(made))).encode()
    return json.dumps(document).encode()


def certificates() -> list[bytes]:
    """The right one."""
    return [certified()[2]]


def read_certificate(case: Case) -> None:
    """The certificate, and what it says of a model and its source."""
    from bnfold.gate.audit import audit

    source, folded, _ = certified()
    model, origin = case.file("net.onnx", folded), case.file("source.onnx", source)
    path = case.file("net.json")
    try:
        found = audit(path, model, [origin])
    except UsageError:  # the certificate speaks of two files: then those that it names are tried
        found = audit(path, model)
    assert found
