"""A piece of work on another machine that outlives the connection to it, and leaves nothing behind.

    with Job(shell, ("python3", "job.zip")) as job:
        job.send(archive, "job.zip")
        job.finish(on_progress=print)
        result = job.fetch("result.zip")

Each job has a folder of its own there, and a guard: a shell loop in a session of its own that starts the command when
told to, notes how it ended, and removes the folder with all that runs in it when the job is over, when it is told to,
or when the desk has not been heard of for a while. A connection lost is taken up again, with growing pauses; every step
may be done twice.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TypeVar

from edge_deeplab.errors import DeviceError
from edge_deeplab.remote.shell import ConnectionLostError, Say, Shell

LEASE_S = 600  # without a sign of the desk for so long, the guard ends the job and removes its folder
PATIENCE_S = 300.0  # for how long a lost connection is tried again
POLL_S = 10  # so long one poll waits there before it says that nothing has happened
FIRST_PAUSE_S, LONGEST_PAUSE_S = 1.0, 30.0
NO_GUARD = 3  # exit status of _POLL

T = TypeVar("T")

# $1 folder, $2 lease in seconds, then the command, which runs in the folder. Files there: `guard`, its process; `renew`
# and `go`, made by the desk; `out`, `err` and `status`, what the command left. `kill -TERM 0` reaches the session that
# setsid, sshd or adbd made for the guard: the command and its children, and nothing else. While the command runs the
# guard wakes once a second; time is counted in tenths, for not every sleep takes fractions.
_GUARD = (
    'd=$1; lease=$2; shift 2; cd -- "$d" || exit 1; '
    'stop() { trap "" TERM HUP INT; kill -TERM 0; cd /; rm -rf -- "$d"; sleep 1; rm -rf -- "$d"; }; '
    "trap stop EXIT; trap 'exit 1' HUP INT TERM; echo $$ >guard.part; mv -f guard.part guard; idle=0; t=0; started=; "
    'while [ -d "$d" ]; do '
    'if [ -e renew ]; then rm -f renew; idle=0; else idle=$((idle+t)); [ "$idle" -lt "${lease}0" ] || exit 0; fi; '
    'if [ -e go ] && [ -z "$started" ]; then started=1; '
    '{ "$@" >out 2>err </dev/null; echo $? >status.part; mv -f status.part status; } & '
    'fi; t=10; if { [ -z "$started" ] || [ -e status ]; } && sleep 0.3 2>/dev/null; then t=3; else sleep 1; fi; done'
)
# $1 scratch folder, $2 name, $3 lease, $4 the guard's script, then the command. Says the folder's full path.
_BEGIN = (
    'd=${1:-${TMPDIR:-/tmp}}/$2; lease=$3; guard=$4; shift 4; umask 077; mkdir -- "$d" || [ -d "$d" ] || exit 1; '
    'cd -- "$d" && d=$(pwd -P) && if [ -e begun ]; then :; else : >begun; : >renew; '
    "s=; n=; command -v setsid >/dev/null && s=setsid; command -v nohup >/dev/null && n=nohup; "
    '$s $n sh -c "$guard" guard "$d" "$lease" "$@" </dev/null >/dev/null 2>&1 & fi; pwd -P'
)
_GO = 'cd -- "$1" && : >renew && : >go'
# $1 folder, $2 seconds to wait. Says how the command ended, if it did, and then what it wrote of its progress since.
_POLL = (
    f'cd -- "$1" 2>/dev/null || exit {NO_GUARD}; : >renew; i=0; '
    'until [ -e status ] || [ "$i" -ge "$2" ] || { [ "$i" -gt 0 ] && [ -e progress ]; }; do '
    'if [ "$i" -lt 3 ]; then sleep 0.3 2>/dev/null || sleep 1; else sleep 1; fi; i=$((i+1)); '
    'if [ -e guard ] || [ "$i" -gt 5 ]; then '
    f'kill -0 "$(cat guard 2>/dev/null)" 2>/dev/null || exit {NO_GUARD}; fi; done; '
    "if [ -e status ]; then cat status; else echo running; fi; "
    "if mv -f progress shown 2>/dev/null; then cat shown; fi"
)
_FETCH = 'cat -- "$1/$2"'
_END = (
    'd=$1; [ -d "$d" ] || exit 0; [ -f "$d/guard" ] && kill "$(cat "$d/guard")" 2>/dev/null; i=0; '
    'while [ -d "$d" ] && [ "$i" -lt 5 ]; do sleep 0.3 2>/dev/null || sleep 1; i=$((i+1)); done; rm -rf -- "$d"'
)


class Job:
    """One piece of work on one device. A context manager: whatever happens, its folder there goes.

    Args:
        shell: the way there.
        command: program and arguments, run in the job's folder; names relative to it are the files that were sent.
        say: told, in one sentence, of a connection lost and found again.
        lease_s, patience_s: see LEASE_S and PATIENCE_S.

    Attributes:
        folder: of the job, there.

    Raises, everywhere: DeviceError when the device refuses, or the connection stays away for patience_s.
    """

    def __init__(
        self,
        shell: Shell,
        command: tuple[str, ...],
        *,
        say: Say = lambda _: None,
        lease_s: int = LEASE_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._shell, self._command, self._say = shell, command, say
        self._lease_s, self._patience_s = lease_s, patience_s
        self._name = f"edge-deeplab-{secrets.token_hex(12)}"
        self.folder = ""

    def __enter__(self) -> Job:
        arguments = (self._shell.scratch, self._name, str(self._lease_s), _GUARD, *self._command)
        answer = self._patiently(lambda: self._shell.run(_BEGIN, *arguments))
        folder = answer.text.strip()
        if answer.code != 0 or not re.fullmatch(rf"/[^\n]*{self._name}", folder):
            where = self._shell.scratch or "$TMPDIR or /tmp"
            came = "No space left on device" if "o space left" in answer.error else answer.last_line
            raise DeviceError(f"{self._shell.address}: no folder can be made in {where} there", came=came)
        self.folder = folder
        return self

    def send(self, data: bytes | Path, name: str) -> None:
        """Puts a file into the job's folder."""
        self._patiently(lambda: self._shell.send(data, f"{self.folder}/{name}"))

    def finish(self, *, on_progress: Say = lambda _: None) -> int:
        """Starts the command, waits for its end and returns its exit status.

        on_progress: called with what the command wrote to the file `progress`, whenever it did.
        Raises: DeviceError when the guard is gone before the command ended: a restart of the device, or too little
            memory.
        """
        answer = self._patiently(lambda: self._shell.run(_GO, self.folder))
        while answer.code == 0:
            answer = self._patiently(lambda: self._shell.run(_POLL, self.folder, str(POLL_S)))
            status, _, progress = answer.text.partition("\n")
            if progress.strip():
                on_progress(progress.strip())
            if answer.code == 0 and status.strip().isdigit():
                return int(status)
        raise DeviceError(
            f"{self._shell.address}: the job was ended there before it was done",
            came="a restart of the device, a person, or too little memory"
            if answer.code == NO_GUARD
            else answer.last_line,
        )

    def fetch(self, name: str) -> bytes:
        """The content of a file of the job's folder. Raises DeviceError when there is none."""
        answer = self._patiently(lambda: self._shell.run(_FETCH, self.folder, name))
        if answer.code != 0:
            raise DeviceError(f"{self._shell.address}: {name} was not written there", came=answer.last_line)
        return answer.output

    def complaint(self) -> str:
        """The last line the command wrote to stderr, for a message."""
        lines = self.fetch("err").decode("utf-8", "replace").strip().splitlines()
        return lines[-1] if lines else "no message"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.folder:
            return
        if error is None:
            self._patiently(lambda: self._shell.run(_END, self.folder))
        else:  # one try more than none: what went wrong matters more, and the guard cleans up without us
            with contextlib.suppress(DeviceError):
                self._shell.run(_END, self.folder)
        self.folder = ""

    def _patiently(self, call: Callable[[], T]) -> T:
        """Calls until the connection holds; pauses of 1, 2, 4 ... 30 s, for patience_s."""
        pause_s, deadline_s, was_lost = FIRST_PAUSE_S, time.monotonic() + self._patience_s, False
        while True:
            try:
                result = call()
            except ConnectionLostError as error:
                if time.monotonic() + pause_s > deadline_s:
                    raise DeviceError(
                        f"{error.what} and did not come back within {self._patience_s:g} s", came=error.came,
                        next_step=f"the job there removes itself {self._lease_s} s after the last word from here",
                    ) from error  # fmt: skip
                if not was_lost:
                    self._say(f"{error}; the job there goes on, connecting again")
                was_lost = True
                time.sleep(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
            else:
                if was_lost:
                    self._say(f"{self._shell.address}: connected again")
                return result
