"""What each operator takes by LiteRT's own profiler, which its Python interpreter does not show.

ai-edge-litert brings its C library, libLiteRt, whose CompiledModel has a profiler; XNNPACK reports its operators to it
one by one. This file talks to that library through ctypes, in a child process: an interface that changes with the
version may end the child, never the caller.

    events = profile_operators(Path("portrait.tflite"), threads=1)
    events.operators[3].name, events.elapsed_us[:, 3]

Measured on ai-edge-litert 2.3.0: 84 operators in, 84 reported, and their sum within 4 % of the whole. Times come in
whole microseconds, rounded down by the library.
"""

from __future__ import annotations

import ctypes
import json
import os
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import EdgeDeepLabError, ModelError
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import select_engine

LIBRARY_NAMES = ("libLiteRt.so", "libLiteRt.dylib", "libLiteRt.dll")
# The kernels of Engine that libLiteRt has under another name; its "reference" runs the optimized ones (2.3.0).
KERNEL_MODES = {"auto": "delegate", "xnnpack": "delegate", "builtin": "builtin"}
TIMEOUT_S = 300.0

_OK = 0
_CPU = 1  # kLiteRtHwAcceleratorCpu
_WRITE = 1  # kLiteRtTensorBufferLockModeWrite
# tflite::Profiler::EventType: a node of the graph, a node inside of a delegate, the whole of one call.
_NODE, _DELEGATED, _WHOLE = 1 << 1, (1 << 2, 1 << 3), 1 << 4
_WHOLE_TAG = "invoke"
# The head of ProfiledEventData (tag, type, start, elapsed) and its tail (two metadata, source) have stood still; the
# memory figures between them have grown with the versions, so the size is found by looking at what was written.
_HEAD, _TAIL = struct.Struct("<Qi4xQQ"), struct.Struct("<QQi4x")
_ROOM_BYTES, _UNTOUCHED = 1024, 0xAA


class NativeProfilerError(EdgeDeepLabError):
    """The installed engine brings no profiler that this file can talk to; times by operator need another way."""


@dataclass(frozen=True)
class ReportedOperator:
    """One operator as the engine reports it, in the order of execution.

    Attributes:
        name: of the kernel, e.g. "Convolution (NHWC, QC8) DWConv", or the schema's for one outside of a delegate.
        node: index of the operator in the file; None inside of a delegate, which numbers its own.
        partition: which of the delegate's partitions it belongs to, from 0 in the order they run; None outside.
    """

    name: str
    node: int | None
    partition: int | None = None


@dataclass(frozen=True, eq=False)
class ReportedTimes:
    """What the profiler saw.

    Attributes:
        elapsed_us: (runs, operators) float64, microseconds.
        whole_us: (runs,) float64: the call of the interpreter inside of the library, profiler running.
    """

    operators: tuple[ReportedOperator, ...]
    elapsed_us: np.ndarray
    whole_us: np.ndarray


def native_library() -> Path | None:
    """The C library beside the interpreter package in use, None where there is none (tflite-runtime)."""
    module = select_engine().module
    folder = Path(module.__file__ or "").parent
    return next((folder / name for name in LIBRARY_NAMES if (folder / name).is_file()), None)


def find_profiler(kernels: str = "auto") -> Path:
    """The library to ask. Raises NativeProfilerError when there is none, or it does not run these kernels."""
    library = native_library()
    if library is None:
        raise NativeProfilerError(
            "the engine brings no profiler", came=select_engine().name, allowed="ai-edge-litert 2"
        )
    if kernels not in KERNEL_MODES:
        raise NativeProfilerError(
            "the engine's profiler does not run these kernels", came=kernels, allowed=", ".join(KERNEL_MODES)
        )
    return library


def profile_operators(
    path: Path, *, threads: int = 1, kernels: str = "auto", warmup: int = 10, runs: int = 100
) -> ReportedTimes:
    """Runs a model under the profiler, in a child process.

    Raises: NativeProfilerError when the engine has no such profiler, or the child ends without an answer.
    """
    library = find_profiler(kernels)
    search = os.pathsep.join(str(Path(entry).resolve()) if entry else str(Path.cwd()) for entry in sys.path)
    arguments = [str(library), str(path.resolve()), str(threads), KERNEL_MODES[kernels], str(warmup), str(runs)]
    command = [sys.executable, "-P", "-W", "ignore", "-m", "edge_deeplab.runtime.native_profiler", *arguments]
    try:
        child = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": search}, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, errors="replace", timeout=TIMEOUT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired as error:
        raise NativeProfilerError("the engine's profiler hangs", came=f"no answer after {TIMEOUT_S:.0f} s") from error
    lines = child.stdout.strip().splitlines()
    if child.returncode != 0 or not lines:
        came = lines[-1] if child.returncode == 1 and lines else f"exit {child.returncode}"
        raise NativeProfilerError("the engine's profiler gives no times", came=came)
    return _read_answer(lines[-1])


