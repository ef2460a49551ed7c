"""What a machine has to offer so that a job can run there: a POSIX shell, and a way to put a file.

openssh.py and android.py implement it; job.py is all that uses it. Words that a person chose never become part of a
script: scripts are constants, and what varies are their arguments $1, $2, ..., quoted by the one who sends them.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edge_deeplab.errors import DeviceError

CALL_TIMEOUT_S = 60.0  # of one call; a poll takes a few seconds of it
Say = Callable[[str], None]


class ConnectionLostError(DeviceError):
    """The way to the device broke; the device may be well and working."""


@dataclass(frozen=True)
class Answer:
    """How a script ended.

    Attributes:
        code: its exit status.
        output: its stdout.
        error: its stderr, as text.
    """

    code: int
    output: bytes
    error: str

    @property
    def text(self) -> str:
        """The output as text."""
        return self.output.decode("utf-8", "replace")

    @property
    def last_line(self) -> str:
        """What it said last on stderr, for an error message."""
        return (self.error.strip().splitlines() or ["no message"])[-1]


class Shell(Protocol):
    """A way to a device."""

    @property
    def address(self) -> str:
        """As a person types it."""

    @property
    def scratch(self) -> str:
        """The folder for temporary files there; empty for $TMPDIR, else /tmp."""

    def run(self, script: str, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> Answer:
        """Runs a POSIX shell script of one line with $1, $2, ...

        Raises: ConnectionLostError when the connection broke or nothing came in time; DeviceError when the device
            cannot be used at all (no such host, no right to log in).
        """

    def send(self, data: bytes | Path, place: str) -> None:
        """Writes a file there, whole. Raises: as run, and DeviceError when it cannot be written, as on a full disk."""

    def close(self) -> None:
        """Ends the connection; twice is harmless."""


def command_line(script: str, *arguments: str) -> str:
    """One line for the login shell of a device, whichever it is: sh -c SCRIPT sh ARGUMENTS, each word quoted.

    A script holds no line end and no exclamation mark: csh would take them even inside quotes.
    """
    assert "\n" not in script and "!" not in script, script
    return shlex.join(["sh", "-c", script, "sh", *arguments])


def check_sent(answer: Answer, address: str, what: str) -> None:
    """Raises DeviceError when a file could not be written there; says so plainly when the disk is full."""
    if answer.code == 0:
        return
    if "No space left" in answer.error or "no space left" in answer.error:
        raise DeviceError(
            f"{address}: the disk is full there", came=answer.last_line, next_step=f"free room for {what}"
        )
    raise DeviceError(f"{address}: {what} cannot be written there", came=answer.last_line)
