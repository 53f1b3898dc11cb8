"""A process that answers one line for each line it gets, started anew when it dies or does not answer: what
it runs may crash or hang."""

from __future__ import annotations

import contextlib
import select
import subprocess


class Worker:
    """`ask` gives the answer, or None where the process died or took longer than `limit` seconds."""

    def __init__(self, command: list[str], limit: float) -> None:
        self.command, self.limit = command, limit
        self.process: subprocess.Popen[str] | None = None

    def ask(self, line: str) -> str | None:
        if self.process is None:
            self.process = subprocess.Popen(
                self.command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.write(line + "\n")
            self.process.stdin.flush()
        ready, _, _ = select.select([self.process.stdout], [], [], self.limit)
        answer = self.process.stdout.readline() if ready else ""
        if not answer:
            self.close()
        return answer.rstrip("\n") or None

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.communicate()
            self.process = None
