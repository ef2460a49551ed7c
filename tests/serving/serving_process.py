"""A real server for the tests: the command itself, in a process of its own, on a free port of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

START_S = 300.0
STOP_S = 60.0


@dataclass
class ServingProcess:
    """A server that is ready.

    Attributes:
        url: without a slash at the end.
        process: of the command.
        errors: the file that holds its stderr.
    """

    url: str
    process: subprocess.Popen[bytes]
    errors: Path

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def stop(self) -> int:
        """SIGTERM, and its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_S)

    def replicas(self) -> list[int]:
        """The processes of its replicas, found by the name Ray gives them and by the token only its children have."""
        return [pid for pid in descendants(self.process.pid) if b"ServeReplica" in command_of(pid)]

    def resident_bytes(self) -> int:
        """Of the front alone."""
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        assert found is not None
        return int(found.group(1)) * 1024


def command_of(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    return b""


def descendants(root: int) -> list[int]:
    """Every process under `root`."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            parents[int(path.name)] = int((path / "stat").read_text().rpartition(")")[2].split()[1])
    found: set[int] = {root}
    grows = True
    while grows:
        new = {pid for pid, parent in parents.items() if parent in found} - found
        found |= new
        grows = bool(new)
    return sorted(found - {root})


@contextlib.contextmanager
def serving(*arguments: str, environment: dict[str, str] | None = None) -> Iterator[ServingProcess]:
    """Runs `edge-deeplab serve --port 0 ARGUMENTS` until the block ends."""
    command = [sys.executable, "-m", "edge_deeplab.cli.main", "serve", "--port", "0", *arguments]
    with tempfile.TemporaryDirectory(prefix="serve-test-") as folder:
        errors = Path(folder) / "stderr"
        with errors.open("wb") as stream:
            process = subprocess.Popen(
                command, stdout=subprocess.DEVNULL, stderr=stream, env={**os.environ, **(environment or {})}
            )
        try:
            yield ServingProcess(_ready_url(process, errors), process, errors)
        finally:
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                try:
                    process.wait(STOP_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def _ready_url(process: subprocess.Popen[bytes], errors: Path) -> str:
    ends_s = time.monotonic() + START_S
    while time.monotonic() < ends_s:
        text = errors.read_text()
        found = re.search(r"ready at (\S+)", text)
        if found is not None:
            return found.group(1)
        assert process.poll() is None, text
        time.sleep(0.05)
    raise AssertionError(f"not ready within {START_S:g} s: {errors.read_text()}")
