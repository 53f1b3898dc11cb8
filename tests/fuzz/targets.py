"""The table of targets: what is read, from which seeds, with which words, and how inputs are changed.

A target reads one file as the command line would, and takes what comes of it as far as it goes: the model is
written, read again and held against what it should be. Options (dialect, phase, random weights) follow from
the input, so that an input alone says what happens.
"""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from bnfold.errors import UsageError
from bnfold.results.options import ReadOptions

from . import containers, documents, grammar, result, seeds, text, wire
from .contract import Case

Mutate = Callable[[bytes, random.Random, Sequence[bytes]], bytes]


@dataclass(frozen=True)
class Target:
    """One reader. `words` and `seeds` are functions, because making them imports what they are made of."""

    name: str
    read: Callable[[Case], None]
    seeds: Callable[[], list[bytes]]
    words: Callable[[], tuple[bytes, ...]]
    mutate: Mutate


def _bits(case: Case) -> random.Random:
    """Choices that follow from the input."""
    return random.Random(zlib.crc32(case.data))


def prototxt(case: Case) -> None:
    """A network of Caffe, without weights or with seeded ones."""
    from bnfold.reading.caffe import read

    bits = _bits(case)
    options = ReadOptions(
        random_weights=bits.choice((None, 1, 1, 1)),
        phase=bits.choice(("TEST", "TEST", "TRAIN")),
        strict=bits.random() < 0.1,
        assume_global_stats=bits.random() < 0.2,
    )
    result.built(read(case.file("net.prototxt"), None, options), case)


def caffemodel(case: Case) -> None:
    """Weights of a fixed network of Caffe."""
    from bnfold.reading.caffe import read

    network = case.file("net.prototxt", seeds.FIXED_PROTOTXT.encode())
    result.built(read(network, case.file("net.caffemodel"), ReadOptions()), case)


def prototxt_pair(case: Case) -> None:
    """A network of Caffe, folded in its own format: its text is edited, and must say what was meant."""
    from bnfold.reading.caffe import read_pair

    bits = _bits(case)
    options = ReadOptions(random_weights=1, phase=bits.choice(("TEST", "TEST", "TRAIN")))
    loaded = read_pair(case.file("net.prototxt"), None, options)
    result.edited(loaded, case, lambda path: read_pair(path, None, options))


def caffemodel_pair(case: Case) -> None:
    """Weights of a fixed network of Caffe, folded in their own format and read again."""
    from bnfold.reading.caffe import read_pair

    network = case.file("net.prototxt", seeds.FIXED_PROTOTXT.encode())
    result.paired(read_pair(network, case.file("net.caffemodel"), ReadOptions()), case)


def weights_pair(case: Case) -> None:
    """The same for darknet."""
    from bnfold.reading.darknet import read_pair

    network = case.file("net.cfg", seeds.FIXED_CFG.encode())
    result.paired(read_pair(network, case.file("net.weights"), ReadOptions()), case)


def cfg(case: Case) -> None:
    """A network of darknet with seeded weights."""
    from bnfold.reading.darknet import read

    bits = _bits(case)
    options = ReadOptions(
        random_weights=1,
        heads=bits.choice(("layer", "raw", "boxes")),
        batch=bits.choice((None, 1, 2)),
        dialect=bits.choice(("auto", "auto", "alexeyab", "pjreddie", "pjreddie-cpu")),
    )
    if bits.random() < 0.2:
        options = replace(options, dialect="hank-ai")
    options = replace(options, silu=bits.choice(("swish", "swish", "relu", None)))
    path = case.file("net.cfg")
    try:
        loaded = read(path, None, options)
    except UsageError:  # heads were asked of a network that has none: not the file's fault
        loaded = read(path, None, replace(options, heads="layer"))
    result.built(loaded, case)


def weights(case: Case) -> None:
    """Weights of a fixed network of darknet."""
    from bnfold.reading.darknet import read

    network = case.file("net.cfg", seeds.FIXED_CFG.encode())
    bits = _bits(case)
    options = ReadOptions(allow_partial=bits.random() < 0.3)
    options = replace(options, cut_at=bits.choice(((), (), ("0",), ("1",))))
    result.built(read(network, case.file("net.weights"), options), case)


def onnx_wire(case: Case) -> None:
    """An ONNX file through the wire walker and the door, and no further."""
    from bnfold.reading.onnx.reader import read

    read(case.file("net.onnx"), ReadOptions())


def onnx_fold(case: Case) -> None:
    """An ONNX file read, folded, written, read again; what it computes stays what it was."""
    result.folded(case.file("net.onnx"), case)


def _caffe_words() -> tuple[bytes, ...]:
    from bnfold.reading.caffe import layers  # noqa: F401
    from bnfold.reading.caffe.registry import LAYERS
    from bnfold.reading.caffe.table import ENUMS, MESSAGES

    found = {
        *LAYERS,
        *(name for message in MESSAGES.values() for name in message),
        *(name for enum in ENUMS.values() for name in enum),
    }
    return tuple(word.encode() for word in sorted(found))


