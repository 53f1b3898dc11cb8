"""How a rule says why an affine node stays. The codes and their meaning stand in results/kept_reasons.py."""

from __future__ import annotations

from typing import Self

from ..results.kept_reasons import CODES


class Refused(Exception):
    """A rule declines: `code` is a row of CODES, `words` say what was met."""

    def __init__(self, code: str, words: str = "") -> None:
        assert code in CODES, code
        self.code = code
        self.words = words or CODES[code]
        super().__init__(self.words)

    def again(self) -> Self:
        """The same refusal, raised by nobody yet. Whoever remembers one keeps this: what was raised knows the
        frames that it went through, and they know all that was at hand there."""
        return type(self)(self.code, self.words)


class Closed(Refused):
    """A place declines whatever the map is, so that it need not be asked again."""
