"""An Android device behind adb, through the system's own client.

    with closing(Adb(AdbTarget("emulator-5554"))) as shell:
        shell.run("getprop ro.product.cpu.abi").text

Android has no Python: what runs there is a native program of the user's (native.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from edge_deeplab.errors import DeviceError, InputError
from edge_deeplab.profiling.host import DOT_PRODUCT_FLAGS, parse_cpuinfo
from edge_deeplab.remote.address import AdbTarget
from edge_deeplab.remote.shell import CALL_TIMEOUT_S, Answer, ConnectionLostError, Shell, check_sent, command_line
from edge_deeplab.remote.vitals import PATTERNS, Vitals

SEND_TIMEOUT_S = 600.0
_ENDED = re.compile(rb"\n--ended-(\d{1,3})--\n?\Z")
_END = "; printf '\\n--ended-%d--\\n' \"$?\""
# adb's own words when the way to the device is not there (adb 1.0.41); the same in every language.
_ABSENT = re.compile(r"device '.*' not found|no devices/emulators found|device offline|error: closed|protocol fault")
_ABIS = {  # ELF machine and class: what Android calls it
    (183, 2): "arm64-v8a", (40, 1): "armeabi-v7a", (62, 2): "x86_64", (3, 1): "x86", (243, 2): "riscv64",
}  # fmt: skip
_PROPERTIES = (
    "ro.product.manufacturer", "ro.product.model", "ro.product.cpu.abi", "ro.product.cpu.abilist",
    "ro.build.version.release", "ro.soc.model",
)  # fmt: skip
_DESCRIBE = 'for p in "$@"; do getprop "$p"; done; nproc; cat /proc/cpuinfo'
_LOOK = f'cd /; for f in {" ".join(PATTERNS)}; do [ -r "$f" ] && t=$(cat "$f" 2>/dev/null) && echo "$f $t"; done; :'


class Adb:
    """A Shell over adb; see shell.py.

    Raises: DeviceError when adb is not installed.
    """

    scratch = "/data/local/tmp"

    def __init__(self, target: AdbTarget) -> None:
        program = shutil.which("adb")
        if program is None:
            raise DeviceError("adb is not installed on this machine", next_step="install adb (Debian: apt install adb)")
        self.target, self.address = target, str(target)
        self._program = program
        self._was_reached = False

    def run(self, script: str, *arguments: str, timeout_s: float = CALL_TIMEOUT_S) -> Answer:
        """As Shell.run. The status rides along in the output: adb's own failures end with the same numbers."""
        answer = self._call("shell", "-n", "-T", command_line(script, *arguments) + _END, timeout_s=timeout_s)
        ended = _ENDED.search(answer.output)
        if ended is None:
            raise self._failure(answer)
        self._was_reached = True
        return Answer(int(ended.group(1)), answer.output[: ended.start()], answer.error)

    def send(self, data: bytes | Path, place: str) -> None:
        """As Shell.send."""
        if isinstance(data, bytes):
            with tempfile.NamedTemporaryFile(prefix="edge-deeplab-") as file:
                file.write(data)
                file.flush()
                self.send(Path(file.name), place)
            return
        answer = self._call("push", str(data.resolve()), place, timeout_s=SEND_TIMEOUT_S)
        said = answer.error + answer.text
        if answer.code != 0 and (_ABSENT.search(said) or "connect failed" in said):
            raise self._failure(Answer(answer.code, answer.output, said))
        check_sent(Answer(answer.code, b"", said), self.address, Path(place).name)

    def close(self) -> None:
        """As Shell.close. adb's server, which the user may have started, is left as it is."""

    def _call(self, *words: str, timeout_s: float) -> Answer:
        argv = [self._program, "-s", self.target.serial, *words]
        try:
            done = subprocess.run(
                argv, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s, check=False
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ConnectionLostError(f"{self.address}: no answer", came=f"silence for {timeout_s:g} s") from error
        except OSError as error:
            raise DeviceError("adb cannot be started on this machine", came=error.strerror) from error
        return Answer(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))

    def _failure(self, answer: Answer) -> DeviceError:
        said = answer.error
        if "unauthorized" in said or "insufficient permissions" in said or "no permissions" in said:
            return DeviceError(
                f"{self.address}: does not let this machine in", came=answer.last_line,
                next_step="allow USB debugging on its screen, and look at `adb devices`",
            )  # fmt: skip
        if self._was_reached:
            if ":" in self.target.serial:  # over the network adb's server tries it every 10 s, or not at all
                for verb in ("disconnect", "connect"):
                    self._call(verb, self.target.serial, timeout_s=CALL_TIMEOUT_S)
            return ConnectionLostError(f"{self.address}: the connection broke", came=answer.last_line)
        hint = "look at `adb devices`"
        return DeviceError(f"{self.address}: cannot be reached", came=answer.last_line, next_step=hint)


