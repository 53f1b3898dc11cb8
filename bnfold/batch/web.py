"""Web servers, through fsspec's own file system for http(s), with the rules for strangers: redirects are
looked at before they are followed, and listings end.

    file_system(url)   the file system, which knows the rules that are in force

Rule: what a server sends is read in one stream, so that nobody can change the file between two parts of it.
"""

from __future__ import annotations

import html
import re
from functools import partial
from typing import Any
from urllib.parse import urljoin, urlsplit

import aiohttp
from fsspec.implementations.http import HTTPFileSystem

from ..errors import Unreadable
from . import downloads

_LISTING = 1 << 24  # bytes of a page that lists files
_FOLDERS = 10_000  # that a run looks into
_DEPTH = 64  # of folders
_PATIENCE = 60  # seconds in which a server has to send something
_SLOWEST = 120  # seconds for a whole page
_LINK = re.compile(r"""\bhref\s*=\s*["']([^"']+)["']""", re.IGNORECASE)


def file_system(url: str) -> tuple[HTTPFileSystem, str]:
    """The file system of a web address, and the path in it, which is the address."""
    return _Web(other_hosts=downloads.rules().other_hosts), url


class _Web(HTTPFileSystem):  # type: ignore[misc,unused-ignore]  # fsspec has no types
    """fsspec's file system with guarded redirects, whole streams and bounded listings."""

    protocol = ("http", "https")

    def __init__(self, *, other_hosts: bool = False, **options: Any) -> None:
        super().__init__(
            get_client=partial(_session, other_hosts=other_hosts), **{**options, "block_size": 0}
        )
        self._looked_into = 0

    async def _ls(self, url: str, detail: bool = True, **_: Any) -> list[Any]:
        """What a page lists of its own folder; nothing where it is no page. Raises Unreadable where there is
        no end of folders."""
        self._looked_into += 1
        if self._looked_into > _FOLDERS or urlsplit(url).path.count("/") > _DEPTH:
            raise Unreadable(
                f"the server lists folders without end (more than {_FOLDERS:,}, or deeper than {_DEPTH})",
                way_out="name the models themselves",
            )
        found = sorted(_links(url, await self._page(url)))
        if not detail:
            return found
        return [
            {"name": one, "size": None, "type": "directory" if one.endswith("/") else "file"} for one in found
        ]

    async def _page(self, url: str) -> str:
        """The text at an address, "" where it is none, or too long for a listing."""
        session, pieces, size = await self.set_session(), [], 0
        options = {**self.kwargs, "timeout": aiohttp.ClientTimeout(total=_SLOWEST)}
        async with session.get(self.encode_url(url), **options) as answer:
            self._raise_not_found_for_status(answer, url)
            if answer.headers.get("Content-Type", "text/html").partition(";")[0] != "text/html":
                return ""
            async for piece in answer.content.iter_chunked(1 << 16):
                size += len(piece)
                if size > _LISTING:
                    return ""
                pieces.append(piece)
        return b"".join(pieces).decode("utf-8", "ignore")


def _links(url: str, page: str) -> set[str]:
    """The addresses on a page that lie below it."""
    folder = url.partition("?")[0].partition("#")[0].rstrip("/") + "/"
    found = set()
    for match in _LINK.finditer(page):
        try:
            link = urljoin(folder, html.unescape(match[1]).strip())
        except ValueError:  # an address that is none
            continue
        if link.startswith(folder) and link.partition("?")[0].partition("#")[0] != folder:
            found.add(link)
    return found


async def _session(*, other_hosts: bool, **options: Any) -> aiohttp.ClientSession:
    """A session that follows no redirect that the rules forbid, and that waits for no silent server."""
    guard = aiohttp.TraceConfig()
    guard.on_request_redirect.append(partial(_look, other_hosts))
    options["trace_configs"] = [*options.get("trace_configs", ()), guard]
    options.setdefault(
        "timeout", aiohttp.ClientTimeout(total=None, sock_connect=_PATIENCE, sock_read=_PATIENCE)
    )
    return aiohttp.ClientSession(**options)


async def _look(other_hosts: bool, session: object, context: object, redirect: Any) -> None:
    """Where a redirect leads. Raises Unreadable where nobody may go."""
    headers = redirect.response.headers
    target = urljoin(str(redirect.url), headers.get("Location") or headers.get("URI") or "")
    why = downloads.refused(str(redirect.url), target, other_hosts)
    if why:
        parts = urlsplit(target)
        raise Unreadable(f"the server redirects to {parts.scheme}://{parts.hostname or ''}, which {why}")
