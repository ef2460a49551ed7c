"""The quantization-aware twin of a float tf_keras model.

    network = quantize(model)
    network.model(images)                          # fake-quantized
    with network.switch.set(FakeQuant.OFF):
        network.model(images)                      # exactly the float model

Stock tfmot rewrites the network by matching patterns in its config, and permutes the inputs of Concatenate on the way
(its issues 1061 and 1179). Here the network is replayed node by node, every layer inside tfmot's own wrapper, so that
no input can change its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras.quantize_layer import QuantizeLayer
from tensorflow_model_optimization.python.core.quantization.keras.quantize_wrapper import QuantizeWrapperV2

from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.placement import CLIPPED, kind, plan_quantization
from edge_deeplab.quantization.scheme import ActivationQuantizer, FakeQuant, FixedQuantizer, Switch, WeightQuantizer

RANGE_DECAY = 0.99


@dataclass(frozen=True)
class QuantizedNetwork:
    """A tf_keras model whose layers are fake-quantized, and what turns that on and off.

    Attributes:
        model: from images (N, H, W, 3) float32 to the float model's outputs.
        switch: the state of all its quantizers; a tf.function traced before a change keeps the old one.
        input_range: the real values of the darkest and brightest input.
        float_variables: name of the float layer -> its variables, in the order of the float layer's `weights`.
    """

    model: Any
    switch: Switch
    input_range: tuple[float, float]
    float_variables: dict[str, list[Any]]

    def wrappers(self) -> Iterator[QuantizeWrapperV2]:
        """The wrapped layers, in the model's order."""
        for layer in self.model.layers:
            if isinstance(layer, QuantizeWrapperV2):
                yield layer

    def kernels(self) -> Iterator[tuple[Any, WeightQuantizer, Any]]:
        """For every kernel: its variable, its quantizer, and the variable of its channels' peaks."""
        for wrapper in self.wrappers():
            for variable, quantizer, variables in wrapper._weight_vars:
                yield variable, quantizer, variables["peak"]

    def ranges(self) -> dict[str, tuple[Any, Any]]:
        """Name of the float layer -> the variables (low, high) of its output, where that is quantized by range."""
        found = {}
        for wrapper in self.wrappers():
            if wrapper._output_quantizers and isinstance(wrapper._output_quantizers[0], ActivationQuantizer):
                variables = wrapper._output_quantizer_vars
                found[wrapper.layer.name] = (variables["low"], variables["high"])
        return found

    def trainable_variables(self, *, with_batch_norm: bool = True) -> list[Any]:
        """Kernels and biases, and the batch norms' gammas and betas unless they are frozen."""
        chosen = []
        for wrapper in self.wrappers():
            variables = self.float_variables[wrapper.layer.name]
            is_batch_norm = kind(wrapper.layer) == "BatchNormalization"
            if is_batch_norm and not with_batch_norm:
                continue
            statistics = {id(wrapper.layer.moving_mean), id(wrapper.layer.moving_variance)} if is_batch_norm else set()
            chosen += [variable for variable in variables if id(variable) not in statistics]
        return chosen

    def freeze_batch_norm(self, frozen: bool) -> None:
        """Frozen batch norms use their moving statistics in training too. A tf.function has to be traced anew."""
        for wrapper in self.wrappers():
            if kind(wrapper.layer) == "BatchNormalization":
                wrapper.layer.trainable = not frozen


class Saturating(tf_keras.layers.Layer):
    """Clips to -limit..limit, and leaves it to the range of its fake-quant, which was seen behind it, once that holds.

    So no operator of it is left in the file: the int8 convolution before it saturates where it clips.
    """

    def __init__(self, switch: Switch, layer: Any) -> None:
        super().__init__(name=layer.name)
        self.switch = switch
        self.limit = CLIPPED[kind(layer)]

    def call(self, inputs: Any) -> Any:
        """(N, H, W, C), float32."""
        if self.switch.state is FakeQuant.HOLD:
            return inputs
        return tf.clip_by_value(inputs, -self.limit, self.limit)


