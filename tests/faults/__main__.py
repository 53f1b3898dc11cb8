"""`python -m tests.faults --kills 200 --disks 40`: as many faults as wanted, and how the runs ended."""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

from .running import Disk, digits
from .sweeps import KINDS, Kills, fill, sizes, tell


def main() -> None:
    """Kill, fill, and tell; an assertion ends it at the first fault."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=__doc__)
    parser.add_argument("--kills", type=int, default=0, help="killed runs of each kind")
    parser.add_argument("--disks", type=int, default=0, help="sizes of disks, for a fold and a batch")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for kind in KINDS if given.kills else ():
            kills = Kills(kind, Path(folder, kind))
            kills.run(given.kills, given.seed)
            tell(
                f"{kind}: {given.kills} kills, {dict(kills.met)}, hidden folders behind {kills.left} of them"
            )
        if given.disks:
            _disks(Path(folder), given.disks)


def _disks(folder: Path, count: int) -> None:
    source, disk = digits(folder), Disk(folder, 0)
    for kind in ("fold", "batch"):
        codes = [
            fill(
                disk,
                size,
                lambda place: (
                    ("batch", source, "-o", place / "out", "--jobs", 1)
                    if kind == "batch"  # noqa: B023 - called in this round of the loop
                    else ("fold", source, "-o", place / "out.onnx", "--json", place / "r.json")
                ),
                {},
            )[0]
            for size in sizes(4 << 10, 260 << 10, count)
        ]
        tell(
            f"{kind}: {len(codes)} sizes of disks, {codes.count(3)} too small, {codes.count(0)} large enough"
        )


if __name__ == "__main__":
    main()
