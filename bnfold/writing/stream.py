"""The blocks of a file in order, the next ones computed while the last one is written.

Scaling weights is numpy work and writing is the kernel's; both release the interpreter lock. A few workers take turns at the tensors that
are to be computed, each a bounded number of blocks ahead, so that memory stays flat whatever the model's size.
"""

from __future__ import annotations

from collections.abc import Iterator
from queue import Queue
from threading import Event, Thread

from .. import tensor
from .layout import Piece

_WORKERS = 2  # and the thread that writes
_AHEAD = 32  # blocks, for each worker
_THREAD_FROM = 1 << 22  # bytes: threads for less cost more than they save
_Item = memoryview | BaseException | None  # a block, what went wrong, the end of a tensor


def streamed(pieces: list[Piece]) -> Iterator[bytes | memoryview]:
    """Every block of every piece. An error in a tensor's recipe is raised here."""
    recipes = [piece for piece in pieces if isinstance(piece, tensor.Recipe)]
    if sum(recipe.nbytes for recipe in recipes) < _THREAD_FROM:
        for piece in pieces:
            yield from _blocks(piece)
        return
    workers = [_Worker(recipes[turn::_WORKERS]) for turn in range(_WORKERS)]
    turn = 0
    try:
        for piece in pieces:
            if isinstance(piece, tensor.Recipe):
                yield from workers[turn % _WORKERS].next_tensor()
                turn += 1
            else:
                yield from _blocks(piece)
    finally:
        for worker in workers:
            worker.close()


def _blocks(piece: Piece) -> Iterator[bytes | memoryview]:
    if isinstance(piece, bytes):
        yield piece
    else:
        yield from piece.blocks()


class _Worker:
    """One thread that computes tensors in order, ahead of whoever writes them."""

    def __init__(self, recipes: list[tensor.Recipe]) -> None:
        self._recipes = recipes
        self._queue: Queue[_Item] = Queue(_AHEAD)
        self._stop = Event()
        self._thread = Thread(target=self._run, daemon=True)
        self._thread.start()

    def next_tensor(self) -> Iterator[memoryview]:
        """The blocks of the next of its tensors."""
        while (item := self._queue.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item

    def close(self) -> None:
        """End the thread, wherever it is."""
        self._stop.set()
        while self._thread.is_alive():  # one that waits for room in the queue must find some
            while not self._queue.empty():
                self._queue.get_nowait()
            self._thread.join(0.01)

    def _run(self) -> None:
        try:
            for recipe in self._recipes:
                for block in recipe.blocks():
                    if self._stop.is_set():
                        return
                    self._queue.put(block)
                self._queue.put(None)
        except BaseException as error:  # carried to the thread that writes
            self._queue.put(error)
