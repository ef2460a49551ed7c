"""The device's side of adb's protocol, for the real adb client: transport over TCP, shell v2, sync's push.

    with AdbDevice(folder) as device:
        device.serial          # "127.0.0.1:PORT", for `adb connect`

Written from adb's protocol.txt and SYNC.TXT. Commands run in this machine's sh, with the device's /data/local/tmp at
`folder`/tmp and a getprop of its own. An Arm program cannot run here: in the place of a pushed ELF file lies a script
that takes benchmark_model's options and prints what that prints, in its documented layout.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import struct
import subprocess
import threading
from pathlib import Path
from types import TracebackType

SCRATCH = "/data/local/tmp"
VERSION, MAX_DATA = 0x01000001, 256 * 1024
HEADER = struct.Struct("<4sIIIII")
STDOUT, STDERR, EXIT = 1, 2, 3
ARM64_ELF = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, 183) + b"a program of 64-bit Arm"

GETPROP = """#!/bin/sh
case $1 in
ro.product.manufacturer) echo Example ;; ro.product.model) echo "Phone 7" ;; ro.product.cpu.abi) echo arm64-v8a ;;
ro.product.cpu.abilist) echo arm64-v8a,armeabi-v7a ;; ro.build.version.release) echo 14 ;; *) echo ;;
esac
"""
# One call of the tool; times in microseconds, 1000 times its number of threads and so on, so that a test knows them.
TOOL = """#!/bin/sh
echo "$*" >>"{folder}/calls"
for word in "$@"; do case $word in
--graph=*) graph=${{word#*=}} ;; --num_threads=*) n=${{word#*=}} ;; --num_runs=*) r=${{word#*=}} ;;
esac; done
[ -s "$graph" ] || {{ echo "ERROR: Could not open '$graph'." >&2; exit 1; }}
if [ -e "{folder}/broken" ]; then echo "ERROR: Failed to apply XNNPACK delegate." >&2; exit 1; fi
echo "STARTING!"; echo "Num threads: [$n]"; echo "INFO: Created TensorFlow Lite XNNPACK delegate for CPU." >&2
wc -c <"$graph" >"{folder}/model_bytes"
while [ -e "{folder}/wait" ]; do sleep 0.1; done
echo "Running benchmark for at least 2 iterations and at least 0 seconds but terminate if exceeding 150 seconds."
echo "count=2 first=9791 curr=6295 min=5873 max=9831 avg=6758.2 std=406{median}"
echo
echo "count=$r first=${{n}}100 curr=${{n}}000 min=${{n}}000 max=${{n}}900 avg=${{n}}250 std=12{median}"
echo
echo "Inference timings in us: Init: 18777, First inference: 9791, Warmup (avg): 6758.2, Inference (avg): ${{n}}250"
echo "Note: as the benchmark tool itself affects memory footprint, the following is only APPROXIMATE"
echo "Memory footprint delta from the start of the tool (MB): init=8.97656 overall=18.5"
"""
MEDIAN = " p5=1000 median=1234 p95=1500"


class AdbDevice:
    """A device that listens for adb on the loopback interface. A context manager.

    Args:
        folder: where its files lie.
        is_locked: never lets a computer in, as before someone has tapped on its screen.
        tells_median: as tools since 2023.
    """

    def __init__(self, folder: Path, *, is_locked: bool = False, tells_median: bool = True) -> None:
        self.folder, self.is_locked = folder, is_locked
        self.tmp, self._programs = folder / "tmp", folder / "bin"
        self.tmp.mkdir(parents=True)
        self._programs.mkdir()
        getprop = self._programs / "getprop"
        getprop.write_text(GETPROP)
        getprop.chmod(0o755)
        self.tool = TOOL.format(folder=folder, median=MEDIAN if tells_median else "")
        self.disk_is_full = False
        self._listener: socket.socket | None = None
        self._connections: list[socket.socket] = []
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.serial = f"127.0.0.1:{self.port}"

    def __enter__(self) -> AdbDevice:
        self.plug_in()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.unplug()

    def plug_in(self) -> None:
        """Listens for a computer."""
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def unplug(self) -> None:
        """Breaks every connection; what runs on the device goes on."""
        if self._listener:
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._listener.close()
            self._listener = None
        for connection in self._connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self._connections.clear()

    def left_behind(self) -> list[str]:
        return [path.name for path in self.tmp.iterdir()]

    def calls(self) -> list[str]:
        """The options of each call of the tool."""
        file = self.folder / "calls"
        return file.read_text().splitlines() if file.exists() else []

    def here(self, text: str) -> str:
        """A path or command of the device, as one of this machine."""
        return text.replace(SCRATCH, str(self.tmp))

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self._programs}:{os.environ['PATH']}"}

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            threading.Thread(target=_Transport(self, connection).serve, daemon=True).start()


class _Transport:
    """One connection of a computer: streams multiplexed over it, each written to only when the last piece was taken."""

    def __init__(self, device: AdbDevice, connection: socket.socket) -> None:
        self._device, self._connection = device, connection
        self._lock = threading.Lock()
        self._streams: dict[int, _Stream] = {}

    def serve(self) -> None:
        with contextlib.suppress(OSError, ConnectionError):
            while True:
                command, first, second, length, *_ = HEADER.unpack(self._read(HEADER.size))
                self._take(command, first, second, self._read(length))
        for stream in self._streams.values():
            stream.end()

    def send(self, command: bytes, first: int, second: int, data: bytes = b"") -> None:
        magic = struct.unpack("<I", command)[0] ^ 0xFFFFFFFF
        header = HEADER.pack(command, first, second, len(data), sum(data) & 0xFFFFFFFF, magic)
        with self._lock, contextlib.suppress(OSError):
            self._connection.sendall(header + data)

    def _take(self, command: bytes, first: int, second: int, data: bytes) -> None:
        if command == b"CNXN":
            if self._device.is_locked:
                self.send(b"AUTH", 1, 0, bytes(20))
            else:
                banner = (
                    b"device::ro.product.name=phone;ro.product.model=Phone;ro.product.device=p;features=shell_v2,cmd"
                )
                self.send(b"CNXN", VERSION, MAX_DATA, banner)
        elif command == b"AUTH" and first == 2:  # a signature that is not known here
            self.send(b"AUTH", 1, 0, bytes(20))
        elif command == b"OPEN":
            stream = _Stream(self, len(self._streams) + 1, first)
            self._streams[stream.local] = stream
            self.send(b"OKAY", stream.local, first)
            service = data.rstrip(b"\0").decode()
            target = self._shell if service.startswith("shell,") else self._sync if service == "sync:" else None
            if target is None:
                stream.close()
            else:
                threading.Thread(target=target, args=(stream, service), daemon=True).start()
        elif stream := self._streams.get(second):
            if command == b"OKAY":
                stream.taken.release()
            elif command == b"WRTE":
                stream.receive(data)
                self.send(b"OKAY", stream.local, stream.remote)
            elif command == b"CLSE":
                stream.end()

    def _shell(self, stream: _Stream, service: str) -> None:
        command = self._device.here(service.partition(":")[2])
        process = subprocess.Popen(
            ["sh", "-c", command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            env=self._device.environment(), start_new_session=True, cwd="/",
        )  # fmt: skip
        assert process.stdout and process.stderr
        readers = [
            threading.Thread(target=self._pump, args=(stream, pipe.fileno(), kind))
            for pipe, kind in ((process.stdout, STDOUT), (process.stderr, STDERR))
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join()
        stream.write(struct.pack("<BIB", EXIT, 1, process.wait() & 0xFF))
        stream.close()

    def _pump(self, stream: _Stream, source: int, kind: int) -> None:
        while data := os.read(source, 16 * 1024):
            stream.write(struct.pack("<BI", kind, len(data)) + data)

    def _sync(self, stream: _Stream, _: str) -> None:
        with contextlib.suppress(EOFError):
            while True:
                request, length = struct.unpack("<4sI", stream.read(8))
                if request == b"QUIT":
                    break
                words = stream.read(length).decode()
                if request in (b"STAT", b"LSTA"):
                    path = Path(self._device.here(words))
                    mode, size = (path.stat().st_mode, path.stat().st_size) if path.exists() else (0, 0)
                    stream.write(struct.pack("<4sIII", b"STAT", mode, size, 0))
                elif request == b"SEND":
                    self._receive_file(stream, Path(self._device.here(words.rpartition(",")[0])))
        stream.close()

    def _receive_file(self, stream: _Stream, path: Path) -> None:
        content = b""
        while True:
            kind, length = struct.unpack("<4sI", stream.read(8))
            if kind == b"DONE":
                break
            content += stream.read(length)
        if self._device.disk_is_full:
            reason = b"couldn't write file: No space left on device"
            stream.write(struct.pack("<4sI", b"FAIL", len(reason)) + reason)
            return
        path.write_bytes(self._device.tool.encode() if content.startswith(b"\x7fELF") else content)
        stream.write(struct.pack("<4sI", b"OKAY", 0))

    def _read(self, count: int) -> bytes:
        data = b""
        while len(data) < count:
            piece = self._connection.recv(count - len(data))
            if not piece:
                raise ConnectionError
            data += piece
        return data


class _Stream:
    """One service in use."""

    def __init__(self, transport: _Transport, local: int, remote: int) -> None:
        self._transport, self.local, self.remote = transport, local, remote
        self.taken = threading.Semaphore(1)
        self._arrived = threading.Condition()
        self._data, self._is_over = b"", False
        self._write_lock = threading.Lock()

    def write(self, data: bytes) -> None:
        with self._write_lock:
            for start in range(0, len(data), MAX_DATA):
                while not self.taken.acquire(timeout=0.1):
                    if self._is_over:
                        return
                self._transport.send(b"WRTE", self.local, self.remote, data[start : start + MAX_DATA])

    def receive(self, data: bytes) -> None:
        with self._arrived:
            self._data += data
            self._arrived.notify_all()

    def read(self, count: int) -> bytes:
        with self._arrived:
            while len(self._data) < count:
                if self._is_over:
                    raise EOFError
                self._arrived.wait(timeout=1)
            piece, self._data = self._data[:count], self._data[count:]
            return piece

    def end(self) -> None:
        with self._arrived:
            self._is_over = True
            self._arrived.notify_all()

    def close(self) -> None:
        self._transport.send(b"CLSE", self.local, self.remote)


ADB = shutil.which("adb")
