"""A worker of the peer's: a script in its own environment, asked line by line, that answers each with a line of JSON.

with PeerProcess(peer_python, [WORKER, "frames", frames]) as peer:
    peer.versions, peer.ask("frame 0 usual")
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from edge_deeplab.errors import InputError


class PeerProcess:
    """The worker's process. A context manager.

    Args:
        python: of the peer's environment.
        arguments: the worker's script and what it is told.

    Attributes:
        versions: what it answered when it had started.

    Raises: InputError when it does not start or dies.
    """

    def __init__(self, python: Path, arguments: Sequence[str | Path]) -> None:
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - closed with the process
        try:
            self._process = subprocess.Popen(
                [python, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
            )
        except OSError as error:
            self._log.close()
            raise InputError(f"{python}: does not start", came=error.strerror, allowed="a Python") from error
        self._python = python
        self.versions = self._answer()

    def ask(self, line: str) -> dict[str, Any]:
        """What it answers to a line."""
        assert self._process.stdin
        try:
            self._process.stdin.write(f"{line}\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer that does not come says why
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._log.seek(0)
            last = (self._log.read().strip().splitlines() or ["no message"])[-1]
            raise InputError(f"{self._python}: the peer stopped", came=last, allowed="a Python with mediapipe==0.10.21")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.communicate()  # closes its stdin, on which it ends
        self._log.close()
