"""Where a network is fake-quantized: the rules that mirror how TFLite fuses operators and shares scales.

Nothing here changes a network; graph.py wraps its layers by the plan made here.

    plan = plan_quantization(model, switch, decay=0.99)
    plan["aspp_concat"].output
"""

from __future__ import annotations

from typing import Any, NamedTuple

from edge_deeplab.errors import ConversionError
from edge_deeplab.quantization.scheme import ActivationQuantizer, FixedQuantizer, LayerScheme, Switch, WeightQuantizer


class Kernel(NamedTuple):
    """The kernel variable of a layer class and how TFLite scales it."""

    attribute: str
    is_depthwise: bool = False
    per_channel: bool = True


KERNELS = {
    "Conv2D": Kernel("kernel"),
    "DepthwiseConv2D": Kernel("depthwise_kernel", is_depthwise=True),
    "Conv2DTranspose": Kernel("kernel", per_channel=False),
    "Dense": Kernel("kernel", per_channel=False),
}
# Their output has a range of its own.
OWN_RANGE = {
    "Add", "Multiply", "Subtract", "Concatenate", "GlobalAveragePooling2D", "LeakyReLU", "Relu6Plus3",
}  # fmt: skip
# Nothing is left of these either: an int8 range that ends at their limit does the same (graph.py).
CLIPPED = {"Clip6": 6.0}
# TFLite's specification: input and output of these share scale and zero point.
SAME_SCALE = {
    "UpSampling2D", "Resizing", "AlignedResize", "MaxPooling2D", "AveragePooling2D", "GlobalMaxPooling2D",
    "ZeroPadding2D", "Cropping2D", "Reshape", "Flatten", "Permute",
}  # fmt: skip
# Nothing is left of them after conversion.
IDENTITY = {"Dropout", "SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization"}
# TFLite fixes the output of these: LOGISTIC and SOFTMAX at scale 1/256, TANH at 1/128.
FIXED_RANGE = {"softmax": (0.0, 255.0 / 256.0), "sigmoid": (0.0, 255.0 / 256.0), "tanh": (-1.0, 127.0 / 128.0)}
FUSED_ACTIVATIONS = {"relu", "relu6"}
# A ReLU or ReLU6 behind these becomes their fused activation.
TAKES_RECTIFIER = {"Add", "Multiply", "Subtract", "BatchNormalization", *KERNELS}
HOW_TO_QUANTIZE = "Keras layers: " + ", ".join(
    sorted({*KERNELS, *OWN_RANGE, *SAME_SCALE, *IDENTITY, "BatchNormalization", "ReLU", "Activation", "Softmax"})
)


def kind(layer: Any) -> str:
    """The layer's class name, as the tables above have it."""
    return type(layer).__name__


def activation_of(layer: Any) -> str:
    """The name of a layer's `activation` argument; "linear" when there is none."""
    activation = getattr(layer, "activation", None)
    return getattr(activation, "__name__", "linear") if activation is not None else "linear"


def is_rectifier(layer: Any) -> bool:
    """ReLU or ReLU6 in one of Keras's spellings: what TFLite fuses."""
    if kind(layer) == "Activation":
        return activation_of(layer) in FUSED_ACTIVATIONS
    if kind(layer) != "ReLU":
        return False
    return layer.max_value in (None, 6, 6.0) and not float(layer.negative_slope) and not float(layer.threshold)


def is_identity(layer: Any) -> bool:
    """Gone after conversion."""
    return kind(layer) in IDENTITY or (kind(layer) == "Activation" and activation_of(layer) == "linear")


class Graph:
    """Who reads whom among the layers of a functional tf_keras model in which every layer is used once.

    Raises: ConversionError naming a layer used more than once.
    """

    def __init__(self, model: Any) -> None:
        self.layers = {layer.name: layer for layer in model.layers}
        self.sources: dict[str, list[str]] = {}
        self.readers: dict[str, list[str]] = {name: [] for name in self.layers}
        self.outputs = {tensor._keras_history.layer.name for tensor in model.outputs}
        nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
        for node in nodes:
            name = node.layer.name
            if name in self.sources:
                raise ConversionError(
                    f"layer {name} ({kind(node.layer)}) is used more than once; a shared layer cannot have one range",
                    next_step="give each use a layer of its own",
                )
            self.sources[name] = [tensor._keras_history.layer.name for tensor in node.keras_inputs]
            for source in self.sources[name]:
                self.readers[source].append(name)

    def only_reader(self, name: str) -> Any | None:
        """The one layer that reads `name`, or None when there are several, or the output is also the model's."""
        if len(self.readers[name]) != 1 or name in self.outputs:
            return None
        return self.layers[self.readers[name][0]]

    def source(self, name: str) -> Any:
        """The first layer that `name` reads."""
        return self.layers[self.sources[name][0]]


