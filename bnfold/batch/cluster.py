"""A Dask cluster: its scheduler gives each model to a worker, and to another one when that worker dies.

Workers need this version of bnfold, and must reach the same files under the same paths, or URLs.
"""

from __future__ import annotations

import logging
import secrets
import socket
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from ..errors import Mismatch, Unreadable, UsageError, one_line, root_cause
from ..version import __version__
from . import worker

if TYPE_CHECKING:
    from distributed import Client

_SCHEMES = ("tcp", "tls", "ws", "wss")
PATIENCE = 30  # seconds until a scheduler must have answered


def results(requests: Sequence[dict[str, Any]], address: str) -> Generator[tuple[int, dict[str, Any]]]:
    """(index, run as plain values) of every request, as they come. Raises UsageError, Unreadable and Mismatch
    where the cluster is none for us. Closing the iterator ends what is out."""
    client = _connected(address)
    try:
        _check(client.run(worker.version, on_error="return"))
        yield from _all(client, requests)
    finally:
        client.close()


def _all(client: Client, requests: Sequence[dict[str, Any]]) -> Generator[tuple[int, dict[str, Any]]]:
    from distributed import as_completed

    token = secrets.token_hex(6)
    futures = {
        client.submit(worker.work, request, key=f"bnfold-{token}-{index}", pure=False): index
        for index, request in enumerate(requests)
    }
    try:
        for future in as_completed(list(futures), loop=client.loop):
            index = futures.pop(future)
            try:
                found = future.result()
            except (
                Exception,
                CancelledError,
            ) as error:  # a worker that died too often, a scheduler that is gone
                found = worker.lost(
                    requests[index], f"the cluster gave it up ({one_line(root_cause(error))})"
                )
            yield index, found
            future.release()
    finally:
        if client.status == "running":
            client.cancel(list(futures), force=True)
            client.run(worker.close, on_error="ignore")


def _connected(address: str) -> Client:
    try:
        from distributed import Client
    except ImportError as error:
        raise UsageError("--scheduler needs dask.distributed", way_out="pip install distributed") from error
    for name in [name for name in logging.root.manager.loggerDict if name.startswith("distributed")]:
        logging.getLogger(name).setLevel(
            logging.CRITICAL
        )  # what it logs with tracebacks, the runs say in a sentence
    _knock(address)
    try:
        return Client(address, timeout=PATIENCE, set_as_default=False)
    except (OSError, ValueError) as error:
        raise _nobody(address, error) from error


def _knock(address: str) -> None:
    """A client that finds nobody takes its time, and goes with much noise: so see first whether somebody
    listens."""
    parts = urlsplit(address if "://" in address else f"tcp://{address}")
    try:
        known = parts.scheme in _SCHEMES and parts.hostname and parts.port
    except ValueError:  # a port that is none
        known = None
    if not known:
        raise UsageError(
            f"--scheduler {address!r} is not an address", expected="an address such as tcp://host:8786"
        )
    try:
        socket.create_connection((parts.hostname or "", parts.port or 0), PATIENCE).close()
    except OSError as error:
        raise _nobody(address, error) from error


def _nobody(address: str, error: Exception) -> Unreadable:
    return Unreadable(f"no Dask scheduler answers ({one_line(root_cause(error))})", where=address)


def _check(versions: Mapping[str, Any]) -> None:
    for address, found in versions.items():
        if isinstance(found, BaseException):
            raise Mismatch(
                f"the worker cannot say which bnfold it has ({one_line(root_cause(found))})",
                where=address,
                expected=f"bnfold {__version__}",
            )
        if found != __version__:
            raise Mismatch(
                f"the worker has bnfold {found}", where=address, expected=f"{__version__}, as here"
            )
