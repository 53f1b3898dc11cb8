"""The gate as a team runs it: a repository with a policy and five models, four of them in trouble, under each
CI service."""

from __future__ import annotations

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from bnfold.cli.main import run

from ..certified import certify, flip, sample
from ..reporting.ci_schemas import SARIF, check_junit

jsonschema = pytest.importorskip("jsonschema", reason="needs the extra 'dev' (jsonschema)")
yaml = pytest.importorskip("yaml", reason="needs the extra 'dev' (pyyaml)")
ROOT = Path(__file__).resolve().parents[2]
POLICY = """
[tool.bnfold]
noise-limit = 4
max-size = "10 MB"

[[tool.bnfold.models]]
path = "models/wrong.onnx"
noise-limit = 4
against = ["caffe/digits.prototxt", "caffe/digits.caffemodel"]
"""
CODES = {
    "models/fine.onnx": [],
    "models/digits.cfg": ["check.foldable"] * 6,
    "models/wrong.onnx": ["check.not-equivalent"],
    "models/tampered.onnx": ["check.certificate"] * 2,
    "models/cut.onnx": ["check.unreadable"],
}


class Ran:
    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err
        self.last = err.strip().splitlines()[-1]


@pytest.fixture
def bnfold(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Ran]:
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    for name in ("GITHUB_ACTIONS", "GITHUB_STEP_SUMMARY"):
        monkeypatch.delenv(name, raising=False)

    def call(*arguments: object) -> Ran:
        capfd.readouterr()
        code = run([str(a) for a in arguments])
        return Ran(code, *capfd.readouterr())

    return call


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five models: fine, unfolded, folded wrongly by hand, tampered after certification, unreadable."""
    folder = tmp_path_factory.mktemp("repository")
    models = folder / "models"
    models.mkdir()
    sources = sample(folder, "caffe")
    fine = certify(models, sources, "fine")
    for name in sample(folder, "darknet"):
        shutil.move(name, models)
    wrong = onnx.load(fine.model)
    first = wrong.graph.initializer[0]
    first.CopyFrom(
        numpy_helper.from_array(
            (numpy_helper.to_array(first) * np.float32(1.001)).astype(np.float32), first.name
        )
    )
    onnx.save(wrong, models / "wrong.onnx")
    tampered = certify(models, sources, "tampered")
    weight = numpy_helper.to_array(onnx.load(fine.model).graph.initializer[0]).tobytes()
    flip(tampered.model, tampered.model.read_bytes().index(weight) * 8 + 5)
    (models / "cut.onnx").write_bytes(fine.model.read_bytes()[:5000])
    (folder / "pyproject.toml").write_text(POLICY)
    return folder


@pytest.fixture
def repository(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of it to spoil, as the current folder."""
    folder = Path(shutil.copytree(made, tmp_path / "repository"))
    monkeypatch.chdir(folder)
    return folder


def found_in(document: dict[str, Any]) -> dict[str, list[str]]:
    return {m["path"]: [v["code"] for v in m["violations"]] for m in document["models"]}


