"""A real OpenSSH server on the loopback interface, for one test: own keys, own configuration, the current user.

with SshServer(folder) as server:
    server.target          # SshTarget("127.0.0.1", user, port)
    server.config          # what ssh -F takes: the user's key and the server's
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType

from edge_deeplab.remote.address import SshTarget

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")
START_S = 10.0


class SshServer:
    """sshd -D in `folder`, whose `far` is the $TMPDIR of what it starts. A context manager."""

    def __init__(self, folder: Path, *, environment: dict[str, str] | None = None) -> None:
        self.folder, self.far, self.config = folder, folder / "far tmp", folder / "ssh_config"
        self.environment = environment or {}
        self.port = free_port()
        self.target = SshTarget("127.0.0.1", getpass.getuser(), self.port)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> SshServer:
        self.folder.chmod(0o700)
        self.far.mkdir()
        for name in ("host", "user"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)], check=True
            )  # fmt: skip
        shutil.copyfile(self.folder / "user.pub", self.folder / "authorized")
        key = (self.folder / "host.pub").read_text().split(" ", 2)[:2]
        (self.folder / "known").write_text(f"[127.0.0.1]:{self.port} {' '.join(key)}\n")
        self.write_config()
        self.start()
        return self

    def write_config(self, *, user_key: str = "user", known: str = "known") -> None:
        self.config.write_text(
            f"IdentityFile {self.folder / user_key}\nIdentitiesOnly yes\nIdentityAgent none\n"
            f"UserKnownHostsFile {self.folder / known}\nGlobalKnownHostsFile none\nStrictHostKeyChecking yes\n"
        )

    def start(self) -> None:
        if os.geteuid() == 0:  # as root sshd wants a place of the system's for its unprivileged half
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        variables = {"TMPDIR": str(self.far), "PATH": os.environ["PATH"], **self.environment}
        settings = "SetEnv " + " ".join(f'"{name}={value}"' for name, value in variables.items()) + "\n"
        (self.folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {self.port}\nHostKey {self.folder / 'host'}\n"
            f"AuthorizedKeysFile {self.folder / 'authorized'}\nPidFile none\nUsePAM no\nStrictModes no\n"
            f"PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n{settings}"
        )
        log = (self.folder / "sshd.log").open("ab")
        assert SSHD
        self._process = subprocess.Popen(
            [SSHD, "-D", "-e", "-f", str(self.folder / "sshd_config")], stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        log.close()
        wait_until(self._answers, START_S, lambda: (self.folder / "sshd.log").read_text())

    def stop(self) -> None:
        """Ends the server and every connection."""
        if self._process is None:
            return
        self.cut_connections()
        self._process.terminate()
        self._process.wait(timeout=10)
        self.cut_connections()
        self._process = None

    def cut_connections(self) -> int:
        """Kills what serves the connections there are, as a cut cable would. Returns how many processes."""
        assert self._process
        children = descendants(self._process.pid)
        sessions = [pid for pid in children if command_of(pid).startswith("sshd")]
        for pid in sessions:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(sessions)

    def left_behind(self) -> list[str]:
        """Folders of jobs that are still there."""
        return [path.name for path in self.far.iterdir()]

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _answers(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
            return True
        return False


def wait_until(condition: object, limit_s: float, about: object = None) -> None:
    """Waits for condition() to hold, and fails with about() when it does not come true."""
    deadline_s = time.monotonic() + limit_s
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline_s, about() if callable(about) else about
        time.sleep(0.02)


def descendants(pid: int) -> list[int]:
    """Every process below one, from /proc."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError, IndexError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                parents.setdefault(parent, []).append(int(entry.name))
    found, waiting = [], [pid]
    while waiting:
        below = parents.get(waiting.pop(), [])
        found += below
        waiting += below
    return found


def command_of(pid: int) -> str:
    with contextlib.suppress(OSError):
        return (Path("/proc") / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    return ""


def running_with(word: str) -> list[str]:
    """The command lines of all processes that hold a word."""
    commands = (command_of(int(entry.name)) for entry in Path("/proc").iterdir() if entry.name.isdigit())
    return [command for command in commands if word in command]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
