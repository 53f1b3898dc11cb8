"""What is measured, and how each tool is called: from one file to another, as its own documentation shows, in
a process of its own.

    python tools.py NAME SOURCE TARGET     one run
    python tools.py NAME                   one run for each line `SOURCE<tab>TARGET` on stdin, answered by
                                           `ok` or `error <sentence>`

Every function imports what it needs and nothing else. Models above 2 GB, or with weights in a second file,
are written with such a file.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
Run = Callable[[str, str], None]
TOOLS: dict[str, Run] = {}
COPY = 'for file; do cp "$file" .; done; sync *'


def tool(name: str) -> Callable[[Run], Run]:
    def register(function: Run) -> Run:
        TOOLS[name] = function
        return function

    return register


def command(name: str, files: list[Path], arguments: int, target: Path, python: str) -> list[str]:
    """The process that runs a tool once, in the target's folder. `python` is that of the environment where
    the peers are installed."""
    if name == "cp + fsync":
        return ["sh", "-c", COPY, "sh", *map(str, files)]
    if name == "imports":
        return [sys.executable, "-c", "import numpy, onnx, bnfold.ir.lazy_sympy"]
    if name.startswith("bnfold"):
        unverified = ["--no-verify"] if name == "bnfold" else []
        return [
            sys.executable,
            "-m",
            "bnfold",
            "fold",
            *map(str, files[:arguments]),
            "-o",
            str(target),
            "-q",
            *unverified,
        ]
    return [python, str(HERE / "tools.py"), name, str(files[0]), str(target)]


def environment(name: str) -> dict[str, str]:
    """What a tool finds in its environment besides."""
    return {"OPENBLAS_NUM_THREADS": "1"} if name == "bnfold, verified, 1 thread" else {}


def external(source: str) -> bool:
    return Path(source + ".data").exists()


def store(model: Any, source: str, target: str) -> None:
    import onnx

    extra = (
        {"save_as_external_data": True, "location": Path(target).name + ".data"} if external(source) else {}
    )
    onnx.save_model(model, target, **extra)


@tool("onnx load + save")
def onnx_alone(source: str, target: str) -> None:
    import onnx

    store(onnx.load(source), source, target)


@tool("onnxruntime basic")
def onnxruntime_basic(source: str, target: str) -> None:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = target
    options.log_severity_level = 3
    if external(source):
        options.add_session_config_entry(
            "session.optimized_model_external_initializers_file_name", Path(target).name + ".data"
        )
    onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


@tool("onnxsim")
def onnxsim(source: str, target: str) -> None:
    import onnxsim

    model, _ = onnxsim.simplify(source)
    store(model, source, target)


@tool("onnxslim")
def onnxslim(source: str, target: str) -> None:
    import onnxslim

    onnxslim.slim(source, target, save_as_external_data=external(source))


@tool("onnxoptimizer")
def onnxoptimizer(source: str, target: str) -> None:
    import onnx
    import onnxoptimizer

    store(
        onnxoptimizer.optimize(onnx.load(source), ["fuse_bn_into_conv", "eliminate_unused_initializer"]),
        source,
        target,
    )


@tool("onnxscript")
def onnxscript(source: str, target: str) -> None:
    import onnx_ir
    import onnxscript.optimizer
    import onnxscript.rewriter

    model = onnx_ir.load(source)
    onnxscript.optimizer.optimize(model)
    model = onnxscript.rewriter.rewrite(model)
    onnx_ir.save(model, target, external_data=Path(target).name + ".data" if external(source) else None)


@tool("bnfold")
def bnfold(source: str, target: str) -> None:
    """For many small models in one process; a single run is measured as the command that users type."""
    from bnfold import fold_file

    fold_file(source, out=target)


def main() -> None:
    run = TOOLS[sys.argv[1]]
    if len(sys.argv) == 4:
        run(*sys.argv[2:])
        return
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
        for line in sys.stdin:
            try:
                run(*line.rstrip("\n").split("\t"))
                answers.write("ok\n")
            except Exception as error:
                answers.write(f"error {type(error).__name__}: {' '.join(str(error).split())[:200]}\n")


if __name__ == "__main__":
    main()
