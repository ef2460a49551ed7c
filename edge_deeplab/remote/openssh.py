"""A device behind ssh, through the system's own OpenSSH client: its keys, its configuration, its known hosts.

    with closing(OpenSsh(SshTarget("camera.local", "pi"))) as shell:
        shell.run("uname -m").text

One connection is shared by all calls (ControlMaster), nothing is ever asked (BatchMode), and a silent line is noticed
within half a minute. Nothing is installed there and no setting of the user's is changed.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from edge_deeplab.errors import DeviceError, UsageError
from edge_deeplab.remote.address import SshTarget
from edge_deeplab.remote.shell import CALL_TIMEOUT_S, Answer, ConnectionLostError, check_sent, command_line

SSH_FAILED = 255  # ssh's own exit status; our scripts never end with it
CONNECT_TIMEOUT_S = 10
SEND_TIMEOUT_S = 600.0  # a model of 10 MB over a line of 20 kB/s
_LONGEST_SOCKET = 90  # a Unix socket's path is limited to 104 bytes on some systems, and ssh adds a suffix

_OPTIONS = (
    "BatchMode=yes", f"ConnectTimeout={CONNECT_TIMEOUT_S}", "ConnectionAttempts=1",
    "ServerAliveInterval=5", "ServerAliveCountMax=4",
    "ClearAllForwardings=yes", "ForwardAgent=no", "ForwardX11=no", "PermitLocalCommand=no",
    "RemoteCommand=none", "RequestTTY=no", "EscapeChar=none", "LogLevel=ERROR",
)  # fmt: skip

_WRITE = 'umask 077; cat >"$1.part" && mv -f -- "$1.part" "$1" || { rm -f -- "$1.part"; exit 1; }'


class OpenSsh:
    """A Shell over ssh; see shell.py. A call may be made again after ConnectionLostError: it connects anew.

    Args:
        target: where to.
        config: read in place of the user's ~/.ssh/config.

    Raises: DeviceError when no ssh client is installed; UsageError when config is no file.
    """

    scratch = ""

    def __init__(self, target: SshTarget, *, config: Path | None = None) -> None:
        program = shutil.which("ssh")
        if program is None:
            raise DeviceError("ssh is not installed on this machine", next_step="install openssh-client")
        if config and not config.is_file():
            raise UsageError(f"--ssh-config {config}: no such file")
        self.target, self.address = target, str(target)
        self._was_reached = False
        self._folder: Path | None = Path(tempfile.mkdtemp(prefix="edge-deeplab-ssh-"))
        options = list(_OPTIONS)
        socket = self._folder / "s-%C"
        if len(str(self._folder)) + 43 < _LONGEST_SOCKET:  # %C is a hash of 40 letters
            options += ["ControlMaster=auto", f"ControlPath={socket}", "ControlPersist=30"]
        else:
            options += ["ControlMaster=no", "ControlPath=none"]
        self._argv = [program, "-T", *(["-F", str(config.resolve())] if config else [])]
        self._argv += [word for option in options for word in ("-o", option)]
        self._argv += ["-p", str(target.port)] if target.port else []
        self._argv += ["-l", target.user] if target.user else []

    def run(self, script: str, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> Answer:
        """As Shell.run."""
        return self._call([command_line(script, *arguments)], subprocess.DEVNULL, timeout_s)

    def send(self, data: bytes | Path, place: str) -> None:
        """As Shell.send. The file's name here never leaves this process: its bytes go through stdin."""
        with contextlib.ExitStack() as stack:
            stream: IO[bytes]
            if isinstance(data, Path):
                stream = stack.enter_context(data.open("rb"))
            else:
                stream = stack.enter_context(tempfile.TemporaryFile())
                shutil.copyfileobj(io.BytesIO(data), stream)
                stream.seek(0)
            answer = self._call([command_line(_WRITE, place)], stream, SEND_TIMEOUT_S)
        check_sent(answer, self.address, Path(place).name)

    def close(self) -> None:
        """Ends the shared connection and removes its socket; twice is harmless."""
        if self._folder is None:
            return
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            subprocess.run(
                [*self._argv, "-O", "exit", "--", self.target.host],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=5, check=False,
            )  # fmt: skip
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None

    def _call(self, command: Sequence[str], stdin: IO[bytes] | int, timeout_s: float) -> Answer:
        argv = [*self._argv, "--", self.target.host, *command]
        # stderr into a file: the shared connection goes on in the background and would hold a pipe open.
        with tempfile.TemporaryFile() as errors:
            try:
                done = subprocess.run(
                    argv, stdin=stdin, stdout=subprocess.PIPE, stderr=errors, timeout=timeout_s, check=False,
                    env={**os.environ, "LC_ALL": "C"},
                )  # fmt: skip
            except subprocess.TimeoutExpired as error:
                raise ConnectionLostError(f"{self.address}: no answer", came=f"silence for {timeout_s:g} s") from error
            except OSError as error:
                raise DeviceError("ssh cannot be started on this machine", came=error.strerror) from error
            errors.seek(0)
            said = errors.read().decode("utf-8", "replace")
        answer = Answer(done.returncode, done.stdout, said)
        if done.returncode == SSH_FAILED or done.returncode < 0:
            raise self._failure(answer)
        self._was_reached = True
        return answer

    def _failure(self, answer: Answer) -> DeviceError:
        """What ssh's own words mean; they are the same in every language setting."""
        said = answer.error
        where = f"ssh {'-p ' + str(self.target.port) + ' ' if self.target.port else ''}"
        where += f"{self.target.user + '@' if self.target.user else ''}{self.target.host}"
        if "Permission denied" in said or "Too many authentication failures" in said:
            return DeviceError(
                f"{self.address}: refuses to let this user in", came=answer.last_line,
                next_step="log in by key: ssh-copy-id, or ssh-add for a key with a passphrase; nothing is asked here",
            )  # fmt: skip
        if "Host key verification failed" in said or "IDENTIFICATION HAS CHANGED" in said:
            return DeviceError(
                f"{self.address}: its host key is not the known one, or not known yet", came=answer.last_line,
                next_step=f"type `{where}` once and answer its question",
            )  # fmt: skip
        if self._was_reached:
            return ConnectionLostError(f"{self.address}: the connection broke", came=answer.last_line)
        return DeviceError(
            f"{self.address}: cannot be reached", came=answer.last_line,
            next_step=f"check that `{where}` works",
        )  # fmt: skip
