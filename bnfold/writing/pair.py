"""Writing a model in its own format, of text and weights: both files get their names together, or neither.

    with write_pair(model, pair, network, weights) as written:
        ... read written.path and written.weights again ...
        written.commit()

Rule 1: the text and every byte of the weights that folding did not touch are the user's.
Rule 2: what cannot be written is refused before anything is.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from ..errors import Unsupported
from ..files import atomic
from ..ir.graph import ir
from ..results.pair import CaffePair, DarknetPair, Pair
from . import caffe, darknet, layout
from .stream import write_pieces


class WrittenPair:
    """A finished pair in stages beside its targets. `path` and `weights` are where it lies now, `target` and
    `data` its final names, `size` all bytes written."""

    def __init__(
        self, network: atomic.Stage, weights: atomic.Stage, data: Path, *, size: int, companions: list[Path]
    ) -> None:
        self.path, self.weights = network.path(), weights.path(data.name)
        self.target, self.data = network.target, data
        self.size = size
        self._beside = [(path, self.target.with_name(path.name)) for path in companions]
        self._stages = {stage.folder: stage for stage in (network, weights)}

    def commit(self) -> Path:
        """Give both files their names. Raises WriteError."""
        stage = next(iter(self._stages.values()))
        missing = [(path, name) for path, name in self._beside if not name.exists()]
        stage.commit_together([*missing, (self.weights, self.data), (self.path, self.target)])
        self.discard()
        return self.target

    def discard(self) -> None:
        """Remove what was written. Harmless after a commit."""
        for stage in self._stages.values():
            stage.close()

    def __enter__(self) -> WrittenPair:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.discard()


def write_pair(model: ir.Model, pair: Pair, network: Path, weights: Path) -> WrittenPair:
    """Write a folded model under temporary names beside `network` and `weights`. Raises WriteError where a
    target cannot be written, Unsupported where a caffemodel would be larger than protobuf allows."""
    text_target, data = atomic.place(network), atomic.place(weights)
    text, pieces = _files(model, pair)
    _check_size(pair, layout.size(pieces))
    with ExitStack() as stack:
        stage = stack.enter_context(atomic.Stage(text_target))
        apart = data.parent != text_target.parent
        beside = stack.enter_context(atomic.Stage(data)) if apart else stage
        write_pieces([text], stage.path(), text_target)
        write_pieces(pieces, beside.path(data.name), data)
        companions = list(_companions(pair, stage))
        stack.pop_all()
    size = len(text) + layout.size(pieces)
    return WrittenPair(stage, beside, data, size=size, companions=companions)


def _companions(pair: Pair, stage: atomic.Stage) -> Iterator[Path]:
    """Further files that the text names, under their own names beside it, where it finds them."""
    for path in pair.companions if isinstance(pair, DarknetPair) else ():
        copy = stage.path(path.name)
        write_pieces([path.read_bytes()], copy, stage.target)
        yield copy


def _files(model: ir.Model, pair: Pair) -> tuple[bytes, list[layout.Piece]]:
    if isinstance(pair, CaffePair):
        return caffe.files(model, pair)
    assert isinstance(pair, DarknetPair)
    return darknet.files(model, pair)


def _check_size(pair: Pair, size: int) -> None:
    if isinstance(pair, CaffePair) and size > layout.LIMIT:
        raise Unsupported(
            f"the caffemodel would have {size:,} bytes, and protobuf takes at most {layout.LIMIT:,}",
            way_out="an output that ends in .onnx takes its weights in a file beside it",
        )
