"""One fuzzing process: `python -m tests.fuzz.worker TARGET FOLDER --seconds N --runs N --engine
atheris|plain`.

    atheris   coverage guides: libFuzzer keeps inputs that reach new code, the target's mutator and
              libFuzzer's own take turns
    plain     where atheris is not installed: the seeds and mutations of them, in an order that the seed
              decides

A finding does not stop it: it is written down once (FOLDER/findings/<hash>.bin and .txt), the search goes on.
What ends the process itself, a crash of native code or a hang in it, is for __main__.py, which starts the
next one.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import pkgutil
import random
import resource
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MOST_BYTES = 1 << 14
ADDRESSES = 6 << 30  # no case may ask for more than this, whatever it touches
NATIVE_HANG = 60


def main() -> None:
    """Parse the command line and run one engine."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("target")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seconds", type=int, default=0)
    parser.add_argument("--runs", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--engine", choices=("atheris", "plain"), default="atheris" if has_atheris() else "plain"
    )
    given = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_DATA, (ADDRESSES, ADDRESSES))
    with imported(given.engine):
        from .contract import run
        from .targets import TARGETS
    target = TARGETS[given.target]
    session = Session(target, given.folder, run)
    session.warm_up()
    (_atheris if given.engine == "atheris" else _plain)(session, given)


def has_atheris() -> bool:
    """Is the coverage-guided engine installed?"""
    return importlib.util.find_spec("atheris") is not None


@contextlib.contextmanager
def imported(engine: str) -> Iterator[None]:
    """Everything of bnfold is imported here, so that nothing is imported (and all of it measured) while
    fuzzing."""
    context = contextlib.nullcontext()
    if engine == "atheris":
        import atheris

        context = atheris.instrument_imports(include=["bnfold"], enable_loader_override=False)
    with context:
        import bnfold

        for found in pkgutil.walk_packages(bnfold.__path__, "bnfold."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
        yield


class Session:
    """What happens to one input, counted and written down."""

    def __init__(self, target: Any, folder: Path, run: Callable[..., Any]) -> None:
        self.target = target
        self.run = run
        self.findings = folder / "findings"
        self.corpus = folder / "corpus"
        self.log = folder / "runs.json"
        for place in (self.findings, self.corpus):
            place.mkdir(parents=True, exist_ok=True)
        shared_memory = Path("/dev/shm")
        self.case = Path(
            tempfile.mkdtemp(prefix="bnfold-fuzz-", dir=shared_memory if shared_memory.is_dir() else None)
        )
        self.runs, self.seen, self.started = 0, {}, time.time()

    def __call__(self, data: bytes) -> None:
        """Judge one input."""
        found = self.run(self.target.read, data, self.case)
        self.runs += 1
        if found is not None:
            self.seen[found.key] = self.seen.get(found.key, 0) + 1
            place = self.findings / hashlib.sha256(found.key.encode()).hexdigest()[:12]
            if not place.with_suffix(".bin").exists() or len(data) < place.with_suffix(".bin").stat().st_size:
                place.with_suffix(".bin").write_bytes(data)
                place.with_suffix(".txt").write_text(
                    f"{found.key}\n{found.text}\n", errors="backslashreplace"
                )
        if self.runs % 256 == 0:
            self.save()

    def save(self) -> None:
        """How far it came, for the sum and for whoever watches."""
        self.log.write_text(
            json.dumps(
                {"runs": self.runs, "seconds": round(time.time() - self.started), "findings": self.seen}
            )
        )

    def warm_up(self) -> None:
        """All seeds go into the corpus, and once through the target: what is imported and cached then is not
        a case's own."""
        for data in self.target.seeds():
            (self.corpus / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
            with contextlib.suppress(Exception):
                self.run(self.target.read, data, self.case)
        self.started = time.time()

    def mutated(self, data: bytes, seed: int) -> bytes:
        """The target's own mutation of an input."""
        return self.target.mutate(data, random.Random(seed), self.target.words() or (b"x",))[:MOST_BYTES]

    def close(self) -> None:
        """Tidy up."""
        self.save()
        os.chdir("/")
        with contextlib.suppress(OSError):
            self.case.rmdir()


def _plain(session: Session, given: argparse.Namespace) -> None:
    """Seeds, and mutations of seeds and of earlier mutations; no coverage, so the same seed gives the same
    inputs."""
    chance = random.Random(given.seed)
    pool = [path.read_bytes() for path in sorted(session.corpus.iterdir())]
    for data in list(pool):
        session(data)
    while (not given.runs or session.runs < given.runs) and (
        not given.seconds or time.time() - session.started < given.seconds
    ):
        data = session.mutated(chance.choice(pool), chance.getrandbits(32))
        session(data)
        if chance.random() < 0.05:
            pool[chance.randrange(len(pool))] = data
    session.close()


def _atheris(session: Session, given: argparse.Namespace) -> None:
    """libFuzzer in this process, which it ends."""
    import atexit

    import atheris

    def mutator(data: bytes, most: int, seed: int) -> bytes:
        if seed % 4 == 0:
            return bytes(atheris.Mutate(data, most))
        return session.mutated(data, seed)[:most]

    def once(data: bytes) -> None:
        session(data)

    words = session.corpus.parent / "words.txt"
    words.write_text("".join(f'"{_escaped(word)}"\n' for word in session.target.words() or (b"0",)))
    options = [
        f"-max_len={MOST_BYTES}",
        f"-seed={given.seed}",
        f"-timeout={NATIVE_HANG}",
        "-rss_limit_mb=0",
        "-print_final_stats=1",
        f"-artifact_prefix={session.findings}/",
        f"-dict={words}",
        "-reload=0",
    ]
    options += [f"-max_total_time={given.seconds}"] if given.seconds else []
    options += [f"-runs={given.runs}"] if given.runs else []
    atexit.register(session.close)
    atheris.Setup([sys.argv[0], *options, str(session.corpus)], once, custom_mutator=mutator)
    atheris.Fuzz()


def _escaped(word: bytes) -> str:
    """A word as libFuzzer's dictionaries have it."""
    return "".join(chr(c) if chr(c).isalnum() else f"\\x{c:02x}" for c in word)


if __name__ == "__main__":
    main()