def _darknet_words() -> tuple[bytes, ...]:
    from bnfold.reading.darknet import sections  # noqa: F401
    from bnfold.reading.darknet.activations import ACTIVATIONS
    from bnfold.reading.darknet.schema import SECTIONS

    options = {name for row in SECTIONS.values() for name in row.parameters}
    return tuple(
        word.encode()
        for word in (*(f"[{name}]" for name in SECTIONS), *sorted(options), *ACTIVATIONS, *PATHS)
    )


PATHS = ("/etc/hostname", "../net.cfg", "net.cfg", "/dev/zero")


def _onnx_words() -> tuple[bytes, ...]:
    from bnfold.folding.commute import COMMUTES
    from bnfold.folding.linear_operators import LINEAR_OPERATORS
    from bnfold.folding.recognise import READERS
    from bnfold.verifying.truth.kernels import KERNELS

    attributes = (
        "axis",
        "axes",
        "pads",
        "group",
        "epsilon",
        "perm",
        "value",
        "then_branch",
        "body",
        "to",
        "transB",
        "auto_pad",
        "location",
        "offset",
        "length",
        "data_type",
        "net.onnx",
        "../net.onnx",
        "local",
        "ai.onnx.ml",
        "com.microsoft",
    )
    return tuple(
        word.encode() for word in sorted({*COMMUTES, *READERS, *LINEAR_OPERATORS, *KERNELS, *attributes})
    )


def _manifest_words() -> tuple[bytes, ...]:
    from bnfold.cli.manifest import KEYS, OWN

    return tuple(key.encode() for key in (*OWN, *KEYS))


def _drawn(draw: Callable[[random.Random, Sequence[bytes]], bytes]) -> Mutate:
    """A new network each time, whatever was there."""
    return lambda data, chance, words: draw(chance, words)


def _on_the_wire(numbers: Sequence[int]) -> Mutate:
    return lambda data, chance, words: wire.mutated(data, chance, wire.Words(tuple(words), tuple(numbers)))


def _floats(data: bytes, chance: random.Random, words: Sequence[bytes]) -> bytes:
    """Bytes of a weights file: four of them become an odd number, or the end moves."""
    if chance.random() < 0.2:
        return (
            data[: chance.randint(0, len(data))]
            if chance.random() < 0.5
            else data + data[-chance.choice((1, 4, 8)) :]
        )
    at = min(chance.randrange(max(1, len(data) // 4)), chance.choice((8, 1 << 30))) * 4
    return data[:at] + chance.choice(ODD_FLOATS) + data[at + 4 :]


ODD_FLOATS = (
    b"\0\0\0\0",
    b"\0\0\x80\x7f",
    b"\0\0\xc0\x7f",
    b"\0\0\x80\xff",
    b"\xff\xff\x7f\x7f",
    b"\x01\0\0\0",
    b"\0\0\x80\xbf",
    b"\xff\xff\xff\xff",
    b"\0\0\0\x80",
)

TARGETS = {
    target.name: target
    for target in (
        Target("prototxt", prototxt, seeds.prototxts, cache(_caffe_words), text.prototxt),
        Target(
            "caffemodel",
            caffemodel,
            seeds.caffemodels,
            lambda: tuple(name.encode() for name in seeds.BLOBS),
            _on_the_wire((*range(1, 13), 50, 100)),
        ),
        Target("cfg", cfg, seeds.cfgs, cache(_darknet_words), text.cfg),
        Target("weights", weights, seeds.weights, lambda: (), _floats),
        Target("onnx_wire", onnx_wire, seeds.onnx_models, cache(_onnx_words), _on_the_wire((*range(1, 26),))),
        Target("onnx_fold", onnx_fold, seeds.onnx_models, cache(_onnx_words), _on_the_wire((*range(1, 26),))),
        Target("prototxt_pair", prototxt_pair, seeds.prototxts, cache(_caffe_words), text.prototxt),
        Target(
            "caffemodel_pair",
            caffemodel_pair,
            seeds.caffemodels,
            lambda: tuple(name.encode() for name in seeds.BLOBS),
            _on_the_wire((*range(1, 13), 50, 100, 106, 117)),
        ),
        Target("weights_pair", weights_pair, seeds.weights, lambda: (), _floats),
        Target("drawn_prototxt", prototxt, seeds.prototxts, cache(_caffe_words), _drawn(grammar.prototxt)),
        Target("drawn_cfg", cfg, seeds.cfgs, cache(_darknet_words), _drawn(grammar.cfg)),
        Target("drawn_graph", onnx_fold, seeds.onnx_models, cache(_onnx_words), _drawn(grammar.graph)),
        Target(
            "manifest",
            documents.read_manifest,
            documents.manifests,
            cache(_manifest_words),
            documents.manifest,
        ),
        Target("policy", documents.read_policy, documents.policies, lambda: (), documents.policy),
        Target(
            "certificate",
            documents.read_certificate,
            documents.certificates,
            lambda: (),
            documents.certificate,
        ),
        Target("inputs", containers.read_inputs, containers.inputs, lambda: (), containers.given),
        Target("h5", caffemodel, containers.h5_files, lambda: (), containers.h5),
    )
}
