"""The blocks of a file in order, the next ones computed while the last one is written; and the file.

Scaling weights is numpy work and writing is the kernel's; both release the interpreter lock. One worker
computes a bounded number of blocks ahead, so memory stays flat and two cores are enough to hide one behind
the other.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import BinaryIO, Protocol

from ..files import atomic
from ..ir import tensor
from .layout import Piece

_AHEAD = 32
_THREAD_FROM = 1 << 22  # bytes: a thread for less costs more than it saves


class _Digest(Protocol):
    def update(self, data: bytes | memoryview, /) -> None: ...


def write_pieces(pieces: Sequence[Piece], path: Path, target: Path, digest: _Digest | None = None) -> None:
    """Write the pieces to a new file in the stage of the target, and sync it."""
    with atomic.failing(target), path.open("xb", buffering=0) as file:
        _fill(file, pieces, digest)
        os.fsync(file.fileno())


def _fill(file: BinaryIO, pieces: Sequence[Piece], digest: _Digest | None) -> None:
    for block in streamed(pieces):
        if digest is not None:
            digest.update(block)
        rest = memoryview(block)
        while rest:
            rest = rest[file.write(rest) :]


def streamed(pieces: Sequence[Piece]) -> Iterator[bytes | memoryview]:
    """Every block of every piece. An error in a tensor's recipe is raised here."""
    if sum(p.nbytes for p in pieces if isinstance(p, tensor.Recipe)) < _THREAD_FROM:
        yield from _blocks(pieces)
        return
    queue: Queue[bytes | memoryview | BaseException | None] = Queue(_AHEAD)
    stop = Event()
    worker = Thread(target=_produce, args=(pieces, queue, stop), daemon=True)
    worker.start()
    try:
        while (item := queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        while worker.is_alive():  # a producer that waits for room in the queue must find some
            while not queue.empty():
                queue.get_nowait()
            worker.join(0.01)


def _blocks(pieces: Sequence[Piece]) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from piece.blocks()


def _produce(
    pieces: Sequence[Piece], queue: Queue[bytes | memoryview | BaseException | None], stop: Event
) -> None:
    try:
        for block in _blocks(pieces):
            if stop.is_set():
                return
            queue.put(block)
        queue.put(None)
    except BaseException as error:  # carried to the thread that writes
        queue.put(error)