@dataclass(frozen=True, kw_only=True)
class AndroidDevice:
    """What a device says of itself.

    Attributes:
        name: manufacturer and model.
        android: version, e.g. "14".
        soc: the chip, empty where it is not told (before Android 12).
        abis: instruction sets it runs, the preferred one first.
        cpus: processors.
        int8_flags: the int8 dot-product instructions all of them have.
    """

    name: str
    android: str
    soc: str
    abis: tuple[str, ...]
    cpus: int
    int8_flags: tuple[str, ...]


def describe_device(shell: Shell) -> AndroidDevice:
    """Asks the device. Raises what shell.run raises, and DeviceError for one that is no Android."""
    answer = shell.run(_DESCRIBE, *_PROPERTIES)
    lines = [line.strip() for line in answer.text.split("\n")]
    values = dict(zip(_PROPERTIES, lines))
    abis = tuple(values.get("ro.product.cpu.abilist", "").split(",")) if values.get("ro.product.cpu.abilist") else ()
    if not abis or answer.code != 0:
        raise DeviceError(f"{shell.address}: does not say which processor it has", came=answer.last_line)
    blocks = parse_cpuinfo("\n".join(lines[len(_PROPERTIES) + 1 :]))
    features = [set(block.get("features", block.get("flags", "")).split()) for block in blocks]
    shared = set.intersection(*(item for item in features if item)) if any(features) else set()
    count = lines[len(_PROPERTIES)] if len(lines) > len(_PROPERTIES) else ""
    return AndroidDevice(
        name=f"{values['ro.product.manufacturer']} {values['ro.product.model']}".strip(),
        android=values["ro.build.version.release"], soc=values["ro.soc.model"], abis=abis,
        cpus=int(count) if count.isdigit() else len(blocks) or 1,
        int8_flags=tuple(flag for flag in DOT_PRODUCT_FLAGS if flag in shared),
    )  # fmt: skip


def look_at(shell: Shell) -> Vitals:
    """Governor, clocks and temperatures of the device; most of it is closed to adb on recent ones."""
    files = {}
    for line in shell.run(_LOOK).text.splitlines():
        path, _, text = line.partition(" ")
        files[path] = text
    return Vitals.from_files(files)


def check_runner(runner: Path, abis: tuple[str, ...]) -> None:
    """Makes sure that a program is one for the device. Raises InputError saying for what it was built."""
    try:
        with runner.open("rb") as stream:
            head = stream.read(20)
    except OSError as error:
        raise InputError(f"--runner {runner}: cannot be read", came=error.strerror) from error
    if head[:4] != b"\x7fELF" or len(head) < 20:
        raise InputError(
            f"--runner {runner}: is no program for Android", allowed="LiteRT's benchmark_model, an ELF file"
        )
    order = "little" if head[5] == 1 else "big"
    machine = (int.from_bytes(head[18:20], "little" if order == "little" else "big"), head[4])
    built_for = _ABIS.get(machine, f"ELF machine {machine[0]}, {32 * machine[1]} bits")
    if built_for not in abis:
        raise InputError(
            f"--runner {runner}: is built for another processor", came=built_for, allowed=", ".join(abis)
        )  # fmt: skip
