"""Models made by others: a Keras file rebuilt as tf_keras layer by layer, a SavedModel taken as a function.

    model = read_keras_model(Path("theirs.keras"))              # functional tf_keras, weights copied
    function = read_saved_model(Path("exported"), size_hw=(257, 257))

A layer we do not know is named, never guessed. What a model file cannot say of itself (labels, input range, ...) comes
from the caller as ForeignFacts, and what is missing is asked for.
"""

from __future__ import annotations

import inspect
import json
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from edge_deeplab.errors import ConversionError, InputError, ModelError
from edge_deeplab.models.keras_api import keras_namespace, own_layers

# Built in both Kerases with the same meaning and the same order of weights.
KNOWN = {
    "Activation", "Add", "AveragePooling2D", "BatchNormalization", "Concatenate", "Conv2D", "Conv2DTranspose",
    "Cropping2D", "Dense", "DepthwiseConv2D", "Dropout", "Flatten", "GaussianNoise", "GlobalAveragePooling2D",
    "GlobalMaxPooling2D", "InputLayer", "LeakyReLU", "MaxPooling2D", "Multiply", "Permute", "ReLU", "Rescaling",
    "Reshape", "Resizing", "SeparableConv2D", "Softmax", "SpatialDropout2D", "Subtract", "UpSampling2D",
    "ZeroPadding2D",
}  # fmt: skip
OURS = {"HardSwish", "HardSigmoid", "Relu6Plus3", "Clip6", "AlignedResize"}
MODELS = {"Functional", "Sequential", "Model"}
# Arithmetic on tensors that Keras 3 keeps as an operation of its own.
OPERATIONS = {"Add", "Multiply", "Subtract"}
ACTIVATIONS = {
    "linear", "relu", "relu6", "softmax", "sigmoid", "tanh", "hard_sigmoid", "swish", "silu", "elu", "selu", "gelu",
    "leaky_relu", "softplus", "softsign", "exponential",
}  # fmt: skip
_LOAD_ERRORS = (ValueError, OSError, KeyError, TypeError, zipfile.BadZipFile, NotImplementedError)


@dataclass(frozen=True, kw_only=True)
class UnknownLayer:
    """A layer of a foreign model that cannot be rebuilt."""

    name: str
    class_name: str

    def __str__(self) -> str:
        return f"{self.name} ({self.class_name})"


def _read_config(path: Path) -> dict[str, Any]:
    """The architecture in a .keras or .h5 file, without building anything."""
    if not path.is_file():
        raise ModelError(f"{path}: no such model file")
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                return dict(json.loads(archive.read("config.json")))
        import h5py

        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise ModelError(
                    f"{path}: holds weights without an architecture", allowed="a whole model: model.save(...)"
                )
            return dict(json.loads(file.attrs["model_config"]))
    except (*_LOAD_ERRORS, UnicodeDecodeError) as error:
        raise ModelError(
            f"{path}: is no Keras model", came=str(error).splitlines()[0], allowed=".keras or .h5 of a whole model"
        ) from error