def _read_answer(line: str) -> ReportedTimes:
    try:
        answer: dict[str, Any] = json.loads(line)
        operators = tuple(ReportedOperator(str(name), *places) for name, *places in answer["operators"])
        times = ReportedTimes(
            operators, np.array(answer["elapsed_us"], np.float64), np.array(answer["whole_us"], np.float64)
        )
    except (ValueError, KeyError, TypeError) as error:
        raise NativeProfilerError("the engine's profiler gives no times", came="an answer that is none") from error
    if times.elapsed_us.ndim != 2 or times.elapsed_us.shape[1] != len(operators):
        raise NativeProfilerError("the engine's profiler gives no times", came="rows of different lengths")
    return times


class _Library:
    """libLiteRt's functions: a call that does not return kLiteRtStatusOk is a NativeProfilerError."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))

    def call(self, name: str, *arguments: Any) -> None:
        try:
            function = getattr(self._library, f"LiteRt{name}")
        except AttributeError as error:
            raise NativeProfilerError(f"this libLiteRt has no LiteRt{name}") from error
        status = function(*arguments)
        if status != _OK:
            raise NativeProfilerError(f"LiteRt{name} failed", came=f"status {status}")

    def make(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """Calls a function whose last parameter takes a handle; returns that."""
        handle = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(handle))
        return handle


class _ProfiledModel:
    """A CompiledModel with its profiler on. It is never freed: its process ends with the answer."""

    def __init__(self, library: Path, model: Path, *, threads: int, kernel_mode: str) -> None:
        self._graph = TfliteFile.read(model)
        self._kept: list[Any] = []  # what the library points to
        self._lib = _Library(library)
        self._environment = self._lib.make("CreateEnvironment", 0, None)
        self._model = self._lib.make("CreateModelFromFile", self._environment, str(model).encode())
        options = self._lib.make("CreateOptions")
        self._lib.call("SetOptionsHardwareAccelerators", options, ctypes.c_int(_CPU))
        # Options travel as TOML since 2.1; these two names are those of their payloads.
        self._add_options(options, b"runtime_options_string", "enable_profiling = true\n")
        self._add_options(options, b"xnnpack", f'num_threads = {threads}\nkernel_mode = "{kernel_mode}"\n')
        self._compiled = self._lib.make("CreateCompiledModel", self._environment, self._model, options)
        self._profiler = self._lib.make("CompiledModelGetProfiler", self._compiled)
        if not self._profiler:
            raise NativeProfilerError("this libLiteRt makes no profiler")
        self._inputs = self._buffers("Input")
        self._outputs = self._buffers("Output")
        for buffer, tensor in zip(self._inputs, self._graph.inputs, strict=True):
            self._fill(ctypes.c_void_p(buffer), tensor.dtype)

    def _add_options(self, options: ctypes.c_void_p, name: bytes, toml: str) -> None:
        payload = ctypes.create_string_buffer(toml.encode())
        no_destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda pointer: None)
        self._kept += [payload, no_destructor]
        opaque = self._lib.make("CreateOpaqueOptions", name, ctypes.cast(payload, ctypes.c_void_p), no_destructor)
        self._lib.call("AddOpaqueOptions", options, opaque)

    def _buffers(self, side: str) -> Any:
        subgraph = self._lib.make("GetModelSubgraph", self._model, ctypes.c_size_t(0))
        count = ctypes.c_size_t()
        self._lib.call(f"GetNumSubgraph{side}s", subgraph, ctypes.byref(count))
        buffers = (ctypes.c_void_p * count.value)()
        for index in range(count.value):
            position = ctypes.c_size_t(index)
            tensor = self._lib.make(f"GetSubgraph{side}", subgraph, position)
            tensor_type = ctypes.create_string_buffer(_ROOM_BYTES)
            self._lib.call("GetRankedTensorType", tensor, tensor_type)
            first_signature = ctypes.c_size_t(0)
            needs = self._lib.make(
                f"GetCompiledModel{side}BufferRequirements", self._compiled, first_signature, position
            )
            buffer = self._lib.make(
                "CreateManagedTensorBufferFromRequirements", self._environment, tensor_type, needs
            )  # fmt: skip
            buffers[index] = buffer.value
        return buffers

    def _fill(self, buffer: ctypes.c_void_p, dtype: str) -> None:
        size = ctypes.c_size_t()
        self._lib.call("GetTensorBufferPackedSize", buffer, ctypes.byref(size))
        generator = np.random.default_rng(0)
        if dtype.startswith("float"):
            content = generator.random(size.value // np.dtype(dtype).itemsize, np.float32).astype(dtype).tobytes()
        else:
            content = generator.bytes(size.value)
        address = ctypes.c_void_p()
        self._lib.call("LockTensorBuffer", buffer, ctypes.byref(address), _WRITE)
        ctypes.memmove(address, content, len(content))
        self._lib.call("UnlockTensorBuffer", buffer)

    def run(self) -> None:
        ends = (ctypes.c_size_t(len(self._inputs)), self._inputs, ctypes.c_size_t(len(self._outputs)), self._outputs)
        self._lib.call("RunCompiledModel", self._compiled, ctypes.c_size_t(0), *ends)

    def profiled_run(self) -> list[tuple[str, int, int, int]]:
        """Runs once. Returns (tag, type, microseconds, first metadata) of every event, in the order they ended."""
        self._lib.call("StartProfiler", self._profiler)
        self.run()
        self._lib.call("StopProfiler", self._profiler)
        count = ctypes.c_int()
        self._lib.call("GetNumProfilerEvents", self._profiler, ctypes.byref(count))
        room = (ctypes.c_uint8 * (count.value * _ROOM_BYTES))()
        ctypes.memset(room, _UNTOUCHED, len(room))
        self._lib.call("GetProfilerEvents", self._profiler, count, room)
        events = _read_events(bytes(room), count.value)
        self._lib.call("ResetProfiler", self._profiler)
        return events


def _read_events(room: bytes, count: int) -> list[tuple[str, int, int, int]]:
    """Reads `count` structures of unknown size that fill the beginning of `room`."""
    written = len(room.rstrip(bytes([_UNTOUCHED])))
    size = -(-written // max(count, 1) // 8) * 8
    if count < 2 or not _HEAD.size + _TAIL.size <= size < _ROOM_BYTES:
        raise NativeProfilerError("events of an unknown form", came=f"{count} events of {size} bytes")
    events = []
    for index in range(count):
        tag, kind, _, elapsed_us = _HEAD.unpack_from(room, index * size)
        metadata, _, _ = _TAIL.unpack_from(room, (index + 1) * size - _TAIL.size)
        if not tag or kind not in {1 << bit for bit in range(10)}:
            raise NativeProfilerError("events of an unknown form", came=f"event {index} of type {kind}")
        events.append((ctypes.string_at(tag).decode(errors="replace"), kind, elapsed_us, metadata))
    return events


def _operators_of(
    events: list[tuple[str, int, int, int]],
) -> tuple[list[tuple[str, int | None, int | None]], list[int], int]:
    """(name, node, partition) and microseconds of every operator in a run's events, and microseconds of the whole."""
    operators: list[tuple[str, int | None, int | None]] = []
    elapsed_us: list[int] = []
    partition = -1
    for tag, kind, microseconds, metadata in events:
        if kind == _NODE:
            operators.append((tag, metadata, None))
        elif kind in _DELEGATED:
            partition += metadata == 0  # each partition numbers its operators from 0
            operators.append((tag, None, partition))
        else:
            continue
        elapsed_us.append(microseconds)
    whole = [microseconds for tag, kind, microseconds, _ in events if kind == _WHOLE and tag == _WHOLE_TAG]
    if not operators or len(whole) != 1:
        raise NativeProfilerError("events of an unknown form", came=f"{len(operators)} operators, {len(whole)} wholes")
    return operators, elapsed_us, whole[0]


def main(arguments: list[str]) -> int:
    """The child: library, model, threads, kernel mode, warm-up calls, counted calls. Prints JSON, or what is wrong."""
    library, model, threads, kernel_mode, warmup, runs = arguments
    try:
        profiled = _ProfiledModel(Path(library), Path(model), threads=int(threads), kernel_mode=kernel_mode)
        for _ in range(int(warmup)):
            profiled.run()
        answers = []
        start = time.monotonic()
        for turn in range(int(runs)):
            answers.append(_operators_of(profiled.profiled_run()))
            if turn >= 10 and time.monotonic() - start > 20.0:
                break
    except (NativeProfilerError, ModelError, OSError) as error:
        print(error)
        return 1
    operators = answers[0][0]
    same = [answer for answer in answers if answer[0] == operators]
    print(
        json.dumps(
            {
                "operators": operators,
                "elapsed_us": [elapsed_us for _, elapsed_us, _ in same],
                "whole_us": [whole_us for *_, whole_us in same],
            }
        )
    )
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
