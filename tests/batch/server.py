"""A web server on this machine that a stranger has set up: each path answers as its route says.

    with Server({"/net.onnx": b"..."}) as server:     server.at("net.onnx") is its address

A route is the bytes of a file, or a function that answers a request by hand. A path without a route is not
there. The server remembers what it was asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import TracebackType

Answer = Callable[[BaseHTTPRequestHandler], None]


class Server:
    """Runs from `with` to its end."""

    def __init__(self, routes: Mapping[str, bytes | Answer]) -> None:
        self.routes = dict(routes)
        self.asked: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]

    def at(self, path: str, host: str = "127.0.0.1") -> str:
        """The address of a path."""
        return f"http://{host}:{self.port}/{path.lstrip('/')}"

    def __enter__(self) -> Server:
        Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        server = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                server.asked.append(self.path)
                route = server.routes.get(self.path.partition("?")[0])
                if route is None:
                    self.send_error(404)
                elif callable(route):
                    route(self)
                else:
                    send(self, route)

            def do_HEAD(self) -> None:
                self.do_GET()

        return Handler


def send(
    request: BaseHTTPRequestHandler, data: bytes, *, announced: int | None = None, **headers: str
) -> None:
    """A file; `announced` bytes where that is not the truth."""
    request.send_response(200)
    kind = "text/html" if data.startswith(b"<") else "application/octet-stream"
    for name, value in {"Content-Type": kind, **headers}.items():
        request.send_header(name, value)
    request.send_header("Content-Length", str(len(data) if announced is None else announced))
    request.end_headers()
    if request.command == "GET":
        request.wfile.write(data)


def page(*links: str) -> bytes:
    """A listing."""
    return ("<html>" + "".join(f'<a href="{link}">x</a>' for link in links) + "</html>").encode()


def redirect(target: str) -> Answer:
    """A route that leads elsewhere."""

    def answer(request: BaseHTTPRequestHandler) -> None:
        request.send_response(302)
        request.send_header("Location", target)
        request.send_header("Content-Length", "0")
        request.end_headers()

    return answer


def endless(request: BaseHTTPRequestHandler) -> None:
    """A file without an end, and without a length."""
    request.send_response(200)
    request.end_headers()
    try:
        while request.command == "GET":
            request.wfile.write(bytes(1 << 16))
    except OSError:  # nobody listens any more
        pass