def _fuses_into_reader(graph: Graph, layer: Any) -> bool:
    """True where TFLite makes one operator of `layer` and what reads it: no fake-quant may stand between them."""
    reader = graph.only_reader(layer.name)
    if reader is None or activation_of(layer) != "linear":
        return False
    if kind(reader) == "BatchNormalization":
        return kind(layer) in KERNELS
    return (is_rectifier(reader) or kind(reader) in CLIPPED) and kind(layer) in TAKES_RECTIFIER


def _given_by_concat(graph: Graph, name: str) -> bool:
    """True when the tensor's range is that of a Concatenate behind it, directly or through same-scale layers.

    CONCATENATION wants one scale for all inputs and its output. A range of its own on the way (stock tfmot) costs
    a QUANTIZE operator and a rounding more.
    """
    for reader in graph.readers[name]:
        reader_kind = kind(graph.layers[reader])
        if reader_kind == "Concatenate":
            return True
        passes = reader_kind in SAME_SCALE or is_identity(graph.layers[reader])
        if passes and _given_by_concat(graph, reader):
            return True
    return False


def _check_known(graph: Graph, layer: Any) -> None:
    name, layer_kind = layer.name, kind(layer)
    if layer_kind == "BatchNormalization":
        source = graph.source(name)
        if kind(source) not in KERNELS or graph.only_reader(source.name) is not layer:
            raise ConversionError(
                f"layer {name} (BatchNormalization) does not follow a convolution of its own",
                next_step="quantization.reparametrise makes it a depthwise convolution first",
            )
        if activation_of(source) != "linear":
            raise ConversionError(f"layer {source.name}: an activation stands before its batch norm {name}")
        return
    known = layer_kind in {*KERNELS, *OWN_RANGE, *CLIPPED, *SAME_SCALE, "ReLU", "Softmax", "InputLayer"} or is_identity(
        layer
    )
    activation = activation_of(layer)
    if layer_kind == "Activation":
        known = activation in {"linear", *FUSED_ACTIVATIONS, *FIXED_RANGE}
    elif activation not in {"linear", *FUSED_ACTIVATIONS}:
        known = False
    if not known:
        detail = f"{layer_kind}, activation {activation}" if activation != "linear" else layer_kind
        raise ConversionError(
            f"layer {name} ({detail}) has no int8 form here", allowed=HOW_TO_QUANTIZE,
            next_step="replace the layer, or convert to float16",
        )  # fmt: skip


def _output_quantizer(
    graph: Graph, layer: Any, switch: Switch, decay: float
) -> ActivationQuantizer | FixedQuantizer | None:
    layer_kind = kind(layer)
    if layer_kind == "Softmax" or (layer_kind == "Activation" and activation_of(layer) in FIXED_RANGE):
        low, high = FIXED_RANGE["softmax" if layer_kind == "Softmax" else activation_of(layer)]
        return FixedQuantizer(switch, low=low, high=high)
    if layer_kind in SAME_SCALE or is_identity(layer) or _fuses_into_reader(graph, layer):
        return None
    if _given_by_concat(graph, layer.name):
        return None
    return ActivationQuantizer(switch, decay=decay)


def plan_quantization(model: Any, switch: Switch, *, decay: float) -> dict[str, LayerScheme]:
    """Decides for every layer of a functional tf_keras model what is fake-quantized.

    Args:
        switch: turned by the network that will hold the quantizers.
        decay: of the moving averages of the activations' ranges.
    Returns: layer name -> scheme, input layers left out.
    Raises: ConversionError naming the first layer without an int8 form.
    """
    graph = Graph(model)
    plan = {}
    for name, layer in graph.layers.items():
        if kind(layer) == "InputLayer":
            continue
        _check_known(graph, layer)
        output = _output_quantizer(graph, layer, switch, decay)
        if kind(layer) in KERNELS:
            kernel = KERNELS[kind(layer)]
            weight = WeightQuantizer(switch, is_depthwise=kernel.is_depthwise, per_channel=kernel.per_channel)
            plan[name] = LayerScheme(kernel=kernel.attribute, weight=weight, output=output)
        else:
            plan[name] = LayerScheme(output=output)
    return plan