def _layers_in(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """All layers of a model's config, those of nested models too."""
    for layer in config.get("config", {}).get("layers", []):
        if layer.get("class_name") in MODELS:
            yield from _layers_in(layer)
        else:
            yield layer


def unknown_layers(path: Path) -> tuple[UnknownLayer, ...]:
    """The layers of a .keras or .h5 file that cannot be rebuilt, in the model's order."""
    config = _read_config(path)
    if config.get("class_name") not in MODELS:
        raise ConversionError(
            f"{path}: is no functional or sequential Keras model", came=config.get("class_name"),
            next_step="save it as a SavedModel and convert that",
        )  # fmt: skip
    found = []
    for layer in _layers_in(config):
        class_name = str(layer.get("class_name"))
        inner = layer.get("config", {})
        name = str(inner.get("name", layer.get("name", "?"))) if isinstance(inner, dict) else str(layer.get("name"))
        activation = inner.get("activation", "linear") if isinstance(inner, dict) else "linear"
        if isinstance(activation, dict):
            activation = activation.get("config") or activation.get("class_name")
        if class_name not in KNOWN | OURS | OPERATIONS:
            found.append(UnknownLayer(name=name, class_name=class_name))
        elif str(activation or "linear") not in ACTIVATIONS:
            found.append(UnknownLayer(name=name, class_name=f"{class_name}, activation {activation}"))
    return tuple(found)


def _twin(K: Any, layer: Any) -> Any:
    """The tf_keras layer of the same class and settings as a Keras 3 layer or operation."""
    class_name = type(layer).__name__
    if not hasattr(layer, "get_weights"):  # an operation such as a + b
        if class_name not in OPERATIONS:
            raise ConversionError(f"operation {layer.name} ({class_name}) has no layer", allowed=", ".join(OPERATIONS))
        return getattr(K.layers, class_name)(name=layer.name)
    if class_name in OURS:
        own = getattr(own_layers(K), class_name)
        return own(**{key: value for key, value in layer.get_config().items() if key not in ("dtype", "trainable")})
    factory = getattr(K.layers, class_name)
    config = layer.get_config()
    if class_name == "LeakyReLU":
        config["alpha"] = config.pop("negative_slope")
    accepted = set(inspect.signature(factory.__init__).parameters)
    kept = {
        key: value
        for key, value in config.items()
        if (key in accepted or key == "name")
        and not key.endswith(("_initializer", "_regularizer", "_constraint"))
        and key != "dtype"
    }
    if kept.get("activation") == "silu":
        kept["activation"] = "swish"
    return factory(**kept)


def _functional(model: Any) -> Any:
    """The graph of a functional or sequential Keras 3 model."""
    return getattr(model, "_functional", None) or model


def _rebuild(source: Any) -> Any:
    """A Keras 3 model as functional tf_keras, nested models inlined."""
    K = keras_namespace("tf_keras")
    inputs = [
        K.Input(tuple(tensor.shape)[1:], batch_size=tensor.shape[0], name=tensor.name.split(":")[0])
        for tensor in source.inputs
    ]

    def run(model: Any, values: list[Any]) -> list[Any]:
        graph = _functional(model)
        made = {id(tensor): value for tensor, value in zip(graph.inputs, values)}
        for depth in sorted(graph._nodes_by_depth, reverse=True):
            for node in graph._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                args = tf.nest.map_structure(lambda value: made.get(id(value), value), list(node.arguments.args))
                outputs = call(node.operation, args)
                for tensor, value in zip(node.outputs, outputs):
                    made[id(tensor)] = value
        return [made[id(tensor)] for tensor in graph.outputs]

    def call(layer: Any, args: list[Any]) -> list[Any]:
        if type(layer).__name__ in MODELS:
            return run(layer, tf.nest.flatten(args[0]))
        twin = _twin(K, layer)
        if not hasattr(layer, "get_weights"):
            if any(not K.backend.is_keras_tensor(value) for value in args[:2]):
                raise ConversionError(f"operation {layer.name} works on a constant", allowed="two tensors")
            return [twin(args[:2])]
        outputs = twin(args[0])
        twin.set_weights(layer.get_weights())
        return list(tf.nest.flatten(outputs))

    outputs = run(source, inputs)
    return K.Model(inputs, outputs, name=source.name)


def read_keras_model(path: Path) -> Any:
    """Loads a .keras or .h5 file of someone else and rebuilds it as a functional tf_keras model.

    Returns: the tf_keras model, equal to the original to float rounding.
    Raises: ConversionError naming every layer that is not known; ModelError when Keras cannot load the file.
    """
    unknown = unknown_layers(path)
    if unknown:
        named = ", ".join(str(layer) for layer in unknown[:8]) + (" ..." if len(unknown) > 8 else "")
        raise ConversionError(
            f"{path}: {len(unknown)} layer{'s are' if len(unknown) > 1 else ' is'} not known",
            came=named,
            allowed=", ".join(sorted(KNOWN - {"InputLayer"})),
            next_step="save the model as a SavedModel and convert that, or replace the layers",
        )
    # A file of Keras 2 is tf_keras's own; Keras 3 reads the ones it wrote itself.
    is_keras_2 = "module" not in _read_config(path)
    keras = keras_namespace("tf_keras" if is_keras_2 else "keras")
    own_layers(keras)
    try:
        source = keras.models.load_model(path, compile=False)
    except _LOAD_ERRORS as error:
        raise ModelError(f"{path}: Keras cannot load it", came=str(error).splitlines()[0]) from error
    return source if is_keras_2 else _rebuild(source)


def read_saved_model(path: Path, *, size_hw: tuple[int, int] | None) -> tuple[Any, tuple[int, int]]:
    """Loads a SavedModel folder's serving signature as a concrete function of one image.

    Args:
        size_hw: the input's size, needed where the signature leaves it open.
    Returns: the tf ConcreteFunction from (1, H, W, 3) float32 to one output, and (H, W).
    Raises: ModelError when the folder is no SavedModel; ConversionError when its signature is not one image to one map.
    """
    if not (path / "saved_model.pb").is_file():
        raise ModelError(f"{path}: is no SavedModel", allowed="a folder with saved_model.pb")
    try:
        loaded = tf.saved_model.load(str(path))
    except _LOAD_ERRORS as error:
        raise ModelError(f"{path}: TensorFlow cannot load it", came=str(error).splitlines()[0]) from error
    signatures = dict(loaded.signatures)
    chosen = signatures.get("serving_default") or (next(iter(signatures.values())) if len(signatures) == 1 else None)
    if chosen is None:
        raise ConversionError(
            f"{path}: no signature to convert", came=", ".join(signatures) or "none", allowed="serving_default"
        )
    names, specs = (
        zip(*chosen.structured_input_signature[1].items()) if chosen.structured_input_signature[1] else ((), ())
    )
    if (
        len(specs) != 1
        or specs[0].dtype != tf.float32
        or specs[0].shape.rank != 4
        or specs[0].shape[3] not in (3, None)
    ):
        raise ConversionError(
            f"{path}: its signature does not take one picture",
            came=", ".join(f"{name} {spec.dtype.name} {spec.shape}" for name, spec in zip(names, specs)) or "nothing",
            allowed="one float32 (N, H, W, 3)",
        )
    if len(chosen.structured_outputs) != 1:
        raise ConversionError(f"{path}: its signature has several outputs", came=", ".join(chosen.structured_outputs))
    height, width = specs[0].shape[1], specs[0].shape[2]
    if height is not None and width is not None:
        if size_hw is not None and size_hw != (height, width):
            raise ConversionError(f"{path}: its size is fixed", came=f"{size_hw}", allowed=f"{height}x{width}")
        size_hw = (height, width)
    if size_hw is None:
        raise InputError(f"{path}: its signature leaves the size open", next_step="give --size HxW")
    output = next(iter(chosen.structured_outputs))

    def call(image: Any) -> Any:
        return chosen(**{names[0]: image})[output]

    signature = [tf.TensorSpec((1, *size_hw, 3), tf.float32, name="image")]
    function = tf.function(call, input_signature=signature, autograph=False).get_concrete_function()
    function.loaded_model = loaded  # the signature holds its variables weakly
    return function, size_hw
