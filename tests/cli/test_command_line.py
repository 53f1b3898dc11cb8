"""The command line as a script sees it: exit codes, the last line on stderr, what is on stdout, what is left
on disk."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from bnfold import folding
from bnfold.ir import tensor
from bnfold.ir.graph import ir
from bnfold.pipeline import compare, pipeline
from bnfold.results.comparison import Proof
from bnfold.results.options import FoldOptions
from bnfold.results.plan import Plan

from ..certified import SAMPLES
from ..models import RELU_BN, TWO_BLOCKS, saved
from .conftest import Ran

ROOT = Path(__file__).resolve().parents[2]


def names(folder: Path) -> set[str]:
    return {p.name for p in folder.iterdir()}


def test_fold_writes_beside_the_model_and_says_so_in_the_last_line(
    bnfold: Callable[..., Ran], tmp_path: Path
) -> None:
    done = bnfold("fold", saved(tmp_path))
    assert done.code == 0
    assert re.fullmatch(
        r"bnfold: PASS folded=1 kept=0 noise=\d[\d.e+-]* max_error=\d[\d.e+-]* ep=cpu proved=\d+ "
        r"seen=0 unseen=0",
        done.last,
    )
    assert names(tmp_path) == {"net.onnx", "net.folded.onnx"}
    assert [n.op_type for n in onnx.load(tmp_path / "net.folded.onnx").graph.node] == ["Conv", "Relu"]
    assert "batch norms: 1 folded, 0 kept" in done.out


@pytest.mark.parametrize("form", [["out.onnx"], ["-o", "out.onnx"], ["--out", "out.onnx"]])
def test_the_output_is_named_either_way(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: list[str]
) -> None:
    saved(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert bnfold("fold", "net.onnx", *form).code == 0
    assert names(tmp_path) == {"net.onnx", "out.onnx"}


def test_the_model_itself_may_be_the_output(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    path = saved(tmp_path)
    assert bnfold("fold", path, path).code == 0
    assert names(tmp_path) == {"net.onnx"}
    assert len(onnx.load(path).graph.node) == 2


def test_nothing_to_fold_is_a_pass(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    done = bnfold("fold", saved(tmp_path, RELU_BN))
    assert (done.code, done.last) == (0, "bnfold: PASS folded=0 kept=1")
    assert "kept BatchNormalization" in done.out


def test_unverified_is_said(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    done = bnfold("fold", saved(tmp_path), "--no-verify", "--seed", "3")
    assert (done.code, done.last) == (0, "bnfold: PASS folded=1 kept=0 verified=no")
    assert "not verified" in done.out
    assert "--seed has no effect with --no-verify" in done.err


def test_quiet_leaves_the_last_line_alone(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    done = bnfold("fold", saved(tmp_path), "-q")
    assert done.out == ""
    assert len(done.err.splitlines()) == 1


@pytest.mark.parametrize("command", [["fold", "--dry-run"], ["inspect"]])
def test_a_plan_is_printed_and_nothing_written(
    bnfold: Callable[..., Ran], tmp_path: Path, command: list[str]
) -> None:
    done = bnfold(command[0], saved(tmp_path, TWO_BLOCKS), *command[1:])
    assert (done.code, done.last) == (0, "bnfold: PASS folded=2 kept=0 written=no")
    assert "BatchNormalization_n" in done.out
    assert names(tmp_path) == {"net.onnx"}


def test_keep_leaves_a_node_with_the_reason(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    done = bnfold("fold", saved(tmp_path, TWO_BLOCKS), "--keep", "*_y")
    assert "folded=1 kept=1" in done.last
    assert "BatchNormalization_y" in done.out


def test_convert_keeps_every_node(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    path = saved(tmp_path)
    done = bnfold("convert", path, "-o", tmp_path / "plain.onnx")
    assert done.code == 0
    assert re.fullmatch(r"bnfold: PASS converted=3 bytes=\d+", done.last)
    plain, original = (onnx.load(p).graph.node for p in (tmp_path / "plain.onnx", path))
    assert [(n.op_type, n.name, n.input, n.output) for n in plain] == [
        (n.op_type, n.name, n.input, n.output) for n in original
    ]


def test_unseen_weights_are_a_warning_and_under_strict_a_failure(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(tmp_path)
    real = compare.compare
    proof = Proof(proved=1, unseen=1, unseen_weights=("w",))
    monkeypatch.setattr(compare, "compare", lambda *given: replace(real(*given), proof=proof))
    done = bnfold("verify", path, path)
    assert done.code == 0
    assert "warning: 1 weight was neither proved nor seen, and may hold anything: 'w'" in done.err
    assert "proved=1 seen=0 unseen=1" in done.err + done.out
    strict = bnfold("verify", path, path, "--strict")
    assert strict.code == 1
    assert "neither proved nor seen" in strict.err + strict.out


def test_verify_of_right_and_wrong(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    path = saved(tmp_path, TWO_BLOCKS)
    assert bnfold("fold", path).code == 0
    done = bnfold("verify", path, tmp_path / "net.folded.onnx")
    assert done.code == 0
    assert done.last.startswith("bnfold: PASS noise=")
    wrong = onnx.load(tmp_path / "net.folded.onnx")
    bias = next(t for t in wrong.graph.initializer if list(t.dims) == [4])
    values = onnx.numpy_helper.to_array(bias) + 0.01
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    onnx.save(wrong, tmp_path / "wrong.onnx")
    done = bnfold("verify", path, tmp_path / "wrong.onnx")
    assert done.code == 1
    assert done.last.startswith("bnfold: FAIL ")


# JSON


def test_json_on_stdout_is_alone_there(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    done = bnfold("fold", saved(tmp_path), "--json", "-")
    document = json.loads(done.out)
    assert document["schema"] == "bnfold.result/1"
    assert (document["command"], document["verdict"], document["exit_code"]) == ("fold", "PASS", 0)
    assert document["batch_norms"] == {"folded": 1, "kept": 0}
    assert document["plan"]["folded"][0]["node"] == "BatchNormalization_n"
    assert {"op": "BatchNormalization", "before": 1, "after": 0} in document["operators"]
    assert document["verification"]["equivalent"] is True
    assert document["output"]["size"] == (tmp_path / "net.folded.onnx").stat().st_size


def test_json_to_a_file_of_an_error_carries_its_fields(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "bad.onnx").write_bytes(b"\x08\x09 no protobuf at all")
    done = bnfold("fold", tmp_path / "bad.onnx", "--json", tmp_path / "r.json")
    document = json.loads((tmp_path / "r.json").read_text())
    assert done.code == document["exit_code"] == 3
    assert document["verdict"] == "ERROR"
    assert document["error"]["sentence"] in done.last


def test_json_of_a_bug_says_so(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(pipeline, "fold_file", broken)
    document = json.loads(bnfold("fold", saved(tmp_path), "--json", "-").out)
    assert (document["exit_code"], document["verdict"]) == (70, "ERROR")
    assert "ZeroDivisionError" in document["error"]["sentence"]


def test_a_refused_fold_shows_its_figures(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under --strict nothing is taken back: exit 1, no file, the table of errors and the first difference on
    the screen."""
    honest = folding.fold

    def wrong(model: ir.Model, options: FoldOptions, in_place: bool) -> tuple[ir.Model, Plan]:
        folded, plan = honest(model, options, in_place)
        weight = next(n for n in folded.graph if n.name == "Conv_c").inputs[1]
        assert weight is not None and weight.const_value is not None
        weight.const_value = tensor.from_array(weight.const_value.numpy() * np.float32(1.001), weight.name)
        return folded, plan

    monkeypatch.setattr(folding, "fold", wrong)
    done = bnfold("fold", saved(tmp_path), "--strict", "--report", tmp_path / "r.html")
    assert done.code == 1
    assert re.fullmatch(r"bnfold: FAIL .*not equivalent.*first value that differs is 'n'.*", done.last)
    assert "first difference: value 'n' of node 'Conv_c'" in done.out
    assert names(tmp_path) == {"net.onnx", "r.html"}
    assert "First difference" in (tmp_path / "r.html").read_text()


