"""How long networks of ten families take before and after folding, beside other tools, in four ways to run
them.

    python benchmarks/latency_networks.py NETS                     writes the networks (needs torch, timm ...)
    python benchmarks/latency.py NETS --peers PYTHON               folds them with every tool and measures
    python benchmarks/latency.py NETS --page docs/benchmarks.md    the tables, from what was measured

NETS may also be given networks of Caffe and darknet: `--networks net.prototxt net.cfg`, with seeded weights.
PYTHON is that of an environment with onnxsim, onnxslim and onnxscript. What is there is not made again.

In every runtime all models of a network are loaded in one process and run in turn, the order changing from
round to round; a turn is at least TURN_S long. A ratio is that of two turns of one round; its median and
quartiles over all rounds stand in the table. So what disturbs the machine for longer than a round disturbs
all of them. There is one thread, and time is the processor time of the process, so that waiting for a
processor that others use does not count.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import date
from importlib import metadata
from pathlib import Path
from typing import Any

from tools import command

ROUNDS, FEWEST, TURN_S, LONGEST_S, PATIENCE_S = 7, 3, 0.01, 8, 150
THREADS = 1
PEERS = ("onnxsim", "onnxslim", "onnxscript")
RUNTIMES = ("onnxruntime", "onnxruntime, none", "OpenVINO", "OpenCV")
FUSED = ("Gelu", "BiasGelu", "FastGelu", "QuickGelu", "LayerNormalization", "SkipLayerNormalization")
FUSED += ("SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization", "Attention", "HardSwish")
HEADING = "## Latency before and after folding"
SLOWER = 1.02
SAYS = """Folding pays where branches merge (re-parameterised and hybrid networks), where a runtime does not
fold (no optimisations; OpenCV, batch norms of dense layers), and where exports hide their parameters from a
runtime, as those of the dynamo exporter do from onnxruntime. Elsewhere runtimes fold plain Conv and batch
norm themselves, and the folded model is as fast as before. Every GELU, norm and attention that onnxruntime
fuses before folding is fused after it. Without optimisations other tools' folding of constants, which
exporters leave in transformers, pays more than folding does."""
PACKAGES = ("onnxruntime", "openvino", "opencv-python-headless", "torch", "timm", "torchvision", *PEERS)


# Running, in a process of its own: `latency.py --worker RUNTIME` with a JSON object of files on stdin.


def loaded(runtime: str, path: str) -> Callable[[dict[str, Any]], object]:
    """A model that is ready to run."""
    if runtime.startswith("onnxruntime"):
        import onnxruntime

        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = THREADS
        settings.log_severity_level = 4
        if runtime.endswith("none"):
            settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        session = onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
        return lambda feeds: session.run(None, feeds)
    if runtime == "OpenVINO":
        import openvino

        settings = {"INFERENCE_NUM_THREADS": THREADS, "PERFORMANCE_HINT": "LATENCY"}
        request = openvino.Core().compile_model(path, "CPU", settings).create_infer_request()
        return request.infer
    import cv2

    cv2.setNumThreads(THREADS)
    net = cv2.dnn.readNetFromONNX(path)
    outputs = net.getUnconnectedOutLayersNames()

    def run(feeds: dict[str, Any]) -> object:
        for name, value in feeds.items():
            net.setInput(value, *([name] if len(feeds) > 1 else []))
        return net.forward(outputs)

    return run


def feeds_of(path: str) -> dict[str, Any]:
    """Seeded inputs; free dims are one."""
    import numpy as np
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    stored = {one.name for one in graph.initializer}
    random = np.random.default_rng(0)
    feeds = {}
    for value in graph.input:
        if value.name in stored:
            continue
        kind = onnx.helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
        shape = [d.dim_value or 1 for d in value.type.tensor_type.shape.dim]
        whole = random.integers(0, 100, shape) if kind.kind in "iu" else random.normal(0, 1, shape)
        feeds[value.name] = whole.astype(kind)
    return feeds


def turn(run: Callable[[dict[str, Any]], object], feeds: dict[str, Any], each: float) -> float:
    """The median of the runs of one turn."""
    if each < TURN_S:
        run(feeds)  # caches belong to the model of the last turn
    found: list[float] = []
    while not found or sum(found) < TURN_S:
        started = time.process_time()
        run(feeds)
        found.append(time.process_time() - started)
    return statistics.median(found)


def work(runtime: str, files: dict[str, str]) -> dict[str, Any]:
    """Seconds of every round for each model, or why it cannot be run."""
    feeds, answer = feeds_of(files["unfolded"]), {}
    ready: dict[str, tuple[Callable[[dict[str, Any]], object], float]] = {}
    for name, path in files.items():
        try:
            run = loaded(runtime, path)
            run(feeds)
            started = time.process_time()
            run(feeds)
            ready[name] = run, time.process_time() - started
        except Exception as error:  # runtimes raise what they like
            answer[name] = {"error": (str(error).strip().splitlines() or [type(error).__name__])[0][:200]}
    rounds: dict[str, list[float]] = {name: [] for name in ready}
    started = time.perf_counter()
    for number in range(ROUNDS):
        if number >= FEWEST and time.perf_counter() - started > LONGEST_S:
            break
        names = list(ready)
        shift = number % max(len(names), 1)
        for name in (names[shift:] + names[:shift])[:: -1 if number % 2 else 1]:
            rounds[name].append(turn(*ready[name][:1], feeds, ready[name][1]))
    return {**answer, **{name: {"seconds": seconds} for name, seconds in rounds.items()}}


# What is measured: one network after the other.


def folded(source: Path, folder: Path, peers: str) -> dict[str, str]:
    """The network by every tool, as files; a tool that fails is left out."""
    found = {"unfolded": str(source)}
    for tool in ("bnfold", *(PEERS if peers else ())):
        target = folder / source.stem / f"{tool}.onnx"
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.exists():
            asked = "bnfold, verified" if tool == "bnfold" else tool
            call = command(asked, [source], 1, target, peers)
            try:
                subprocess.run(call, cwd=target.parent, capture_output=True, timeout=PATIENCE_S, check=True)
            except (subprocess.SubprocessError, OSError) as error:
                tell = getattr(error, "stderr", b"") or b""
                print(f"  {tool}: {error} {tell.decode(errors='replace')[-300:]}", flush=True)
                continue
        if target.exists():
            found[tool] = str(target)
    return found


def operators(path: str) -> dict[str, int]:
    """Batch norms in the file, and what onnxruntime's extended optimisations leave of it: fused operators and
    all nodes."""
    import onnx
    import onnxruntime

    settings = onnxruntime.SessionOptions()
    settings.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    settings.optimized_model_filepath = path + ".optimised"
    settings.log_severity_level = 4
    onnxruntime.InferenceSession(path, settings, providers=["CPUExecutionProvider"])
    left = Counter(node.op_type for node in onnx.load(path + ".optimised").graph.node)
    Path(path + ".optimised").unlink()
    norms = sum(
        n.op_type == "BatchNormalization" for n in onnx.load(path, load_external_data=False).graph.node
    )
    return {"norms": norms, "fused": sum(left[op] for op in FUSED), "nodes": sum(left.values())}


def measure(source: Path, folder: Path, peers: str) -> dict[str, Any]:
    """Everything about one network."""
    files = folded(source, folder, peers)
    about = json.loads(source.with_suffix(".json").read_text(encoding="utf-8"))
    found: dict[str, Any] = {**about, "times": {}, "operators": {}}
    for name in ("unfolded", "bnfold"):
        if name in files:
            found["operators"][name] = operators(files[name])
    for runtime in RUNTIMES:
        done = subprocess.run(
            [sys.executable, __file__, "--worker", runtime],
            input=json.dumps(files),
            capture_output=True,
            text=True,
            timeout=1200,
            check=False,
        )
        lines = done.stdout.strip().splitlines()
        found["times"][runtime] = json.loads(lines[-1]) if lines else {"error": f"code {done.returncode}"}
    return found


def converted(networks: Sequence[Path], folder: Path) -> None:
    """Caffe and darknet networks, read as they are, with seeded weights."""
    for path in networks:
        name = path.stem if path.stem not in ("deploy", "net") else path.parent.name
        target = folder / f"{name}.onnx"
        if target.exists():
            continue
        call = [
            sys.executable,
            "-m",
            "bnfold",
            "convert",
            str(path),
            "--random-weights",
            "0",
            "-o",
            str(target),
        ]
        if path.suffix == ".cfg":
            call += ["--batch", "1"]
        if subprocess.run([*call, "-q"], check=False).returncode == 0:
            kind = "darknet" if path.suffix == ".cfg" else "Caffe"
            target.with_suffix(".json").write_text(json.dumps({"family": kind, "exporter": "bnfold"}))


# The tables.


def ratio(times: dict[str, Any], name: str) -> list[float]:
    """Of a tool's model to the unfolded one, round by round."""
    ours, theirs = (times.get(one, {}).get("seconds", ()) for one in (name, "unfolded"))
    return [a / b for a, b in zip(ours, theirs, strict=False)]