def replay(model: Any, inputs: list[Any], call: Callable[[Any, Any, dict[str, Any]], Any]) -> list[Any]:
    """Runs a functional model's graph anew, each layer by `call(layer, args, kwargs)`, inputs in their order.

    Returns: what stands for the model's outputs.
    """
    made = {id(tensor): value for tensor, value in zip(model.inputs, inputs)}

    def resolve(value: Any) -> Any:
        return made.get(id(value), value)

    for depth in sorted(model._nodes_by_depth, reverse=True):
        for node in model._nodes_by_depth[depth]:
            if node.is_input:
                continue
            args = tf.nest.map_structure(resolve, node.call_args)
            kwargs = tf.nest.map_structure(resolve, dict(node.call_kwargs))
            outputs = tf.nest.flatten(call(node.layer, args, kwargs))
            for tensor, value in zip(tf.nest.flatten(node.outputs), outputs):
                made[id(tensor)] = value
    return [made[id(tensor)] for tensor in model.outputs]


def _not_all_alike(bias: np.ndarray) -> np.ndarray:
    """The biases, the first one ulp larger where all are one number other than 0.

    TF 2.21's converter keeps such a constant as one number, and quantizes it by the first channel's scale for all: a
    hard sigmoid's untrained 3 came out as 2.7 to 3.6.
    """
    if bias.size > 1 and bias.flat[0] != 0 and (bias == bias.flat[0]).all():
        bias = bias.copy()
        bias.flat[0] = np.nextafter(bias.flat[0], np.float32(np.inf))
    return bias


def quantize(
    model: Any, *, input_range: tuple[float, float] = (0.0, 1.0), range_decay: float = RANGE_DECAY
) -> QuantizedNetwork:
    """Makes the quantization-aware twin of a float model, its weights copied, its ranges not set yet (ranges.py).

    Args:
        model: a functional tf_keras model of one image input and one output, each layer used once.
        input_range: real values of the darkest and brightest possible input.
        range_decay: of the moving averages of the activations' ranges in training.
    Raises: ConversionError naming the layer that has no int8 form.
    """
    if not getattr(model, "_is_graph_network", False):
        raise ConversionError(f"model {model.name} is no functional Keras model", came=type(model).__name__)
    if len(model.inputs) != 1 or len(model.outputs) != 1:
        raise ConversionError(
            f"model {model.name} must have one input and one output",
            came=f"{len(model.inputs)} inputs, {len(model.outputs)} outputs",
        )
    switch = Switch()
    plan = plan_quantization(model, switch, decay=range_decay)
    shape = tuple(model.inputs[0].shape)
    image = tf_keras.Input(shape[1:], batch_size=shape[0], name=model.inputs[0].name.split(":")[0])
    low, high = input_range
    start = QuantizeLayer(FixedQuantizer(switch, low=low, high=high), name="quantize_input")(image)

    float_variables: dict[str, list[Any]] = {}

    def wrap(layer: Any, args: Any, kwargs: dict[str, Any]) -> Any:
        is_clipped = kind(layer) in CLIPPED
        clone = Saturating(switch, layer) if is_clipped else type(layer).from_config(layer.get_config())
        clone.build(tf.nest.map_structure(lambda tensor: tensor.shape, args[0]))
        # At its first call the wrapper puts a tensor in the kernel's place, and the variable leaves clone.weights.
        float_variables[layer.name] = list(clone.weights)
        for variable, value in zip(clone.weights, layer.get_weights()):
            variable.assign(_not_all_alike(value) if variable is getattr(clone, "bias", None) else value)
        return QuantizeWrapperV2(clone, plan[layer.name])(*args, **kwargs)

    outputs = replay(model, [start], wrap)
    twin = tf_keras.Model(image, outputs[0], name=model.name)
    return QuantizedNetwork(twin, switch, (low, high), float_variables)
