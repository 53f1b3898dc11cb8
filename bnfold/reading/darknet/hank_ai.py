"""What is peculiar to hank-ai's darknet: it stops at what it does not know, and reads some lines otherwise.

    check         under --dialect hank-ai: what its code would stop at, in its order
    differences   where the dialect was chosen unasked: the lines whose meaning is another one in its code

It goes on from AlexeyAB's; what it no longer has stands in two tables here. Facts from its commit f684e1d
(src-lib/darknet_cfg.cpp, darknet_enums.cpp).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from ...errors import BnfoldError, Malformed, Unsupported, blamed_on
from ...ir.provenance import Source
from ...records import dataclass
from .activations import ACTIVATIONS, meant
from .cfg import Option, Section, entries
from .dialects import Fork
from .findings import Notes
from .ignored_options import ignored
from .schema import SECTIONS, Row, find, value_of
from .spelling import likely
from .syntax import HANK_AI, Syntax, atoi

GONE_SECTIONS = (
    "activation batchnorm conv_lstm crop detection empty gru history implicit local normalization reorg yolo4"
)
GONE_OPTIONS = {
    "net": "max_crop min_crop unsupervised",
    "yolo": "beta1 show_details uc_normalizer",
    "Gaussian_yolo": "beta1",
}
POLICIES = {  # options of [net] that are read under some policies alone
    "step": ("step", "sigmoid"),
    "scale": ("step",),
    "steps": ("steps", "sgdr"),
    "scales": ("steps", "sgdr"),
    "seq_scales": ("steps", "sgdr"),
    "gamma": ("exp", "sigmoid"),
}
ADAM = ("B1", "B2", "eps")  # options of [net] that are read with adam=1 alone
EVERY_LAYER = ("dontload", "dontloadscales")
UNFIT = {"scale_channels": ("swish", "mish"), "sam": ("swish", "mish")}  # activations that a section refuses
STEP = 32  # pixels; the input of a detector is a multiple of it
SHOWN = 4  # numbers of a list that differs
ANOTHER_FORK = "read it in another way with --dialect alexeyab"


@dataclass(frozen=True)
class Difference:
    """An option whose value is another one in hank-ai's darknet; both as a message shows them."""

    where: Source
    key: str
    value: str
    theirs: str


def check(sections: Sequence[Section], file: str, notes: Notes, *, silu: bool) -> None:
    """Raises what hank-ai's darknet would stop at: Unsupported for a section, Malformed for an activation or
    for an option that it does not read. `silu`: the user said what that activation is. An input of another
    size than its detectors take has a warning, for sizes may be asked for elsewhere."""
    for section in sections:
        where = Source(file, section.line, type=section.name[:40])
        row = SECTIONS["net"] if section is sections[0] else find(section, where)
        if row.name in GONE_SECTIONS.split() or Fork.ALEXEYAB not in row.forks:
            raise Unsupported(
                f"hank-ai's darknet has no section [{section.name}]",
                where=where,
                way_out=f"--dialect {row.forks[-1]} reads it as the fork that has it",
            )
        _check_activation(section, row, file, silu)
        for key, option in section.options.items():
            if option.text is not None and not _reads(section, row, key):
                hint = [f"did it mean '{near}'?" for near in likely(key, row.parameters)]
                raise Malformed(
                    f"hank-ai's darknet reads no '{key[:60]}' in [{section.name}], and stops",
                    where=Source(file, option.line),
                    way_out="; ".join([*hint, f"take the line out, or {ANOTHER_FORK}"]),
                )
    _warn_of_size(sections, file, notes)


def _warn_of_size(sections: Sequence[Section], file: str, notes: Notes) -> None:
    if sections[-1].name not in ("yolo", "region"):
        return
    for key in ("width", "height"):
        size = sections[0].options.get(key)
        if not size or not size.text:
            continue
        where = Source(file, size.line)
        with blamed_on(where):
            fits = atoi(size.text)[0] % STEP == 0
        if not fits:
            notes.warn(
                "size",
                where,
                f"{key}={size.text}: hank-ai's darknet stops at a detector whose input is no multiple of "
                f"{STEP}",
            )


def _check_activation(section: Section, row: Row, file: str, silu: bool) -> None:
    option = section.options.get("activation")
    name = option.text if option and "activation" in row.parameters else None
    if option is None or name is None or (name == "silu" and silu):
        return
    if name not in ACTIVATIONS or name in UNFIT.get(row.name, ()):
        raise Malformed(
            f"hank-ai's darknet has no activation '{name[:60]}' in [{section.name}], and stops",
            where=Source(file, option.line),
            way_out="; ".join([*meant(name), ANOTHER_FORK]),
        )


def _reads(section: Section, row: Row, key: str) -> bool:
    """Does its code look at this option of this section?"""
    if key in GONE_OPTIONS.get(row.name, "").split():
        return False
    if row.name == "net":
        if key in POLICIES:
            return _text(section, "policy", "constant") in POLICIES[key]
        if key in ADAM:
            return _text(section, "adam", "0").strip("0.") != ""
    if key in EVERY_LAYER and row.name != "net":
        return True
    known = row.parameters.get(key) or ignored(row.name, key)
    return known is not None and known.fork is not Fork.PJREDDIE


def _text(section: Section, key: str, default: str) -> str:
    option = section.options.get(key)
    return default if option is None or option.text is None else option.text


def differences(data: bytes, sections: Sequence[Section], syntax: Syntax, file: str) -> Iterator[Difference]:
    """The options that matter and that mean something else in hank-ai's darknet, lines that it stops at left
    out. `sections` are those of the cfg `data`, as `syntax` has them."""
    theirs = {line: entry.value for line, entry in entries(data, file, HANK_AI)}
    for section in sections:
        row = SECTIONS.get(section.name)
        for key, option in section.options.items() if row else ():
            parameter = row.parameters.get(key) if row else None
            if parameter is None or option.text is None:
                continue
            where = Source(file, option.line)
            mine = _value(parameter.kind, option.text, syntax, where)
            text = theirs.get(option.line)
            if text is None:
                yield Difference(where, key, _shown(mine, None), "nothing")
            elif (read := _value(parameter.kind, text, HANK_AI, where)) not in (None, mine):
                yield Difference(where, key, _shown(mine, read), _shown(read, mine))


def _value(kind: str, text: str, syntax: Syntax, where: Source) -> Any:
    """What an option says; None where it is an error."""
    try:
        return value_of(kind, Option(text, where.line or 0), syntax, where, Notes())
    except BnfoldError:
        return None


def _shown(value: Any, other: Any) -> str:
    """A value as a message shows it; of a list the numbers from where it differs from the other one."""
    if value is None:
        return "an error"
    if not isinstance(value, list):
        return f"'{value[:60]}'" if isinstance(value, str) else f"{value:g}"
    other = other if isinstance(other, list) else []
    same = next((at for at, (a, b) in enumerate(zip(value, other, strict=False)) if a != b), 0)
    shown = ",".join(f"{number:g}" for number in value[same : same + SHOWN])
    before, behind = ("... " if same else ""), (" ..." if len(value) > same + SHOWN else "")
    return f"{before}{shown}{behind} ({len(value)} numbers)"
