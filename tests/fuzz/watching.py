"""What a case may not do, seen through Python's audit events: touch files outside its folder, start
processes, open sockets, run code.

Late imports read and run library code; that is told apart by its place. What native libraries open themselves
(HDF5) is not seen here.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FORBIDDEN = (
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.fork",
    "os.posix_spawn",
    "socket.connect",
    "socket.bind",
    "pickle.find_class",
    "ctypes.dlopen",
    "webbrowser.open",
)
CHANGING = {
    "os.remove",
    "os.rename",
    "os.mkdir",
    "os.rmdir",
    "os.link",
    "os.symlink",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "shutil.rmtree",
}
LIBRARIES = tuple(
    {str(Path(place).resolve()) for place in (sys.prefix, sys.base_prefix, Path(__file__).parents[2])}
)
SYSTEM = ("/proc/", "/sys/", "/dev/null", "/dev/urandom", "/usr/share/zoneinfo")


class _Watch:
    """The hook, which Python never removes: it is made once, and does nothing outside of a case."""

    def __init__(self) -> None:
        self.folder: str | None = None
        self.breaches: list[str] = []
        self.installed = False

    def install(self) -> None:
        """Hook into the interpreter, once."""
        if not self.installed:
            sys.addaudithook(self)
            self.installed = True

    def __call__(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.folder is None:
            return
        if event == "open":
            self._opened(*arguments)
        elif event in CHANGING:
            places = (
                arguments[1:2] if event == "os.symlink" else arguments[:2]
            )  # where a link leads is not touched
            self.breaches += [
                f"{event} of {path}"
                for path in places
                if isinstance(path, (str, bytes)) and not self._inside(path)
            ]
        elif event.startswith(FORBIDDEN):
            self.breaches.append(f"{event}{arguments[:1]}")
        elif event == "exec" and not str(arguments[0].co_filename).startswith(
            (*LIBRARIES, "<frozen", "<string>")
        ):
            self.breaches.append(f"runs code of {arguments[0].co_filename}")

    def _opened(self, path: Any, mode: str | None, flags: int) -> None:
        if not isinstance(path, (str, bytes)) or self._inside(path):
            return
        writes = (
            bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT))
            if mode is None
            else not set(mode) <= set("rbt")
        )
        if writes or not os.fsdecode(path).startswith((*LIBRARIES, *SYSTEM)):
            self.breaches.append(f"opens {os.fsdecode(path)} to {'write' if writes else 'read'}")

    def _inside(self, path: str | bytes) -> bool:
        name = os.fsdecode(path)
        place = os.path.realpath(Path(name).parent) + os.sep + Path(name).name if "\0" not in name else ""
        return self.folder is not None and (place == self.folder or place.startswith(self.folder + os.sep))


_WATCH = _Watch()


@contextmanager
def watched(folder: Path) -> Iterator[list[str]]:
    """While this is open, the list collects what must not happen outside `folder`."""
    _WATCH.install()
    breaches = _WATCH.breaches = []
    _WATCH.folder = os.path.realpath(folder)
    try:
        yield breaches
    finally:
        _WATCH.folder = None
