"""One model on one execution provider, in a process of its own: `python -m bnfold.verifying.engines.child
FOLDER`.

Reads request.json and feedN.npz in FOLDER; writes outR_N.npz for each repeat and feed, and answer.json:
{"outputs" (names by file), "seconds", "versions"}, or {"error"} where the provider is not the one that did
the work.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from ...operators.table import names
from .runtime import CannotRun, Session

HEAVY = {*names("weighted"), "FusedConv"}  # what onnxruntime makes of a Conv and the Relu behind it


def main(folder: Path) -> None:
    """Do what the request says."""
    request = json.loads((folder / "request.json").read_text(encoding="utf-8"))
    try:
        answer = run(request, folder)
    except CannotRun as error:
        answer = {"error": str(error)}
    (folder / "answer.json").write_text(json.dumps(answer), encoding="utf-8")


def run(request: dict[str, Any], folder: Path) -> dict[str, Any]:
    """Run all feeds `repeats` times, then look where the nodes really ran."""
    import onnxruntime

    if hasattr(onnxruntime, "preload_dlls"):
        onnxruntime.preload_dlls()  # finds CUDA and cuDNN in their pip packages
    provider = request["provider"]
    session = Session(
        Path(request["model"]),
        [(provider, request["options"]), "CPUExecutionProvider"],
        profile=folder / "profile",
    )
    if provider not in session.providers:
        return {"error": f"onnxruntime dropped it and would have used {', '.join(session.providers)}"}
    names: dict[str, list[str]] = {}
    for repeat in range(request["repeats"]):
        for index in range(request["feeds"]):
            with np.load(folder / f"feed{index}.npz") as file:
                feed = {name: file[name] for name in file.files}
            # Before 1.26 onnxruntime gives an input that is an output as a view of what was fed, without
            # holding it: `feed` must outlive the values.
            values = session.run(feed)
            np.savez(folder / f"out{repeat}_{index}.npz", *values.values())
            names[f"out{repeat}_{index}.npz"] = list(values)
    if elsewhere := misplaced(json.loads(session.end_profiling().read_text(encoding="utf-8")), provider):
        return {"error": elsewhere}
    return {"outputs": names, "seconds": session.seconds, "versions": versions()}


def misplaced(events: list[dict[str, Any]], provider: str) -> str:
    """What a profile says against the claim that `provider` did the work; "" if nothing."""
    nodes = [
        event["args"]
        for event in events
        if event.get("cat") == "Node" and "provider" in event.get("args", {})
    ]
    wrong = Counter(
        (n["op_name"], n["provider"]) for n in nodes if n["op_name"] in HEAVY and n["provider"] != provider
    )
    if wrong:
        (op, other), count = wrong.most_common(1)[0]
        return f"{count} runs of {op} were left to {other}"
    if nodes and not any(n["provider"] == provider for n in nodes):
        return f"no node ran on it; {nodes[0]['provider']} did the work"
    return ""


def versions() -> dict[str, str]:
    """What the provider stands on: CUDA and cuDNN of the build, GPU and driver of the machine."""
    found: dict[str, str] = {}
    try:
        from onnxruntime.capi import build_and_package_info as build
    except ImportError:
        build = None
    for key in ("cuda_version", "cudnn_version"):
        if value := getattr(build, key, ""):
            found[key.removesuffix("_version")] = str(value)
    try:
        devices = subprocess.run(
            ["nvidia-smi", "--query-gpu=name,driver_version", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return found
    name, _, driver = (devices.splitlines() or [""])[0].partition(", ")
    return {**found, "gpu": name, "driver": driver}


if __name__ == "__main__":
    main(Path(sys.argv[1]))
