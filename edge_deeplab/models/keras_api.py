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

from edge_deeplab.errors import MissingExtraError, UsageError

NAMES = ("keras", "tf_keras")


@functools.cache
def keras_namespace(name: str) -> Any:
    """Imports and returns the Keras called `name` ("keras" or "tf_keras").

    Keras 3 runs on the backend KERAS_BACKEND names, tensorflow when it is not set.
    Raises: UsageError for another name, MissingExtraError when the package is not installed.
    """
    if name not in NAMES:
        raise UsageError("unknown Keras", came=name, allowed=", ".join(NAMES))
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    try:
        if name == "tf_keras":
            import tf_keras as namespace
        else:
            import keras as namespace
    except ImportError as error:
        raise MissingExtraError(error.name or name, extra="train", purpose="building a network") from error
    return namespace


@functools.cache
def own_layers(K: Any) -> SimpleNamespace:
    """Our registered layers for one Keras: HardSwish, HardSigmoid, Relu6Plus3.

    All three are written with relu6(x + 3), the form of MobileNetV3 (Howard et al. 2019, section 5.2), so that the
    reparametrised int8 form equals them exactly. Relu6Plus3 is 6 * hard_sigmoid: in int8 one ADD with a fused RELU6.
    """
    if hasattr(K, "ops"):
        relu6 = K.ops.relu6
    else:
        import tensorflow as tf

        relu6 = tf.nn.relu6
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
        """relu6(x + 3) / 6."""

        def call(self, inputs: Any) -> Any:
            return relu6(inputs + 3.0) * (1.0 / 6.0)

    @register
    class Relu6Plus3(Elementwise):
        """relu6(x + 3)."""

        def call(self, inputs: Any) -> Any:
            return relu6(inputs + 3.0)

    return SimpleNamespace(HardSwish=HardSwish, HardSigmoid=HardSigmoid, Relu6Plus3=Relu6Plus3)
