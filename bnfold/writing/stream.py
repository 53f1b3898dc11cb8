"""The blocks of a file in order, the next ones computed while the last one is written.

Scaling weights is numpy work and writing is the kernel's; both release the interpreter lock. One worker
computes a bounded number of blocks ahead, so memory stays flat and two cores are enough to hide one behind
the other.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from threading import Event, Thread

from ..ir import tensor
from .layout import Piece

_AHEAD = 32
_THREAD_FROM = 1 << 22  # bytes: a thread for less costs more than it saves


def streamed(pieces: list[Piece]) -> Iterator[bytes | memoryview]:
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


def _blocks(pieces: list[Piece]) -> Iterator[bytes | memoryview]:
    for piece in pieces:
        if isinstance(piece, bytes):
            yield piece
        else:
            yield from piece.blocks()


def _produce(
    pieces: list[Piece], queue: Queue[bytes | memoryview | BaseException | None], stop: Event
) -> None:
    try:
        for block in _blocks(pieces):
            if stop.is_set():
                return
            queue.put(block)
        queue.put(None)
    except BaseException as error:  # carried to the thread that writes
        queue.put(error)
