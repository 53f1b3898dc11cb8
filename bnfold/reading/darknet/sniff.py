"""Does this content look like a darknet cfg? Light, so that asking costs nothing."""

from __future__ import annotations

import re

_BLANKS = bytes.maketrans(b"", b"")
_HEADER = re.compile(rb"\[[A-Za-z_0-9]+\]")


def sniff(head: bytes) -> bool:
    """True when the first line that is neither blank nor a comment is a section header, as darknet reads it.

    `head` is the beginning of a file; a cut last line does no harm as long as one header fits.
    """
    for line in head.removeprefix(b"\xef\xbb\xbf").splitlines():
        text = line.translate(_BLANKS, b" \t\r")
        if text and text[:1] not in b"#;":
            return _HEADER.fullmatch(text) is not None
    return False
