"""Execution providers: really there, really used; never a silent fallback."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest

from bnfold.errors import ProviderUnavailable, UsageError
from bnfold.results.comparison import Figures, Proof
from bnfold.results.options import VerifyOptions
from bnfold.verifying import compare
from bnfold.verifying.case import Runs
from bnfold.verifying.engines import accelerators
from bnfold.verifying.engines.child import misplaced
from bnfold.verifying.engines.engines import Onnxruntime
from bnfold.verifying.engines.providers import CPU, REPEATS, full_name, required, run_on
from bnfold.verifying.selftest_networks import Recipe, pair

from ..sides import side, verdict

CUDA = "CUDAExecutionProvider"
HAS_CUDA = CUDA in onnxruntime.get_available_providers()
HAS_AZURE = "AzureExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime has heard of and what it has, whatever the lists of the installed version say."""
    names = (CPU, CUDA, "TensorrtExecutionProvider", "CoreMLExecutionProvider", "AbacusExecutionProvider")
    monkeypatch.setattr(onnxruntime, "get_all_providers", lambda: list(names))
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CPU])


@pytest.mark.usefixtures("known")
@pytest.mark.parametrize(
    ("name", "full"),
    [
        ("cpu", CPU),
        ("CPU", CPU),
        ("cuda", CUDA),
        (CUDA, CUDA),
        ("TensorRT", "TensorrtExecutionProvider"),
        ("coreml", "CoreMLExecutionProvider"),
        ("abacus", "AbacusExecutionProvider"),
    ],
)
def test_short_names(name: str, full: str) -> None:
    assert full_name(name) == full


def test_a_name_that_onnxruntime_never_heard_of_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="nosuch"):
        verdict(Recipe(0, 1), providers=("nosuch",))


@pytest.mark.usefixtures("known")
def test_a_missing_provider_is_an_error_before_anything_runs() -> None:
    with pytest.raises(ProviderUnavailable, match="AbacusExecutionProvider is not available") as caught:
        verdict(Recipe(0, 1), providers=("cpu", "abacus"))
    assert caught.value.exit_code == 5
    assert caught.value.way_out == "install the build of onnxruntime that has it"
    assert required(()) == [CPU]


@pytest.mark.skipif(
    not HAS_AZURE, reason="this build of onnxruntime has no provider that leaves every node to the CPU"
)
def test_a_provider_that_runs_nothing_is_an_error() -> None:
    with pytest.raises(ProviderUnavailable, match="left to CPUExecutionProvider"):
        verdict(Recipe(0, 2), providers=("azure",))


def test_a_process_of_its_own_gives_the_same_values() -> None:
    reference, candidate = (side(model) for model in pair(Recipe(1, 2)))
    feeds = [
        {"x": np.random.default_rng(i).standard_normal((1, 3, 8, 8)).astype(np.float32)} for i in range(2)
    ]
    found = run_on(CPU, reference, candidate, feeds, feeds)
    assert len(found.references) == len(found.candidates) == 2
    assert len(found.repeats) == REPEATS - 1
    assert all(
        np.array_equal(found.references[i]["y"], repeat[i]["y"]) for repeat in found.repeats for i in range(2)
    )
    assert not np.array_equal(found.references[0]["y"], found.references[1]["y"])
    assert min(found.seconds) > 0


def event(op: str, provider: str) -> dict[str, object]:
    return {"cat": "Node", "args": {"op_name": op, "provider": provider}}


@pytest.mark.parametrize(
    ("events", "said"),
    [
        ([event("Conv", CUDA), event("Shape", CPU)], ""),
        ([event("Conv", CUDA), event("Conv", CPU)], "1 runs of Conv"),
        ([event("Relu", CPU)], "no node ran on it"),
        ([{"cat": "Session", "args": {}}], ""),
    ],
)
def test_a_profile_tells_where_nodes_ran(events: list[dict[str, object]], said: str) -> None:
    assert said in misplaced(events, CUDA)
    assert bool(misplaced(events, CUDA)) == bool(said)


@pytest.mark.skipif(
    not HAS_CUDA, reason="there is no CUDA in this build of onnxruntime or no GPU on this machine"
)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_cuda(dtype: str, rank: int) -> None:
    reference, candidate = pair(Recipe(1, 5, rank, dtype=dtype))
    found = compare(side(reference), side(candidate), VerifyOptions(providers=("cpu", "cuda")))
    assert found, found.reason
    cuda = found.providers[1]
    assert cuda.provider == "cuda"
    assert None not in (cuda.spread, cuda.provider_error, cuda.tf32_error)
    wrong = compare(
        side(reference),
        side(pair(Recipe(1, 5, rank, dtype=dtype), "dropped bias")[1]),
        VerifyOptions(providers=("cuda",)),
    )
    assert not wrong


def test_a_proved_candidate_that_fails_on_a_provider_alone_is_not_blamed() -> None:
    wrong = Figures(
        value="y",
        shape=(1,),
        dtype="float",
        magnitude=1.0,
        reference_error=0.0,
        candidate_error=1.0,
        reference_rms=0.0,
        candidate_rms=1.0,
        noise=9.0,
        roundings=9.0,
        passed=False,
        reason="noise 9 is over the limit of 4",
    )
    runs = Runs(Onnxruntime(), proof=Proof())
    assert accelerators._blamed(wrong, runs).reason.startswith(f"{wrong.reason}; every difference")
    assert accelerators._blamed(wrong, Runs(Onnxruntime())) == wrong
