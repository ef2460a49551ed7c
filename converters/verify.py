"""A converted file before it gets its name: gated, load-tested in a child process, run against its source, published.

report = write_verified(Path("portrait.tflite"), data, manifest=manifest, io="uint8", images=real, expected=outputs)
report.signal_to_noise_db, report.largest_steps
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edge_deeplab.converters.gates import require_int8, require_one_delegate, undelegated
from edge_deeplab.converters.paths import check_free
from edge_deeplab.converters.publish import publish
from edge_deeplab.errors import ConversionError, ModelError, OutputError
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.flatbuffer import TfliteFile
from edge_deeplab.runtime.interpreter import Engine
from edge_deeplab.runtime.probe import ensure_loads
from edge_deeplab.runtime.quantized_values import dequantize, quantize


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How near a file's output is to a network's.

    Attributes:
        signal_to_noise_db: 10 log10 of the output's mean square over the difference's.
        largest, mean: of the absolute difference, in real units.
        step: the size of one output step of a quantized file; None for float.
    """

    signal_to_noise_db: float
    largest: float
    mean: float
    step: float | None

    def __str__(self) -> str:
        if self.step:
            return (
                f"{self.signal_to_noise_db:.1f} dB, mean {self.mean / self.step:.2f} and largest"
                f" {self.largest / self.step:.0f} output steps"
            )
        return f"{self.signal_to_noise_db:.1f} dB, largest difference {self.largest:.2g}"


@dataclass(frozen=True, kw_only=True)
class FileReport:
    """A file that was written.

    Attributes:
        against_float: agreement with the float network.
        against_quantized: agreement with the fake-quantized network, for int8 of our own path.
        left_out: operators that XNNPACK leaves to other kernels, by name and layer.
    """

    path: Path
    format: str
    size_bytes: int
    sha256: str
    against_float: Agreement
    against_quantized: Agreement | None = None
    left_out: tuple[str, ...] = ()


def agreement(expected: np.ndarray, got: np.ndarray, *, step: float | None = None) -> Agreement:
    """Compares two outputs of the same shape."""
    difference = np.abs(np.asarray(expected, np.float64) - np.asarray(got, np.float64))
    noise, signal = float((difference**2).mean()), float((np.asarray(expected, np.float64) ** 2).mean())
    ratio = 10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30))
    return Agreement(
        signal_to_noise_db=float(ratio), largest=float(difference.max()), mean=float(difference.mean()), step=step
    )


def run_file(path: Path, images: np.ndarray, *, kernels: str = "auto") -> tuple[np.ndarray, float | None]:
    """Runs a file over real inputs.

    images: (N, H, W, 3) float32 in the range the network takes.
    Returns: (N, ...) float32 real outputs, and the size of an output step, None where the output is float.
    """
    outputs = []
    with Engine(path, kernels=kernels) as engine:
        source, target = engine.inputs[0], engine.outputs[0]
        for image in images:
            real = image[np.newaxis].astype(np.float32)
            raw = real if source.quantization is None else quantize(real, source.quantization, source.dtype)
            (output,) = engine.run(raw)
            outputs.append(output if target.quantization is None else dequantize(output, target.quantization))
        step = None if target.quantization is None else float(target.quantization.scale.max())
    return np.concatenate(outputs).astype(np.float32), step


def _load_test(temporary: Path, path: Path) -> None:
    """Loads the file in a child process; the message names the file by the name it would have had."""
    try:
        ensure_loads(temporary)
    except ModelError as error:
        raise ConversionError(str(error).replace(str(temporary), f"{path} (not written)")) from error


def write_verified(
    path: Path,
    data: bytes,
    *,
    format_name: str,
    manifest: Manifest,
    io: str,
    images: np.ndarray,
    expected: np.ndarray,
    expected_quantized: np.ndarray | None = None,
    wants_one_delegate: bool = True,
    overwrite: bool = False,
) -> FileReport:
    """Publishes a conversion's bytes under `path`, or leaves nothing behind.

    Args:
        data: what a converter gave; int8 ones are held against converters.gates.
        io: the ends' type of an int8 file.
        images, expected, expected_quantized: real inputs (N, H, W, 3) and what the float and the fake-quantized
            network make of them.
        wants_one_delegate: False reports what XNNPACK leaves out instead of refusing it.
    Raises: ConversionError when a gate is missed, ModelError when the file does not load, OutputError.
    """
    check_free(path, overwrite=overwrite)
    is_int8 = format_name == "int8"
    if is_int8:
        require_int8(TfliteFile.from_bytes(data, source=str(path)), io=io)
    published = publish(data, manifest)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.part.tflite")
    try:
        temporary.write_bytes(published)
        _load_test(temporary, path)
        if is_int8 and wants_one_delegate:
            require_one_delegate(temporary)
        left_out = undelegated(temporary)[1] if is_int8 else ()
        got, step = run_file(temporary, images)
        temporary.replace(path)
    except OSError as error:
        raise OutputError(f"{path}: cannot be written", came=error.strerror) from error
    finally:
        temporary.unlink(missing_ok=True)
    return FileReport(
        path=path,
        format=format_name,
        size_bytes=len(published),
        sha256=hashlib.sha256(published).hexdigest(),
        against_float=agreement(expected, got, step=step),
        against_quantized=None if expected_quantized is None else agreement(expected_quantized, got, step=step),
        left_out=left_out,
    )