def test_each_trouble_is_named_at_its_place(
    bnfold: Callable[..., Ran], repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", "summary.md")
    done = bnfold("check", "models", "--json", "r.json", "--junit", "j.xml", "--sarif", "s.sarif")
    assert (done.code, done.last) == (3, "bnfold: FAIL models=5 failed=4 violations=10")
    document = json.loads(Path("r.json").read_text())
    assert found_in(document) == CODES
    jsonschema.Draft202012Validator(json.loads((ROOT / "docs" / "result.schema.json").read_text())).validate(
        document
    )
    log = json.loads(Path("s.sarif").read_text())
    jsonschema.Draft202012Validator(SARIF).validate(log)
    found = [
        r["locations"][0]["physicalLocation"]
        for r in log["runs"][0]["results"]
        if r["ruleId"] == "check.foldable"
    ]
    places = [(place["artifactLocation"]["uri"], place["region"]["startLine"]) for place in found]
    cfg = Path("models/digits.cfg").read_text().splitlines()
    assert len(places) == 6 and all(
        uri == "models/digits.cfg" and cfg[line - 1].startswith("[") for uri, line in places
    )
    junit = ElementTree.parse("j.xml").getroot()
    check_junit(junit)
    assert (junit.get("failures"), junit.get("errors")) == ("3", "1")
    errors = [line for line in done.err.splitlines() if line.startswith("::error ")]
    for name, codes in CODES.items():
        assert all(any(f"file={name}" in line and code in line for line in errors) for code in codes), name
    summary = Path("summary.md").read_text().replace("&#45;", "-")
    assert all(code in summary for codes in CODES.values() for code in codes)


def test_what_was_tampered_with_is_named(bnfold: Callable[..., Ran], repository: Path) -> None:
    done = bnfold("check", "models/tampered.onnx")
    text = " ".join(done.out.split())
    assert (
        done.code == 1
        and "SHA-256 differs" in text
        and "1 of" in text
        and "are not what the sources give" in text
    )
    assert bnfold("audit", "models/tampered.cert.json", "models/tampered.onnx").code == 1
    assert (
        bnfold("audit", "models/fine.cert.json", "models/fine.onnx").last
        == "bnfold: PASS checks=7 notes=0 faults=0"
    )


def test_a_baseline_lets_pass_what_is_known(bnfold: Callable[..., Ran], repository: Path) -> None:
    assert bnfold("check", "models", "--json", "last.json").code == 3
    done = bnfold("check", "models", "--baseline", "last.json")
    assert (done.code, done.last) == (0, "bnfold: PASS models=5 failed=0 violations=0 known=10")
    flip(repository / "models/fine.onnx", 4321)
    done = bnfold("check", repository / "models", "--baseline", "last.json", "--sarif", "s.sarif")
    assert done.code in (1, 3) and "failed=1" in done.last
    states = [r["baselineState"] for r in json.loads(Path("s.sarif").read_text())["runs"][0]["results"]]
    assert states.count("unchanged") == 10 and states.count("new") >= 1


def test_required_evidence(bnfold: Callable[..., Ran], repository: Path) -> None:
    Path("bnfold.toml").write_text('require-certificate = true\nproviders = ["cpu"]\n')
    assert bnfold("check", "models/fine.onnx").code == 0
    done = bnfold("check", "models/wrong.onnx", "--json", "r.json")
    assert (done.code, found_in(json.loads(Path("r.json").read_text()))) == (
        1,
        {"models/wrong.onnx": ["check.certificate", "check.unverified"]},
    )
    Path("bnfold.toml").write_text('providers = ["CPUExecutionProvider", "cuda"]\n')
    done = bnfold("check", "models/fine.onnx")
    assert done.code == 1 and "does not show that it passed on cuda" in " ".join(done.out.split())
    Path("bnfold.toml").write_text("noise-limit = 0.001\n")
    done = bnfold("check", "models/fine.onnx")
    assert done.code == 1 and "0.001 allowed" in " ".join(done.out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        ("check models --policy bad.toml", 3, "bad.toml:1: unknown key 'max-sise'"),
        ("check models --policy absent.toml", 3, "absent.toml: cannot be read"),
        ("check none/*.onnx", 2, "nothing matches none/*.onnx"),
        ("check models --json a.json --junit a.json", 2, "--json and --junit both write a.json"),
        ("check models --sarif ./a.json --json a.json", 2, "--json and --sarif both write"),
        ("check models --junit models/fine.onnx", 2, "has the name of a model"),
        ("check models --sarif absent/a.sarif", 3, "the folder does not exist"),
        (
            "check models --baseline last.json --json ./last.json",
            2,
            "--json would replace last.json, which is read",
        ),
        ("check models --sarif pyproject.toml", 2, "--sarif would replace pyproject.toml"),
        ("check models --policy bad.toml --sarif bad.toml", 2, "--sarif would replace bad.toml"),
        ("audit models/fine.cert.json models/fine.onnx --json models/fine.cert.json", 2, "which is read"),
        ("check models --baseline models/fine.cert.json", 3, "the schema is 'bnfold.certificate/1'"),
        ("check models --against-weights x", 2, "--against-weights without --against"),
        ("audit bad.toml models/fine.onnx", 3, "is not JSON"),
        ("audit absent.json models/fine.onnx", 3, "cannot be read"),
        ("audit models/fine.cert.json models/fine.onnx a b c", 2, "3 source files"),
        (
            "fold models/fine.onnx out.onnx --certificate out.cert.json --json out.cert.json",
            2,
            "--json and --certificate both write",
        ),
        ("fold models/fine.onnx out.onnx --certificate out.onnx", 2, "has the name of a model"),
        ("fold models/fine.onnx out.onnx --certificate out.cert", 2, "does not end in .json"),
        ("fold models/fine.onnx out.onnx --certificate absent/c.json", 3, "the folder does not exist"),
        ("fold models/fine.onnx models/fine.onnx --certificate c.json", 2, "replaces the source"),
        ("fold models/fine.onnx --certificate c.json --dry-run", 2, "--certificate with --dry-run"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    bnfold: Callable[..., Ran], repository: Path, arguments: str, code: int, sentence: str
) -> None:
    Path("bad.toml").write_text("max-sise = 3\n")
    before = sorted(repository.rglob("*"))
    done = bnfold(*arguments.split())
    assert done.code == code and sentence in done.last and done.last.startswith(f"bnfold: ERROR code={code}")
    assert sorted(repository.rglob("*")) == before


def test_the_certificate_of_another_model(bnfold: Callable[..., Ran], repository: Path) -> None:
    done = bnfold("audit", "models/fine.cert.json", "models/wrong.onnx")
    assert done.code == 1 and any(
        words in " ".join(done.out.split()) for words in ("were certified", "SHA-256 differs")
    )


def test_fold_writes_a_certificate_that_audit_takes(bnfold: Callable[..., Ran], repository: Path) -> None:
    assert (
        bnfold(
            "fold",
            "caffe/digits.prototxt",
            "caffe/digits.caffemodel",
            "new.onnx",
            "--certificate",
            "new.cert.json",
        ).code
        == 0
    )
    assert bnfold("audit", "new.cert.json", "new.onnx").code == 0
    assert (
        bnfold(
            "fold",
            "models/digits.cfg",
            "models/digits.weights",
            "n.onnx",
            "--no-verify",
            "--certificate",
            "n.cert.json",
        ).code
        == 0
    )
    assert json.loads(Path("n.cert.json").read_text())["verification"] is None
    assert bnfold("check", "n.onnx", "--ep", "cpu").code == 1


def test_a_certificate_that_is_out_of_date_is_told(bnfold: Callable[..., Ran], repository: Path) -> None:
    call = ("fold", "caffe/digits.prototxt", "caffe/digits.caffemodel", "models/fine.onnx")
    assert "warning: " in (err := bnfold(*call).err) and "certifies an earlier fine.onnx" in err
    assert "warning" not in bnfold(*call, "--certificate", "models/fine.cert.json").err


def test_the_certificate_of_a_model_is_not_that_of_its_source(
    bnfold: Callable[..., Ran], repository: Path
) -> None:
    """net.prototxt, net.onnx and net.cert.json in one folder."""
    call = (
        "fold",
        "caffe/digits.prototxt",
        "caffe/digits.caffemodel",
        "caffe/digits.onnx",
        "--certificate",
        "caffe/digits.cert.json",
    )
    assert bnfold(*call).code == 0
    bnfold("check", "caffe", "--json", "r.json")
    assert found_in(json.loads(Path("r.json").read_text())) == {
        "caffe/digits.onnx": [],
        "caffe/digits.prototxt": ["check.foldable"] * 6,
    }


# The ready-made steps, as far as they run without their service.


@pytest.fixture
def shell(tmp_path: Path, repository: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """A shell in the repository in which `bnfold` is this checkout's."""
    folder = tmp_path / "bin"
    folder.mkdir()
    command = folder / "bnfold"
    command.write_text(f'#!/bin/sh\nPYTHONPATH="{ROOT}" exec "{sys.executable}" -m bnfold "$@"\n')
    command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def call(script: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ['PATH']}", **variables}
        return subprocess.run(
            ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", script],
            cwd=repository,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )

    return call


pytestmark = pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")


def action_step(name: str) -> dict[str, Any]:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    assert action["runs"]["using"] == "composite"
    return next(s for s in action["runs"]["steps"] if s["id"] == name)  # type: ignore[no-any-return]


def test_the_action_runs(shell: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path) -> None:
    outputs = tmp_path / "outputs"
    names = {
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(outputs),
        "GITHUB_ACTIONS": "true",
        "GITHUB_STEP_SUMMARY": str(tmp_path / "summary.md"),
    }
    done = shell(
        action_step("check")["run"],
        MODELS="models/fine.onnx\nmodels/cut.onnx\n",
        POLICY="",
        BASELINE="",
        ARGUMENTS="--max-size\n1000000\n",
        **names,
    )
    written = dict(line.split("=", 1) for line in outputs.read_text().splitlines())
    assert (done.returncode, written["exit-code"]) == (3, "3"), done.stderr
    assert found_in(json.loads(Path(written["json"]).read_text())) == {
        k: CODES[k] for k in ("models/fine.onnx", "models/cut.onnx")
    }
    check_junit(ElementTree.parse(written["junit"]).getroot())
    jsonschema.Draft202012Validator(SARIF).validate(json.loads(Path(written["sarif"]).read_text()))
    assert "::error file=models/cut.onnx" in done.stderr and (tmp_path / "summary.md").stat().st_size


def test_no_input_of_the_action_becomes_a_command(
    shell: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    names = {
        "RUNNER_TEMP": str(tmp_path),
        "GITHUB_OUTPUT": str(tmp_path / "outputs"),
        "POLICY": "",
        "BASELINE": "",
        "ARGUMENTS": "",
    }
    done = shell(
        action_step("check")["run"], MODELS="$(touch pwned)`touch pwned`; touch pwned\n--junit=pwned", **names
    )
    assert done.returncode != 0 and not list(tmp_path.rglob("pwned"))
    assert all(
        "${{" not in step["run"]
        for step in yaml.safe_load((ROOT / "action.yml").read_text())["runs"]["steps"]
    )


def test_the_action_gives_only_what_it_has() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    for step in ("install", "check"):
        used = {value.split("inputs.")[1].split(" ")[0] for value in action_step(step)["env"].values()}
        assert used <= set(action["inputs"])
    assert all(f'"{name}=' in action_step("check")["run"] for name in action["outputs"])


@pytest.mark.parametrize("which", [0, 1])
def test_the_hooks_run_on_what_pre_commit_gives_them(
    shell: Callable[..., subprocess.CompletedProcess[str]], which: int
) -> None:
    hook = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())[which]
    assert hook["language"] == "python" and {"id", "name", "entry", "files"} <= set(hook)
    done = shell(f'{hook["entry"]} $(ls models/* caffe/* | grep -E "{hook["files"]}")')
    assert done.returncode == 3 and "models/cut.onnx" in done.stdout
    assert ("FAIL caffe/digits.prototxt" in done.stdout) is ("prototxt" in hook["files"])


def test_the_gitlab_job_runs(
    shell: Callable[..., subprocess.CompletedProcess[str]], repository: Path
) -> None:
    job = yaml.safe_load((ROOT / "docs" / "gitlab-ci.yml").read_text())["bnfold"]
    done = shell("\n".join(job["script"]), **job["variables"])
    assert done.returncode == 3
    assert all(
        (repository / name).is_file()
        for name in [job["artifacts"]["reports"]["junit"], *job["artifacts"]["paths"]]
    )
    check_junit(ElementTree.parse(repository / job["artifacts"]["reports"]["junit"]).getroot())
