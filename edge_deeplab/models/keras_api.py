"""Which Keras is in use: the one place that imports `keras` (3) or `tf_keras`, and our own layers for each.

Every network in this room is a function of a Keras namespace, so the same lines make the Keras 3 model that is trained
and the tf_keras twin that tensorflow-model-optimization needs. Never write `tf.keras`: importing tfmot changes what it
means.

    K = keras_namespace("keras")
"""

from __future__ import annotations

import functools
import os
from types import SimpleNamespace
from typing import Any

import numpy as np

from edge_deeplab.errors import MissingExtraError, UsageError, nearest

NAMES = ("keras", "tf_keras")
BACKENDS = ("tensorflow", "jax")


@functools.cache
def keras_namespace(name: str) -> Any:
    """Imports and returns the Keras called `name` ("keras" or "tf_keras").

    Keras 3 runs on the backend KERAS_BACKEND names, tensorflow when it is not set.
    Raises: UsageError for another name or backend, MissingExtraError when a package is not installed.
    """
    if name not in NAMES:
        raise UsageError("unknown Keras", came=name, allowed=", ".join(NAMES))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    backend = os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    if name == "keras" and backend not in BACKENDS:
        raise UsageError("KERAS_BACKEND: unknown backend", came=backend, allowed=nearest(backend, BACKENDS))
    try:
        if name == "tf_keras":
            import tf_keras as namespace
        else:
            import keras as namespace
    except ImportError as error:
        missing = error.name or name
        extra = "gpu" if missing in ("jax", "jaxlib") else "train"
        raise MissingExtraError(missing, extra=extra, purpose="building a network") from error
    return namespace


@functools.cache
def own_layers(K: Any) -> SimpleNamespace:
    """Our registered layers for one Keras: HardSwish, HardSigmoid, Relu6Plus3, Clip6, AlignedResize.

    The first three are written with relu6(x + 3), the form of MobileNetV3 (Howard et al. 2019, section 5.2), so that
    the reparametrised int8 form equals them exactly. Relu6Plus3 is 6 * hard_sigmoid: in int8 one ADD with a fused
    RELU6.
    """
    if hasattr(K, "ops"):
        relu6, clip = K.ops.relu6, K.ops.clip
    else:
        import tensorflow as tf

        relu6, clip = tf.nn.relu6, tf.clip_by_value
    if not hasattr(K, "ops") or K.backend.backend() == "tensorflow":
        import tensorflow as tf

        shape_of = tf.shape

        def scaled_side(side: Any, scale: float) -> Any:
            return tf.cast((tf.cast(side, tf.float32) - 1.0) * scale + 1.0, tf.int32)

        def resize_aligned(x: Any, size_hw: Any, from_origin: bool = False) -> Any:
            return tf.raw_ops.ResizeBilinear(images=x, size=size_hw, align_corners=not from_origin)
    else:  # shapes are whole numbers there, even while tracing
        shape_of = K.ops.shape

        def scaled_side(side: Any, scale: float) -> Any:
            return int((side - 1) * scale + 1)

        def resize_aligned(x: Any, size_hw: Any, from_origin: bool = False) -> Any:
            rows, columns = (_aligned_matrix(x.shape[axis], size_hw[axis - 1], from_origin) for axis in (1, 2))
            return K.ops.einsum("ph,nhwc,qw->npqc", rows, x, columns)

    register = K.saving.register_keras_serializable(package="edge_deeplab")

    class Elementwise(K.layers.Layer):
        def compute_output_shape(self, input_shape: Any) -> Any:
            return input_shape

    @register
    class HardSwish(Elementwise):
        """x * relu6(x + 3) / 6."""

        def call(self, inputs: Any) -> Any:
            return inputs * relu6(inputs + 3.0) * (1.0 / 6.0)

    @register
    class HardSigmoid(Elementwise):
        """relu6(x + 3) * slope, a sixth."""

        def __init__(self, slope: float = 1.0 / 6.0, **settings: Any) -> None:
            super().__init__(**settings)
            self.slope = float(slope)

        def call(self, inputs: Any) -> Any:
            return relu6(inputs + 3.0) * self.slope

        def get_config(self) -> Any:
            return {**super().get_config(), "slope": self.slope}

    @register
    class Relu6Plus3(Elementwise):
        """relu6(x + 3)."""

        def call(self, inputs: Any) -> Any:
            return relu6(inputs + 3.0)

    @register
    class Clip6(Elementwise):
        """min(max(x, -6), 6), the linear outputs of Xception's bounded form."""

        def call(self, inputs: Any) -> Any:
            return clip(inputs, -6.0, 6.0)

    @register
    class AlignedResize(K.layers.Layer):
        """Bilinear with aligned corners: the first and last pixels of both pictures coincide.

        To size_hw, or, from_origin, to a whole multiple, the first pixels alone on one another and the others a whole
        step apart; or, with none, called on [x, like], to the size of `like` at a scale, int((H - 1) * scale + 1).
        """

        def __init__(self, size_hw: Any = None, scale: float = 1.0, from_origin: bool = False, **settings: Any) -> None:
            super().__init__(**settings)
            self.size_hw = None if size_hw is None else tuple(int(side) for side in size_hw)
            self.scale = float(scale)
            self.from_origin = bool(from_origin)

        def call(self, inputs: Any) -> Any:
            if self.size_hw is not None:
                return resize_aligned(inputs, self.size_hw, self.from_origin)
            x, like = inputs
            shape = shape_of(like)
            return resize_aligned(x, [scaled_side(shape[axis], self.scale) for axis in (1, 2)])

        def compute_output_shape(self, input_shape: Any) -> Any:
            if self.size_hw is not None:
                return (input_shape[0], *self.size_hw, input_shape[3])
            x, like = input_shape
            sides = [None if side is None else int((side - 1) * self.scale + 1) for side in like[1:3]]
            return (x[0], *sides, x[3])

        def get_config(self) -> Any:
            return {
                **super().get_config(),
                "size_hw": self.size_hw,
                "scale": self.scale,
                "from_origin": self.from_origin,
            }

    return SimpleNamespace(
        HardSwish=HardSwish, HardSigmoid=HardSigmoid, Relu6Plus3=Relu6Plus3, Clip6=Clip6, AlignedResize=AlignedResize
    )


def _aligned_matrix(source: int, target: int, from_origin: bool) -> Any:
    """(target, source) float32: each row the two bilinear weights of one output pixel."""
    step = source / target if from_origin else (source - 1) / max(1, target - 1)
    at = np.arange(target) * step
    low = np.minimum(at.astype(int), source - 1)
    high = np.minimum(low + 1, source - 1)
    matrix = np.zeros((target, source), np.float32)
    matrix[np.arange(target), low] += 1 - (at - low)
    matrix[np.arange(target), high] += at - low
    return matrix
