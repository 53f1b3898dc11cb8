"""Manifests: what they say reaches the models, and every fault is told with its line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bnfold.cli import manifest
from bnfold.errors import Malformed, Unreadable

GOOD_TOML = '''
# models of the week
[defaults]
samples = 2

[[model]]
model = "nets/yolo.cfg"
weights = "yolo.weights"
name = "detection/yolo"
heads = "boxes"
input-shape = ["data:1,3,64,64"]

[[ model ]]
"model" = "s3://zoo/*.onnx"
samples = 5
ep = ["cpu", "cuda"]
keep = """
[[model]]"""
no-verify = true
'''
GOOD_CSV = """\ufeffmodel,weights,name,heads,samples,input-shape,allow-partial
# a remark, and an empty line

nets/yolo.cfg,yolo.weights,detection/yolo,boxes,2,"data:1,3,64,64",yes
/abs/net.onnx,,,,,"a:1,3;b:2,2",
"""


def entries(folder: Path, text: str, name: str = "zoo.toml") -> list[manifest.Entry]:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return manifest.read(os.fspath(path))


def faults(folder: Path, text: str, name: str = "zoo.toml") -> list[str]:
    with pytest.raises(manifest.Faults) as caught:
        entries(folder, text, name)
    return [str(one).removeprefix(f"{folder}{os.sep}") for one in caught.value.all]


def test_toml(tmp_path: Path) -> None:
    first, second = entries(tmp_path, GOOD_TOML)
    assert (first.model, first.weights, first.name) == (
        f"{tmp_path}/nets/yolo.cfg",
        f"{tmp_path}/yolo.weights",
        "detection/yolo",
    )
    assert first.values == {"samples": "2", "heads": "boxes", "input_shapes": ("data:1,3,64,64",)}
    assert first.where == f"{tmp_path}/zoo.toml:6"
    assert (second.model, second.weights, second.where) == (
        "s3://zoo/*.onnx",
        None,
        f"{tmp_path}/zoo.toml:13",
    )
    assert second.values == {
        "samples": "5",
        "providers": "cpu,cuda",
        "keep": ("[[model]]",),
        "no_verify": True,
    }


def test_csv(tmp_path: Path) -> None:
    first, second = entries(tmp_path, GOOD_CSV, "zoo.csv")
    assert first.values == {
        "heads": "boxes",
        "samples": "2",
        "input_shapes": ("data:1,3,64,64",),
        "allow_partial": True,
    }
    assert (first.name, first.where) == ("detection/yolo", f"{tmp_path}/zoo.csv:4")
    assert (second.model, second.weights, second.values) == (
        "/abs/net.onnx",
        None,
        {"input_shapes": ("a:1,3", "b:2,2")},
    )


def test_inputs_lie_beside_the_manifest(tmp_path: Path) -> None:
    (entry,) = entries(tmp_path, '[[model]]\nmodel = "net.onnx"\ninputs = ["x:batch.npy", "all.npz"]')
    assert entry.values["inputs"] == (f"x:{tmp_path}/batch.npy", f":{tmp_path}/all.npz")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "[[model]]\nmodel = 'a.onnx'\n\n[[model]]\nmodel = 'b.onnx'\nsmaples = 3",
            [
                "zoo.toml:6: unknown key 'smaples'; expected an option of 'bnfold batch --help' without its "
                "dashes; did you mean 'samples'?"
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nsamples = 'many'",
            ["zoo.toml:3: 'samples' cannot be 'many'; expected a whole number from 1 to 1,000,000"],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nsamples = 0",
            ["zoo.toml:3: 'samples' cannot be 0; expected a whole number from 1 to 1,000,000"],
        ),
        (
            "[[model]]\nname = 'a'\n[[model]]\nmodel = 7",
            [
                "zoo.toml:1: names no model; expected a key 'model' with a path, a pattern or a URL",
                "zoo.toml:4: 'model' is 7; expected a path or a URL",
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nname = '../a'",
            [
                "zoo.toml:3: 'name' is '../a'; expected a name for the outputs, below the folder "
                "of all outputs"
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nname = 'a/'\n[[model]]\nmodel = 'b.onnx'\nname = 'b/.'",
            [
                f"zoo.toml:{line}: 'name' is '{name}'; expected a name for the outputs, below the folder "
                "of all outputs"
                for line, name in ((3, "a/"), (6, "b/."))
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nheads = 'raw'",
            ["zoo.toml:3: 'heads' is for darknet models, and this one is onnx; leave it out"],
        ),
        (
            "[[model]]\nmodel = 'a.cfg'\nstrict = 'perhaps'",
            ["zoo.toml:3: 'strict' cannot be 'perhaps'; expected true or false"],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\ninput-shape = 'what'",
            [
                "zoo.toml:3: 'input-shape' cannot be 'what'; expected name:1,3,224,224 or "
                "1x3x224x224, whole numbers "
                "from 1 to 2,147,483,647"
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nrtol = -1",
            [
                "zoo.toml:3: 'rtol' cannot be -1; expected a finite number, at least 0, as in 1e-4 "
                "or output:1e-4"
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nkeep = [true]",
            [
                "zoo.toml:3: 'keep' cannot be [True]; expected names of nodes, or patterns of them "
                "with * and ?"
            ],
        ),
        (
            "[defaults]\nmodel = 'x'\n[[model]]\nmodel = 'a.onnx'",
            [
                "zoo.toml:2: unknown key 'model'; expected an option of 'bnfold batch --help' "
                "without its dashes"
            ],
        ),
        (
            "[[models]]\nmodel = 'a.onnx'",
            ["zoo.toml:1: unknown key 'models'; expected a table [defaults], and [[model]] for each"],
        ),
        ("model = 'a.onnx'", ["zoo.toml:1: 'model' is no list of tables; expected [[model]] before each"]),
        (
            "\nmodel = [{model = 'a.onnx', nonsense = 1}]",
            [
                "zoo.toml:2: unknown key 'nonsense'; expected an option of 'bnfold batch --help' "
                "without its dashes"
            ],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nkeep = '''\n[[model]]\nbatch = 0\n'''\n[[model]]\nmodel "
            "= 'b.cfg'\nbatch = 0",
            ["zoo.toml:9: 'batch' cannot be 0; expected a whole number from 1 to 2,147,483,647"],
        ),
        (
            "[[model]]\nmodel = 'a.onnx'\nkeep = [",
            ["zoo.toml:3: is not TOML (Invalid value); expected a manifest of models"],
        ),
    ],
)
def test_every_fault_of_toml_has_its_line(text: str, told: list[str], tmp_path: Path) -> None:
    assert [one.partition("; did you mean 'no-")[0] for one in faults(tmp_path, text)] == told


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            "model,heads\na.cfg,raw\nb.cfg,none\nc.cfg,raw,1",
            [
                "zoo.csv:3: 'heads' cannot be 'none'; expected one of layer, raw, boxes",
                "zoo.csv:4: 3 cells; expected at most 2, as in the first line; a value with commas in it "
                "stands in double quotes",
            ],
        ),
        (
            'model,name\n"a\nb.onnx",x\nc.onnx,/x',
            ["zoo.csv:4: 'name' is '/x'; expected a name for the outputs, below the folder of all outputs"],
        ),
        (
            "model;name\na.onnx;x",
            [
                "zoo.csv:1: the first line names no column 'model'; expected model,weights,name, "
                "and options; "
                "cells are separated by commas, not by ';'"
            ],
        ),
        (
            "model,seed,seed\na.onnx,1,2",
            ["zoo.csv:1: the column 'seed' stands there twice; expected each once"],
        ),
        (
            "model,sede\na.onnx,1\nb.onnx,2",
            [
                "zoo.csv:2: unknown key 'sede'; expected an option of 'bnfold batch --help' without its "
                "dashes; did you mean 'seed'?",
                "zoo.csv:3: unknown key 'sede'; expected an option of 'bnfold batch --help' without its "
                "dashes; did you mean 'seed'?",
            ],
        ),
        (
            "model,name\n,x",
            ["zoo.csv:2: names no model; expected a key 'model' with a path, a pattern or a URL"],
        ),
        (
            'model\na.onnx\n"b.onnx',
            ["zoo.csv:3: is not CSV (unexpected end of data); expected a manifest of models"],
        ),
    ],
)
def test_every_fault_of_csv_has_its_line(text: str, told: list[str], tmp_path: Path) -> None:
    assert faults(tmp_path, text, "zoo.csv") == told


def test_what_is_no_manifest_at_all(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="names no model"):
        entries(tmp_path, "[defaults]\nsamples = 1")
    (tmp_path / "bytes.toml").write_bytes(b"# one\nmodel = '\xff'")
    with pytest.raises(Malformed, match=r"bytes.toml:2: is not UTF-8"):
        manifest.read(os.fspath(tmp_path / "bytes.toml"))
    with pytest.raises(Unreadable, match="cannot be read"):
        manifest.read(os.fspath(tmp_path / "none.csv"))


def test_every_option_of_a_model_is_a_key() -> None:
    assert {
        "keep",
        "heads",
        "input-shape",
        "noise-limit",
        "external-data",
        "no-verify",
        "assume-global-stats",
    } <= manifest.KEYS.keys()
    assert "keep-failed" not in manifest.KEYS
    assert not set(manifest.OWN) & manifest.KEYS.keys()
