"""Source: where a node came from, to text and back.

    deploy.prototxt:14 conv1 (Convolution)       Caffe: line of the layer, its name and type
    yolov4.cfg:31 [convolutional] #12            darknet: line of the section, its name and index
    model.onnx#17 conv1 (Conv)                   ONNX: index of the node, its name and operator

The text travels in node metadata_props under SOURCE_KEY; what was folded into a node travels under
FOLDED_KEY, and that it lost channels under SLIMMED_KEY.
"""

from __future__ import annotations

import re

from ..records import dataclass

SOURCE_KEY = "bnfold.source"
FOLDED_KEY = "bnfold.folded"
SLIMMED_KEY = "bnfold.slimmed"
BAKED_KEY = "bnfold.baked"  # a node of preprocessing that was made a part of the network, and which one
DECODING_KEY = "bnfold.decoding"  # in node.meta: a reader decodes detections by it, no layer of the user's


@dataclass(frozen=True)
class Source:
    """A place in a source file. `line` and `column` count from 1, `index` from 0."""

    file: str
    line: int | None = None
    column: int | None = None
    index: int | None = None
    name: str = ""
    type: str = ""

    def __str__(self) -> str:
        """One text that UTF-8 can hold: a file name may carry bytes that no encoding knows, and protobuf
        takes UTF-8 alone."""
        return self._text().encode("utf-8", "backslashreplace").decode()

    def _text(self) -> str:
        place = ":".join(str(part) for part in (self.file, self.line, self.column) if part is not None)
        if self.line is None:
            number = f"#{self.index}" if self.index is not None else ""
            return f"{place}{number}{self._label()}"
        if self.index is not None:
            return f"{place} [{self.type}] #{self.index}"
        return f"{place}{self._label()}"

    def _label(self) -> str:
        name = f" {self.name}" if self.name else ""
        return f"{name} ({self.type})" if self.type else name


_DARKNET = re.compile(
    r"(?P<file>.*?):(?P<line>\d{1,9})(?::(?P<column>\d{1,9}))? \[(?P<type>[^\[\]]*)\] #(?P<index>\d{1,9})",
    re.S,
)
_ONNX = re.compile(r"(?P<file>.*?)#(?P<index>\d{1,9})(?: (?P<name>.*?))??(?: \((?P<type>[^()]*)\))?", re.S)
_CAFFE = re.compile(
    r"(?P<file>.*?):(?P<line>\d{1,9})(?::(?P<column>\d{1,9}))?(?: (?P<name>.*?))??(?: \((?P<type>[^()]*)\))?",
    re.S,
)


def parse(text: str) -> Source:
    """The Source that `str()` wrote; a text of any other form becomes the file of a Source without more.

    A name may look like another form's mark (`model.onnx#17 conv1:0 (Conv)`), so the form whose mark comes
    first is meant.
    """
    matches = [match for form in (_DARKNET, _CAFFE, _ONNX) if (match := form.fullmatch(text))]
    if not matches:
        return Source(text)
    parts = min(matches, key=lambda match: len(match["file"])).groupdict()
    numbers = {key: int(parts[key]) if parts.get(key) else None for key in ("line", "column", "index")}
    return Source(parts["file"], **numbers, name=parts.get("name") or "", type=parts.get("type") or "")
