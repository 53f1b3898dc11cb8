"""What may be downloaded: how much of it, and from whom.

    with under(Downloads(most=1 << 30)): ...      every store asks `rules()` inside
    refused(origin, target, other_hosts)          why one web address may not lead to another
    misnamed(manifest, place, other_hosts)        why a manifest may not name a place

Rule 1: a server that the user names is asked. The servers that it names in turn (by a redirect, by a
        manifest) are not, unless the user allows it. The same host under https counts as the same server.
Rule 2: whatever is allowed, nobody leads from https to http, or from a public address to one of the local
        network.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from ..files.discovery import is_url
from ..files.memory import size_of
from ..records import dataclass

MOST_WORDS = "8 GB"
FOLLOW = "--follow-redirects"
_MOST = size_of(MOST_WORDS) or 0
_FREE = 0.9  # of the free space may be filled
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Downloads:
    """The rules of one run.

    most          bytes that the files of one model may have together; None: 8 GB, or most of what is free on
                  the disk, whichever is less
    other_hosts   may a server name other ones?
    """

    most: int | None = None
    other_hosts: bool = False

    @property
    def bound(self) -> int:
        """Bytes that may be read, wherever they go."""
        return _MOST if self.most is None else self.most

    def room(self, folder: Path) -> int:
        """Bytes that may come into a folder. Raises OSError."""
        return (
            self.bound if self.most is not None else min(_MOST, int(shutil.disk_usage(folder).free * _FREE))
        )


_DEFAULT = Downloads()
_rules: ContextVar[Downloads] = ContextVar("downloads", default=_DEFAULT)


@contextmanager
def under(given: Downloads) -> Iterator[None]:
    """Every download inside keeps to these rules."""
    token = _rules.set(given)
    try:
        yield
    finally:
        _rules.reset(token)


def rules() -> Downloads:
    """The rules that are in force."""
    return _rules.get()


def refused(origin: str, target: str, other_hosts: bool) -> str:
    """Why what lies at `origin` may not name `target`, "" where it may."""
    old, new = urlsplit(origin), urlsplit(target)
    if new.scheme not in _PORTS:
        return "is no web address"
    if (old.scheme, new.scheme) == ("https", "http"):
        return "is not encrypted, as the address before it is"
    if _is_same(old, new):
        return ""
    if not other_hosts:
        return f"is another server (only {FOLLOW} allows that)"
    if _is_local(new) and not _is_local(old):
        return "is in the local network, and the address before it is not"
    return ""


def misnamed(manifest: str, place: str, other_hosts: bool) -> str:
    """Why a manifest may not name a place, "" where it may. One that lies on this machine is its user's, and
    may name anything. One from a server names what that server has, and nothing on this machine."""
    if not is_url(manifest):
        return ""
    if not is_url(place):
        return "is a place on this machine, and the manifest comes from a server"
    old, new = urlsplit(manifest), urlsplit(place)
    if old.scheme in _PORTS:
        return refused(manifest, place, other_hosts)
    if (old.scheme, old.netloc) == (new.scheme, new.netloc) or (other_hosts and new.scheme in _PORTS):
        return ""
    return f"is in another store (only {FOLLOW} allows that, and web addresses alone)"


def _is_same(old: SplitResult, new: SplitResult) -> bool:
    """The same host and port; https on its usual port in place of http on its usual one is the same."""
    if (old.hostname or "") != (new.hostname or ""):
        return False
    ports = [_port(old), _port(new)]
    return ports[0] == ports[1] or ports == [_PORTS["http"], _PORTS["https"]]


def _port(parts: SplitResult) -> int:
    try:
        return parts.port or _PORTS[parts.scheme]
    except ValueError:  # a port that is none
        return -1


def _is_local(parts: SplitResult) -> bool:
    """Does any address of the host belong to no public network? A host without an address counts as local: it
    cannot be told what it is."""
    import ipaddress
    import socket

    try:
        found = socket.getaddrinfo(parts.hostname or "", None)
    except (OSError, UnicodeError):
        return True
    return not all(ipaddress.ip_address(str(one[4][0]).partition("%")[0]).is_global for one in found)
