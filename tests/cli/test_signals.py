"""A signal that asks a run to end: 128 + its number and one sentence, whenever it comes and whatever it interrupts."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnfold.cli.main import run
from bnfold.files.supervision import WHOLE

from ..models import TWO_BLOCKS, saved

ROOT = Path(__file__).resolve().parents[2]
ENDED = {
    signal.SIGINT: f"bnfold: ERROR code=130 interrupted; {WHOLE}",
    signal.SIGTERM: f"bnfold: ERROR code=143 interrupted; {WHOLE}",
}
BEFORE = "interrupted before the run began"


def python(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )


@pytest.mark.parametrize("number", ENDED)
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.08, 0.15, 0.3])
def test_from_the_first_instant_on(tmp_path: Path, delay: float, number: signal.Signals) -> None:
    """`there` is said right before `main`; before that line the interpreter answers, not bnfold."""
    script = "from bnfold.__main__ import main; print('there', flush=True); main()"
    process = python(script, "inspect", saved(tmp_path, TWO_BLOCKS))
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(delay)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    if process.returncode in (0, -number) or (delay == 0 and number == signal.SIGINT and "Traceback" in err):
        return  # it was through already, or had not yet begun
    assert process.returncode == 128 + number, err
    assert err.strip() in (ENDED[number], f"bnfold: ERROR code={128 + number} {BEFORE}")


@pytest.mark.parametrize(
    "interrupted",
    [
        "lock = threading.Lock()\n    try: kill()\n    finally: lock.release()",  # as the import system fails
        "try: kill()\n    except BaseException as error: raise OSError(13, 'closed') from error",
        "try: kill()\n    finally: raise bnfold.Unreadable('cut short')",
    ],
)
@pytest.mark.parametrize("number", ENDED)
def test_what_a_library_makes_of_it_is_a_consequence(
    tmp_path: Path, number: signal.Signals, interrupted: str
) -> None:
    script = f"""
import os, sys, threading
import bnfold
from bnfold import folding
from bnfold.cli.main import run
def kill(): os.kill(os.getpid(), {int(number)})
def fold(*_):
    {interrupted}
folding.fold = fold
sys.exit(run(sys.argv[1:]))
"""
    process = python(script, "inspect", saved(tmp_path, TWO_BLOCKS))
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err.strip()) == (128 + number, ENDED[number])


def test_a_destructor_that_is_interrupted_says_nothing(tmp_path: Path) -> None:
    script = """
import os, sys
from bnfold import folding
from bnfold.cli.main import run
class Last:
    def __del__(self): os.kill(os.getpid(), 15)
usual = folding.fold
def fold(*given):
    Last()
    return usual(*given)
folding.fold = fold
sys.exit(run(sys.argv[1:]))
"""
    process = python(script, "inspect", saved(tmp_path, TWO_BLOCKS))
    _, err = process.communicate(timeout=60)
    assert err.count("\n") == 1
    assert process.returncode in (0, 143)


def test_a_run_that_swallows_the_signal_is_ended_all_the_same(tmp_path: Path) -> None:
    """The process that watches waits for a few seconds, not for ever."""
    script = """
import sys, time
from bnfold.files import supervision
from bnfold.cli.process import _clean
supervision._GRACE = 0.5
def work():
    import signal
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("there", flush=True)
    time.sleep(60)
sys.exit(supervision.guarded(work, _clean))
"""
    process = python(script)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGTERM)
    begun = time.monotonic()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err.strip()) == (143, ENDED[signal.SIGTERM])
    assert time.monotonic() - begun < 10


def test_the_handlers_of_the_caller_are_there_again(tmp_path: Path) -> None:
    before = [signal.getsignal(number) for number in ENDED]
    assert run(["inspect", str(saved(tmp_path, TWO_BLOCKS)), "-q"]) == 0
    assert [signal.getsignal(number) for number in ENDED] == before


def test_a_signal_waits_while_a_module_is_imported(tmp_path: Path) -> None:
    """A native module that begins may not survive an exception."""
    (tmp_path / "slow.py").write_text(
        "import time\nfor _ in range(40):\n    time.sleep(0.01)\nprint('whole', flush=True)\n"
    )
    script = (
        f"import sys, signal, time; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from bnfold.cli.signals import Interrupted, Signals\n"
        "try:\n"
        "    with Signals() as signals:\n"
        "        print('there', flush=True)\n"
        "        import slow\n"
        "        time.sleep(30)\n"
        "except Interrupted:\n"
        "    print(signals.asked, signal.getsignal(signal.SIGALRM) == signal.SIG_DFL)\n"
    )
    process = python(script)
    assert process.stdout is not None
    process.stdout.readline()
    time.sleep(0.1)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=20)
    assert (out.split(), err) == (["whole", "15", "True"], "")
