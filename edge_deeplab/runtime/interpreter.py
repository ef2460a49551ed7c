"""The LiteRT interpreter: the one file that knows which package brings it.

    with Engine(Path("portrait.tflite"), threads=2) as engine:
        (logits,) = engine.run(image[np.newaxis])

ai-edge-litert is taken first, tflite-runtime 2.14 where that is not installed; both are imported when the first
Engine opens, so importing this module costs nothing. constraints/tflite-runtime.txt has the versions of the second
one's environment; on both, float results agreed to 1e-7 and Coral's int8 VOC model took 24 against 533 ms (513 x 513,
one Zen 5 core). What a picture or a class is, is not known here.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any, Literal, get_args

import numpy as np

from edge_deeplab.errors import EdgeDeepLabError, MissingExtraError, ModelError, UsageError
from edge_deeplab.runtime.probe import check_is_tflite, ensure_loads
from edge_deeplab.runtime.quantized_values import Quantization

Kernels = Literal["auto", "xnnpack", "builtin", "reference"]
KERNELS: tuple[str, ...] = get_args(Kernels)

# Order is preference. tflite-runtime ends at 2.14, Python 3.11 and numpy 1.
_PACKAGES = (("ai-edge-litert", "ai_edge_litert.interpreter"), ("tflite-runtime", "tflite_runtime.interpreter"))

# OpResolverType's names. BUILTIN_REF and the one without delegates never see XNNPACK.
_RESOLVERS = {
    "auto": "AUTO",
    "xnnpack": "AUTO",
    "builtin": "BUILTIN_WITHOUT_DEFAULT_DELEGATES",
    "reference": "BUILTIN_REF",
}


@dataclass(frozen=True)
class EnginePackage:
    """The interpreter package in use: its distribution name, its version, its module."""

    name: str
    version: str
    module: ModuleType


@dataclass(frozen=True, eq=False)
class TensorInfo:
    """One input or output of a model.

    Attributes:
        name: as the file calls it.
        shape: as it is now.
        signature: as the file declares it; -1 where a dimension is dynamic.
        dtype: of the raw values.
        quantization: None for real numbers and for labels.
    """

    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    dtype: np.dtype
    quantization: Quantization | None

    def __str__(self) -> str:
        return f"{self.name} {self.dtype} {' x '.join('?' if size < 0 else str(size) for size in self.signature)}"


def select_engine(import_module: Callable[[str], ModuleType] = importlib.import_module) -> EnginePackage:
    """Imports the first interpreter package that is installed.

    Warns (RuntimeWarning) when it is tflite-runtime, whose int8 is about 20 times slower.
    Raises: MissingExtraError when none is installed; EdgeDeepLabError when one is installed and does not import.
    """
    from importlib.metadata import PackageNotFoundError, version

    for name, module_name in _PACKAGES:
        try:
            module = import_module(module_name)
        except ModuleNotFoundError as error:
            if error.name is not None and error.name.split(".")[0] == module_name.split(".")[0]:
                continue
            raise EdgeDeepLabError(f"{name} is installed and lacks a package", came=str(error)) from error
        except (ImportError, AttributeError) as error:  # numpy 2 under tflite-runtime gives either
            hint = "pip install 'numpy<2'" if name == "tflite-runtime" else f"pip install --force-reinstall {name}"
            raise EdgeDeepLabError(
                f"{name} is installed and cannot be imported", came=str(error), next_step=hint
            ) from error
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "unknown"
        if name == "tflite-runtime":
            warnings.warn(
                f"running on tflite-runtime {found}: int8 models are about 20 times slower than on ai-edge-litert"
                " (no XNNPACK for int8); pip install ai-edge-litert",
                RuntimeWarning,
                stacklevel=2,
            )
        return EnginePackage(name, found, module)
    raise MissingExtraError("ai-edge-litert", extra="headless", purpose="running a model")


_engine_in_use = functools.cache(select_engine)


def engine_name() -> tuple[str, str]:
    """Distribution name and version of the interpreter in use, e.g. ("ai-edge-litert", "2.3.0")."""
    package = _engine_in_use()
    return package.name, package.version


@contextlib.contextmanager
def quiet_native_log() -> Iterator[None]:
    """Holds back what LiteRT's C++ writes to stderr while a model loads ("Created TensorFlow Lite XNNPACK delegate").

    It has no switch for that line. The file descriptor is the process's: for these milliseconds other threads' lines
    go, too. Errors come as exceptions all the same.
    """
    try:
        kept = os.dup(2)
    except OSError:  # a process without stderr has nothing to keep quiet
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)


class Engine:
    """A loaded model: arrays in, arrays out. A context manager; not for several threads at once.

    Args:
        path: a .tflite file.
        threads: of the interpreter.
        kernels: "xnnpack" (which "auto" is), "builtin" (LiteRT's optimized kernels, no delegate) or "reference"
            (slow; the same results on every processor).
        is_known_good: skips the first load in a child process; for a file just loaded there.
        delegate: the shared library of an external delegate, asked before the kernels. It runs in this process: who
            does not trust it makes the Engine in a child.
        content: loaded in place of the file's own bytes: a part of that model, no worse to load than all of it.

    Raises: ModelError when the file is missing, no TFLite model, or does not load; UsageError for threads and kernels,
        and for a library that is no delegate.
    """

    def __init__(
        self,
        path: Path,
        *,
        threads: int = 1,
        kernels: str = "auto",
        is_known_good: bool = False,
        delegate: Path | None = None,
        content: bytes | None = None,
    ) -> None:
        if threads < 1:
            raise UsageError("threads must be at least 1", came=threads)
        if kernels not in KERNELS:
            raise UsageError("unknown kernels", came=kernels, allowed=", ".join(KERNELS))
        self.path, self.threads, self.kernels = Path(path), threads, kernels
        check_is_tflite(self.path)
        module = _engine_in_use().module
        if not is_known_good:
            ensure_loads(self.path, kernels=kernels)
        delegates = [_load_delegate(module, delegate)] if delegate else None
        try:
            with quiet_native_log():
                self._interpreter: Any = module.Interpreter(
                    model_path=None if content else str(self.path),
                    model_content=content,
                    num_threads=threads,
                    experimental_op_resolver_type=module.OpResolverType[_RESOLVERS[kernels]],
                    experimental_delegates=delegates,
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path}: does not load", came=str(error)) from error
        self._read_tensors()

    def _read_tensors(self) -> None:
        input_details, output_details = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        self._input_ids = [details["index"] for details in input_details]
        self._output_ids = [details["index"] for details in output_details]
        self.inputs = tuple(_tensor_info(details) for details in input_details)
        self.outputs = tuple(_tensor_info(details) for details in output_details)

    def run(self, *arrays: np.ndarray) -> list[np.ndarray]:
        """Runs the model once.

        arrays: one per input, in the order of `inputs`, of exactly their shape and raw dtype.
        Returns: one array per output, raw, owned by the caller.
        Raises: ModelError when the arrays do not fit the inputs, or the model fails while it runs.
        """
        self.invoke(*arrays)
        return [self._interpreter.get_tensor(index) for index in self._output_ids]

    def invoke(self, *arrays: np.ndarray) -> None:
        """As run, but leaves the outputs where they are, for `peek`."""
        if len(arrays) != len(self.inputs):
            names = ", ".join(str(info) for info in self.inputs)
            raise ModelError(f"{self.path}: wrong number of inputs", came=len(arrays), allowed=names)
        for index, info, array in zip(self._input_ids, self.inputs, arrays, strict=True):
            if array.dtype != info.dtype or array.shape != info.shape:
                raise ModelError(
                    f"{self.path}: the input does not fit", came=f"{array.dtype} {array.shape}",
                    allowed=f"{info.dtype} {info.shape} ({info.name})",
                )  # fmt: skip
            self._interpreter.set_tensor(index, array)
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path}: fails while it runs", came=str(error)) from error

    def peek(self, index: int = 0) -> np.ndarray:
        """An output without a copy: a view of the interpreter's memory that must be dropped before the next call."""
        return self._interpreter.tensor(self._output_ids[index])()

    def resize_input(self, shape: tuple[int, ...], index: int = 0) -> None:
        """Gives an input another shape, and reads `inputs` and `outputs` again.

        Raises: ModelError when the model's operators do not allow it; the engine is of no use after that.
        """
        try:
            self._interpreter.resize_tensor_input(self._input_ids[index], shape, strict=True)
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise ModelError(
                f"{self.path}: its input cannot have another shape", came=f"{shape}: {error}",
                allowed=str(self.inputs[index]),
            ) from error  # fmt: skip
        self._read_tensors()

    def close(self) -> None:
        """Frees the model. Closing twice is harmless; running after it is an error."""
        self._interpreter = None

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _load_delegate(module: ModuleType, library: Path) -> Any:
    try:
        return module.load_delegate(str(library))
    except (ValueError, OSError, AttributeError) as error:  # AttributeError: a library without a delegate's functions
        raise UsageError(
            f"{library}: is no delegate", came=str(error).strip() or None,
            allowed="a shared library with tflite_plugin_create_delegate",
        ) from error  # fmt: skip


def _tensor_info(details: dict[str, Any]) -> TensorInfo:
    parameters = details["quantization_parameters"]
    scales = np.asarray(parameters["scales"], np.float32)
    quantization = None
    if scales.size:
        axis = int(parameters["quantized_dimension"]) if scales.size > 1 else None
        quantization = Quantization(scales, np.asarray(parameters["zero_points"], np.int32), axis)
    shape = tuple(int(size) for size in details["shape"])
    signature = tuple(int(size) for size in details.get("shape_signature", ())) or shape
    return TensorInfo(details["name"], shape, signature, np.dtype(details["dtype"]), quantization)
