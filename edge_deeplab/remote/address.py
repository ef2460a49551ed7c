"""Where a model is to be run, as a person types it: ssh://user@host:port, adb:SERIAL, local:KERNELS.

    target = parse_target("ssh://pi@camera.local:2222")
    target.user, target.host, target.port

An address becomes an argument of ssh and adb and nothing else; what could be taken for an option or a word of a shell
is refused here, before anything starts.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.runtime.interpreter import KERNELS

FORMS = "ssh://[USER@]HOST[:PORT], adb:SERIAL, local:KERNELS"

_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,252}[A-Za-z0-9])?")
_IPV6 = re.compile(r"\[([0-9A-Fa-f:.]{2,45}(?:%[A-Za-z0-9_.-]{1,16})?)\]")
_SERIAL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:\[\]-]{0,127}")


@dataclass(frozen=True)
class SshTarget:
    """A machine behind OpenSSH.

    Attributes:
        host: name, address, or alias of the user's ssh configuration.
        user, port: None leaves them to the ssh configuration.
    """

    host: str
    user: str | None = None
    port: int | None = None

    def __str__(self) -> str:
        user = f"{self.user}@" if self.user else ""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"ssh://{user}{host}{f':{self.port}' if self.port else ''}"


@dataclass(frozen=True)
class AdbTarget:
    """An Android device by the serial that `adb devices` shows."""

    serial: str

    def __str__(self) -> str:
        return f"adb:{self.serial}"


@dataclass(frozen=True)
class LocalTarget:
    """This machine, in a process of its own.

    Attributes:
        kernels: of the engine.
        delegate: the shared library of an external delegate, None without one.
    """

    kernels: str = "auto"
    delegate: Path | None = None

    def __str__(self) -> str:
        return f"local:{self.delegate or self.kernels}"


Target = SshTarget | AdbTarget | LocalTarget


def parse_target(text: str) -> Target:
    """Reads an address. Raises UsageError, which says the forms there are, for anything else."""
    if text.startswith("ssh://"):
        return _parse_ssh(text)
    if text.startswith("adb:"):
        serial = text.removeprefix("adb:")
        if not _SERIAL.fullmatch(serial):
            raise UsageError(f"--target {text!r}: is no serial", allowed="adb:SERIAL as `adb devices` lists it")
        return AdbTarget(serial)
    if text.startswith("local:"):
        return _parse_local(text)
    raise UsageError(f"--target {text!r}: unknown kind of target", allowed=FORMS)


def _parse_ssh(text: str) -> SshTarget:
    rest = text.removeprefix("ssh://").removesuffix("/")
    user, at, place = rest.rpartition("@")
    if at and ":" in user:  # not shown again: it may be seen by others
        raise UsageError("--target ssh://USER:PASSWORD@HOST: a password cannot be given here",
                         allowed="ssh://[USER@]HOST[:PORT]", next_step="log in by key")  # fmt: skip
    if at and not _USER.fullmatch(user):
        raise UsageError(f"--target {text!r}: is no user name", allowed="ssh://[USER@]HOST[:PORT]")
    ipv6 = _IPV6.match(place)
    host = ipv6.group(1) if ipv6 else place.partition(":")[0]
    port = place[ipv6.end() :] if ipv6 else place[len(host) :]
    if not ipv6 and not _HOST.fullmatch(host):
        raise UsageError(f"--target {text!r}: is no host name", allowed="ssh://[USER@]HOST[:PORT]")
    if port and not (re.fullmatch(r":[0-9]{1,5}", port) and 0 < int(port[1:]) < 65536):
        raise UsageError(f"--target {text!r}: is no port", came=port, allowed="ssh://[USER@]HOST[:PORT], port 1..65535")
    return SshTarget(host, user or None, int(port[1:]) if port else None)


def _parse_local(text: str) -> LocalTarget:
    name = text.removeprefix("local:")
    if name in KERNELS:
        return LocalTarget(name)
    if name.endswith((".so", ".dylib", ".dll")):
        path = Path(name)
        if not path.is_file():
            raise UsageError(f"--target {text!r}: no such delegate library", allowed="local:PATH of a shared library")
        return LocalTarget(delegate=path.resolve())
    raise UsageError(
        f"--target {text!r}: unknown kernels", allowed=f"{nearest(name, KERNELS)}, or the .so file of a delegate"
    )