# Wrong usage, wrong files: one sentence and its exit code each.


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Missing argument"),
        (["net.onnx", "--no-such"], "No such option"),
        (["net.onnx", "x.caffemodel"], "carries its weights"),
        (["net.onnx", "a.onnx", "-o", "b.onnx"], "two outputs"),
        (["net.onnx", "--phase", "TRAIN"], "--phase is for caffe models; this one is onnx"),
        (["net.onnx", "--heads", "raw"], "--heads is for darknet"),
        (["net.onnx", "--heads", "some"], "--heads is for darknet"),
        (
            ["net.onnx", "--layout", "nchw"],
            "--layout cannot be 'nchw'; expected one of NCHW, NHWC; did you mean 'NCHW'",
        ),
        (["net.onnx", "--opset", "17"], "--opset is for caffe and darknet"),
        (["net.onnx", "--input-shape", "x:1,-3"], "--input-shape cannot be 'x:1,-3'"),
        (["net.onnx", "--rtol", "y:nan"], "--rtol cannot be 'y:nan'"),
        (["net.onnx", "--ep", ","], "--ep cannot be ','"),
        (["net.onnx", "--samples", "0"], "--samples cannot be '0'; expected a whole number from 1"),
        (["net.onnx", "--seed", "-1"], "--seed cannot be '-1'"),
        (["net.onnx", "--noise-limit", "nan"], "--noise-limit cannot be 'nan'"),
        (["net.onnx", "--max-memory", "5XB"], "--max-memory cannot be '5XB'"),
        (["net.onnx", "--timeout", "-1"], "--timeout cannot be '-1'"),
        (["net.onnx", "--input-shape", "z:1,3,8,8"], "--input-shape names 'z', which is no input"),
        (["net.onnx", "--inputs", "z:a.npy"], "--inputs names 'z', which is no input"),
        (["net.onnx", "--rtol", "z:1"], "--rtol names 'z', which is no output"),
        (["net.onnx", "--mean", "1"], "--mean is for inputs that are images"),
        (["net.onnx", "--keep", "z", "--strict"], "--keep 'z' matches no node"),
        (["net.onnx", "-o", "-", "--report", "-"], "-o and --report both write to standard output"),
        (["net.onnx", "--json", "-", "--report", "-"], "--json and --report both write to standard output"),
        (["net.onnx", "-o", "-", "--external-data"], "--external-data with '-o -'"),
        (["net.onnx", "-o", "out.pb"], "as in -o out.onnx"),
        (["net.onnx", "-o", "net.v2.engine"], "bnfold writes ONNX; expected a name that ends in .onnx"),
        (["net.onnx", "out.trt"], "unexpected argument out.trt"),
        (["net.onnx", "--json", "net.onnx"], "name of a model"),
        (["net.onnx", "--report", "other.caffemodel"], "name of a model"),
    ],
)
def test_wrong_usage(
    bnfold: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    words: str,
) -> None:
    saved(tmp_path)
    monkeypatch.chdir(tmp_path)
    done = bnfold("fold", *arguments)
    assert done.code == 2
    assert done.last.startswith("bnfold: ERROR code=2 ")
    assert words in done.last
    assert names(tmp_path) == {"net.onnx"}


