"""What a file of someone else gives, whichever kind it is: variables by official name, and what its graph says.

Made by tf1_checkpoint.py, frozen_graph.py and tflite_weights.py; read by detect.py, settle.py and import_model.py.

    reading = read_frozen_graph(Path("frozen_inference_graph.pb"))
    reading.variables["MobilenetV2/Conv/weights"]
    reading.layout.crop_hw
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

KERNELS = ("weights", "depthwise_weights", "pointwise_weights")
BATCH_NORM = ("gamma", "beta", "moving_mean", "moving_variance")

CHECKPOINT = "TensorFlow 1 checkpoint"
FROZEN_GRAPH = "frozen graph"
TFLITE = "float .tflite"


@dataclass(frozen=True, kw_only=True)
class Convolution:
    """What a graph does with one kernel.

    Attributes:
        stride_hw, rate_hw: height first; the rate is the dilation.
        out_hw: height and width of what comes out, None where the graph leaves them open.
        activation: "relu", "relu6" or None; what follows batch norm and bias directly.
    """

    stride_hw: tuple[int, int] = (1, 1)
    rate_hw: tuple[int, int] = (1, 1)
    out_hw: tuple[int, int] | None = None
    activation: str | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """What a graph says and the variables' names do not.

    Attributes:
        convolutions: name of the kernel variable -> what is done with it.
        crop_hw: height and width of the network's input, None where it is free.
        pooling_hw: window of the image pooling, None for the mean of the whole picture, or where there is none.
        pooling_stride_hw: its stride.
        gate: "sigmoid" or "hard_sigmoid" of the image pooling's product, None where there is none.
    """

    convolutions: Mapping[str, Convolution]
    crop_hw: tuple[int, int] | None = None
    pooling_hw: tuple[int, int] | None = None
    pooling_stride_hw: tuple[int, int] = (1, 1)
    gate: str | None = None


class KernelRange(NamedTuple):
    """Between what a kernel was fake-quantized, and whether batch norm was folded into it before."""

    low: float
    high: float
    is_folded: bool


@dataclass(frozen=True, kw_only=True)
class FakeQuantRanges:
    """What a quantization-aware training in TensorFlow 1 left in a graph.

    Attributes:
        activations: place in the network (fake_quant.py) -> (low, high) of the tensor there.
        kernels: name of the kernel variable -> its range.
    """

    activations: Mapping[object, tuple[float, float]]
    kernels: Mapping[str, KernelRange]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One file, read.

    Attributes:
        source: its path, for messages and provenance.
        kind: CHECKPOINT, FROZEN_GRAPH or TFLITE.
        variables: official name -> float32 array. Where batch norm is folded, a layer has "biases" in its place.
        epsilons: scope of a layer with batch norm -> what its graph adds to the variance.
        layout: what the graph says; None for a checkpoint, which has none.
        mean_rgb: what the graph subtracts from pixels that it does not scale; None where they become -1..1.
        ranges: of a quantized graph.
        run_quantized: as run, fake quantization included, of a quantized graph; `run` leaves it out.
        run: from pixels (N, H, W, 3) float32 0..255, whole numbers, of the crop's size, to logits (N, H, W, classes)
            at the input's size; None where the file cannot be run.
        notes: what was left out or chosen, one line each.
    """

    source: str
    kind: str
    variables: Mapping[str, np.ndarray]
    epsilons: Mapping[str, float] = field(default_factory=dict)
    layout: Layout | None = None
    mean_rgb: tuple[float, float, float] | None = None
    ranges: FakeQuantRanges | None = None
    run: Callable[[np.ndarray], np.ndarray] | None = None
    run_quantized: Callable[[np.ndarray], np.ndarray] | None = None
    notes: tuple[str, ...] = ()

    @property
    def is_folded(self) -> bool:
        """Whether batch norm is inside weights and biases."""
        return not any(name.endswith("/BatchNorm/gamma") or name.endswith("/BatchNorm/beta") for name in self.variables)

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Official name -> shape."""
        return {name: tuple(array.shape) for name, array in self.variables.items()}


def scope_of(name: str) -> str:
    """The scope a variable stands in: MobilenetV2/Conv of MobilenetV2/Conv/weights and .../BatchNorm/gamma."""
    scope, _, last = name.rpartition("/")
    return scope.removesuffix("/BatchNorm") if last in BATCH_NORM else scope


def is_kernel(name: str) -> bool:
    """Whether a variable is a convolution's kernel."""
    return name.rpartition("/")[2] in KERNELS
