"""Findings of one reading, in the order in which they were made; under --strict a warning is an error."""

from __future__ import annotations

from ...errors import Unsupported
from ...results.plan import Finding


class Notes:
    """Collects findings. `strict` turns the first warning into Unsupported."""

    def __init__(self, strict: bool = False) -> None:
        self.strict = strict
        self.findings: list[Finding] = []

    def note(self, code: str, where: object, text: str) -> None:
        """Something worth knowing that is as it should be. Told once per code and net: the first place stands
        for all."""
        if any(f.code == f"darknet.{code}" for f in self.findings):
            return
        self.findings.append(Finding("note", f"darknet.{code}", str(where), text))

    def warn(self, code: str, where: object, text: str) -> None:
        """Something that may not be what the user meant."""
        if self.strict:
            raise Unsupported(text, where=where, way_out="without --strict, this is only a warning")
        self.findings.append(Finding("warning", f"darknet.{code}", str(where), text))