def test_a_pattern_that_keeps_nothing_is_a_warning(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    done = bnfold("fold", saved(tmp_path), "--keep", "nosuchnode")
    assert done.code == 0
    assert "warning: --keep 'nosuchnode' matches no node of the model" in done.err


def test_names_are_checked_by_every_command(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    path = saved(tmp_path)
    for arguments in (["convert", path, tmp_path / "c.onnx"], ["inspect", path], ["verify", path, path]):
        done = bnfold(*arguments, "--input-shape", "z:1,3,8,8")
        assert done.code == 2
        assert "--input-shape names 'z', which is no input of the model" in done.last


def test_an_unknown_command_and_an_output_that_convert_needs(
    bnfold: Callable[..., Ran], tmp_path: Path
) -> None:
    assert "code=2" in bnfold("flod", saved(tmp_path)).last
    assert "code=2 no output is named" in bnfold("convert", saved(tmp_path)).last


def test_what_is_no_model(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    whole = saved(tmp_path).read_bytes()
    (tmp_path / "cut.onnx").write_bytes(whole[:-40])
    (tmp_path / "empty.onnx").touch()
    (tmp_path / "png.onnx").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(100))
    before = names(tmp_path)
    for name in ("cut.onnx", "empty.onnx", "png.onnx", "none.onnx", "."):
        done = bnfold("fold", tmp_path / name)
        assert done.code == 3, done.err
        assert done.last.startswith("bnfold: ERROR code=3 ")
        assert "Traceback" not in done.err
    assert names(tmp_path) == before


def test_targets_that_cannot_be(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    path = saved(tmp_path)
    (tmp_path / "dir.onnx").mkdir()
    for target in (tmp_path / "dir.onnx", tmp_path / "none" / "x.onnx"):
        done = bnfold("fold", path, "-o", target)
        assert done.code == 3
        assert str(target.parent) in done.last
    assert names(tmp_path) == {"net.onnx", "dir.onnx"}


def test_names_from_a_model_are_shown_and_never_obeyed(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    proto = onnx.load(saved(tmp_path, RELU_BN))
    proto.graph.node[1].name = "[red]x\x1b[31m\nbnfold: PASS"
    onnx.save(proto, tmp_path / "net.onnx")
    done = bnfold("fold", tmp_path / "net.onnx")
    assert "\x1b" not in done.out + done.err
    assert "[red]x" in done.out
    assert not any(line.startswith("bnfold: PASS") for line in done.out.splitlines())


def test_an_internal_error_asks_for_a_report(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_: object) -> None:
        raise ZeroDivisionError("by nought")

    monkeypatch.setattr(pipeline, "fold_file", broken)
    done = bnfold("fold", saved(tmp_path))
    assert done.code == 70
    assert done.last.startswith("bnfold: ERROR code=70 ")
    assert "ZeroDivisionError: by nought" in done.last
    assert "Traceback" not in done.err


TYPO = "[net]\nwidth=8\nheight=8\nchannels=3\n[convolutional]\nfilter=18\n[yolo]\nclasses=1\nnum=3\n"


@pytest.mark.parametrize("command", ["fold", "convert", "inspect"])
def test_an_error_swallows_no_warning_before_it(
    bnfold: Callable[..., Ran], tmp_path: Path, command: str
) -> None:
    (tmp_path / "net.cfg").write_text(TYPO)
    out = ["-o", tmp_path / "out.onnx"] if command != "inspect" else []
    report = tmp_path / "report.json"
    done = bnfold(command, tmp_path / "net.cfg", "--random-weights", 1, *out, "--json", report)
    assert done.code == 3
    first, last = done.err.strip().splitlines()
    assert first.startswith("warning: net.cfg:6: no darknet reads 'filter'")
    assert first.endswith("did it mean 'filters'?")
    assert last.startswith("bnfold: ERROR code=3 net.cfg:7 [yolo] #1")
    (finding,) = json.loads(report.read_text())["error"]["findings"]
    assert (finding["code"], finding["where"]) == ("darknet.unknown-option", "net.cfg:6")


def test_quiet_errors_are_one_line(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    (tmp_path / "net.cfg").write_text(TYPO)
    done = bnfold("inspect", tmp_path / "net.cfg", "--random-weights", 1, "-q")
    assert len(done.err.strip().splitlines()) == 1


def test_an_error_after_the_reading_swallows_no_warning_either(
    bnfold: Callable[..., Ran], tmp_path: Path
) -> None:
    (tmp_path / "net.cfg").write_text(TYPO.partition("[yolo]")[0])
    read = ("fold", tmp_path / "net.cfg", "--random-weights", 1)
    for wrong in (("--rtol", "nowhere:1"), ("--input-shape", "nowhere:1,3,8,8")):
        done = bnfold(*read, *wrong)
        assert done.code == 2
        assert "did it mean 'filters'?" in done.err
        assert "nowhere" in done.last


def timed_in_onnxruntime_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bnfold.verifying.latency.measure.installed", lambda: ["onnxruntime"])


def test_bench_shows_both_models_and_their_ratio(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_in_onnxruntime_alone(monkeypatch)
    net = saved(tmp_path)
    assert bnfold("fold", net, "-q").code == 0
    done = bnfold("bench", net, tmp_path / "net.folded.onnx", "--runs", "2", "--json", tmp_path / "r.json")
    assert done.code == 0
    assert re.fullmatch(r"bnfold: PASS onnxruntime=[\d.e+-]+", done.last)
    assert "own memory" in done.out and "ratio" in done.out
    row = json.loads((tmp_path / "r.json").read_text())["latency"]["rows"][0]
    assert row["before"]["latency"]["low"] <= row["before"]["latency"]["median"]
    alone = bnfold("bench", net, "--runs", "2", "--report", tmp_path / "r.html")
    assert re.fullmatch(r"bnfold: PASS onnxruntime_ms=[\d.e+-]+", alone.last)
    assert "Latency" in (tmp_path / "r.html").read_text()


def test_bench_times_a_pair_against_what_it_was_folded_into(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_in_onnxruntime_alone(monkeypatch)
    assert bnfold("fold", SAMPLES / "digits.cfg", "-o", tmp_path / "merged.cfg", "-q").code == 0
    done = bnfold("bench", SAMPLES / "digits.cfg", tmp_path / "merged.cfg", "--runs", "1")
    assert re.fullmatch(r"bnfold: PASS onnxruntime=[\d.e+-]+", done.last)


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["net.onnx", "net.onnx", "net.onnx"], 2, "unexpected argument net.onnx"),
        (["absent.onnx"], 3, "absent.onnx"),
        (["net.onnx", "--runs", "0"], 2, "--runs"),
        (["net.onnx", "--threads", "many"], 2, "--threads"),
        (["net.onnx", "--ep", "nonsense"], 2, "--ep"),
    ],
)
def test_bench_says_what_is_wrong(
    bnfold: Callable[..., Ran],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    words: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    saved(tmp_path)
    done = bnfold("bench", *arguments)
    assert (done.code, words in done.last) == (code, True), done.last


def test_fold_measures_where_that_is_asked_for(
    bnfold: Callable[..., Ran], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    timed_in_onnxruntime_alone(monkeypatch)
    net = saved(tmp_path)
    done = bnfold("fold", net, "--time", "--runs", "2", "--json", tmp_path / "r.json")
    assert done.code == 0
    assert "own memory" in done.out
    assert json.loads((tmp_path / "r.json").read_text())["latency"]["rows"][0]["ratio"] is not None
    # OUT may replace the source: what is measured is what was there before
    assert "own memory" in bnfold("fold", net, "-o", net, "--time", "--runs", "2", "--no-verify").out
    again = bnfold("fold", net, "-o", net, "--time")
    assert "latency was not measured: nothing was folded" in again.err
    assert bnfold("fold", net, "--time", "--dry-run").code == 2
    assert "--runs has no effect without --time" in bnfold("fold", net, "--runs", "2").err


def test_patterns_are_counted_and_named_under_v_alone(bnfold: Callable[..., Ran], tmp_path: Path) -> None:
    gelu = """
    <ir_version: 9, opset_import: ["" : 17]>
    gelu (float[N, 4] x) => (float[N, 4] y)
    <float[4, 4] w, float r = {1.4142135}, float o = {1.0}, float h = {0.5}>
    { c = MatMul(x, w) d = Div(c, r) e = Erf(d) g = Add(e, o) p = Mul(c, g) n = Mul(p, h) y = MatMul(n, w) }
    """
    net = saved(tmp_path, gelu)
    short, long = bnfold("inspect", net), bnfold("inspect", net, "-v")
    assert "3 kept (3 inside patterns that runtimes fuse" in short.out.replace("\n", " ")
    assert "kept.pattern" not in short.out
    assert long.out.count("[kept.pattern]") == 3
    assert "folded=1" in bnfold("fold", net, "--fold-patterns").last