def quartiles(values: list[float]) -> tuple[float, float, float]:
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return low, median, high


def cell(values: list[float]) -> str:
    """Median and quartiles; bold where it is slower beyond its spread."""
    if not values:
        return ""
    low, median, high = quartiles(values)
    text = f"{median:.2f} ({low:.2f}..{high:.2f})"
    return f"**{text}**" if low > SLOWER else text


def page(results: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The section as Markdown."""
    yield HEADING
    yield ""
    yield "Made by `python benchmarks/latency.py`, whose header says how; the networks are those of"
    yield "`benchmarks/latency_networks.py`, with seeded weights."
    yield (
        f"{date.today()}, {THREADS} thread, processor time on a machine that others use at the same time, "
        f"{FEWEST} to {ROUNDS} interleaved rounds, Python {platform.python_version()}; "
        f"{', '.join(versions())}."
    )
    yield ""
    yield "Latency after folding over latency before, median and quartiles; **bold**: slower beyond its"
    yield "spread and 2 %. `all` are onnxruntime's default optimisations, `none` is none. Fused: GELU, norms,"
    yield "HardSwish and attention after onnxruntime's extended optimisations, before and after folding."
    yield ""
    yield "| network | family | exporter | batch norms | fused | all, ms | all | none | OpenVINO | OpenCV |"
    yield "|---|---|---|---|---|---:|---|---|---|---|"
    for name, one in results.items():
        ops, times = one["operators"], one["times"]
        norms, fused = (" → ".join(str(ops[k][what]) for k in ops) for what in ("norms", "fused"))
        before = times[RUNTIMES[0]].get("unfolded", {}).get("seconds")
        ms = f"{1e3 * statistics.median(before):.2f}" if before else ""
        cells = [cell(ratio(times[runtime], "bnfold")) for runtime in RUNTIMES]
        about = (name, one["family"], one["exporter"], norms, fused, ms)
        yield f"| {' | '.join((*about, *cells))} |"
    yield ""
    yield "Beside other tools: the same ratio for what each makes of the unfolded file, in onnxruntime with"
    yield "all optimisations / with none / OpenVINO / OpenCV. A dash: it cannot be run there."
    yield ""
    yield f"| network | bnfold | {' | '.join(PEERS)} |"
    yield f"|---|{'---|' * (1 + len(PEERS))}"
    for name, one in results.items():
        if not any(ratio(one["times"][RUNTIMES[0]], tool) for tool in PEERS):
            continue
        rows = []
        for tool in ("bnfold", *PEERS):
            found = [ratio(one["times"][runtime], tool) for runtime in RUNTIMES]
            rows.append(" / ".join(f"{quartiles(v)[1]:.2f}" if v else "-" for v in found))
        yield f"| {name} | {' | '.join(rows)} |"
    yield ""
    slower, cells = counted(results)
    yield f"Of {cells} ratios of {len(results)} networks, {slower} are above 1 beyond their spread and 2 %."
    yield SAYS


def counted(results: dict[str, dict[str, Any]]) -> tuple[int, int]:
    """How many of bnfold's ratios say that the folded model is slower, and how many there are."""
    found = [ratio(one["times"][runtime], "bnfold") for one in results.values() for runtime in RUNTIMES]
    cells = [cell(values) for values in found if values]
    return sum(text.startswith("**") for text in cells), len(cells)


def versions() -> Iterator[str]:
    """What is installed here; other environments are not asked."""
    for package in PACKAGES:
        try:
            yield f"{package} {metadata.version(package)}"
        except metadata.PackageNotFoundError:
            continue


def insert(place: Path, lines: list[str]) -> None:
    """Put the section at the end of a page, in the place of an earlier one."""
    head = place.read_text(encoding="utf-8").split(HEADING)[0].rstrip("\n")
    place.write_text(head + "\n\n" + "\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def main() -> None:
    """Measure, or write the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, nargs="?", default=Path())
    parser.add_argument("--networks", type=Path, nargs="*", default=())
    parser.add_argument("--only", nargs="*", default=())
    parser.add_argument("--peers", default="")
    parser.add_argument("--page", type=Path)
    parser.add_argument("--worker")
    asked = parser.parse_args()
    if asked.worker:
        print(json.dumps(work(asked.worker, json.load(sys.stdin))))
        return
    made = asked.folder / "measured"
    made.mkdir(parents=True, exist_ok=True)
    if asked.page:
        order = {name: k for k, name in enumerate(names(asked.folder))}
        found = {path.stem: json.loads(path.read_text()) for path in made.glob("*.json")}
        insert(asked.page, list(page(dict(sorted(found.items(), key=lambda row: order.get(row[0], 999))))))
        return
    converted(asked.networks, asked.folder)
    for name in asked.only or names(asked.folder):
        if (made / f"{name}.json").exists():
            continue
        print(name, flush=True)
        found = measure((asked.folder / f"{name}.onnx").resolve(), made.resolve(), asked.peers)
        (made / f"{name}.json").write_text(json.dumps(found), encoding="utf-8")


def names(folder: Path) -> list[str]:
    """The networks of a folder, in the order in which they were made."""
    return [path.stem for path in sorted(folder.glob("*.json"), key=lambda path: path.stat().st_mtime)]


if __name__ == "__main__":
    main()
