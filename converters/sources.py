"""Everything that can become a .tflite, opened as one kind of thing: ours, tuned, Keras of others, SavedModel.

source = open_source(Path("portrait.keras"), describe=facts.manifest)
source.float_function()                            # for float32, float16, dynamic
network = source.quantized()                       # for int8; ranges.set_ranges(network, source.real(batches))
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edge_deeplab.converters.export import fixed_batch_function
from edge_deeplab.converters.foreign import read_keras_model, read_saved_model
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.models.architecture import architecture_from, build
from edge_deeplab.models.int8_form import to_int8_form
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import rebuild
from edge_deeplab.models.transfer import assign_weights, weights_of
from edge_deeplab.quantization.graph import QuantizedNetwork, quantize
from edge_deeplab.quantization.placement import activation_of, kind
from edge_deeplab.quantization.reparametrise import reparametrise
from edge_deeplab.quantization.scheme import FakeQuant
from edge_deeplab.quantization.store import SUFFIX as QUANTIZED_SUFFIX
from edge_deeplab.quantization.store import load_quantized

KERAS_SUFFIXES = (".keras", ".h5", ".hdf5")


@dataclass(frozen=True, kw_only=True)
class Source:
    """A network to convert.

    Attributes:
        path: where it came from.
        kind: "ours", "tuned", "keras" or "saved_model".
        manifest: of the float files.
        int8_manifest: of the int8 file; another where the int8 form's output still needs the softmax.
        model: the float tf_keras model; None for a tuned network or a SavedModel.
        int8_model: the float tf_keras model in the form that quantizes; None as above.
        network: a tuned network, its ranges set.
        function: a SavedModel's concrete function.
        config: the tf_keras config of int8_model, where no architecture of ours describes it.
    """

    path: Path
    kind: str
    manifest: Manifest
    int8_manifest: Manifest
    model: Any = field(default=None, repr=False)
    int8_model: Any = field(default=None, repr=False)
    network: QuantizedNetwork | None = field(default=None, repr=False)
    function: Any = field(default=None, repr=False)
    config: dict[str, Any] | None = field(default=None, repr=False)

    @property
    def size_hw(self) -> tuple[int, int]:
        """The input's height and width."""
        return self.manifest.size_hw

    def float_function(self) -> Any:
        """The network without fake-quant as a concrete function of one image."""
        if self.function is not None:
            return self.function
        if self.network is not None:
            network = self.network
            with network.switch.set(FakeQuant.OFF):
                return fixed_batch_function(lambda image: network.model(image, training=False), self.size_hw)
        return fixed_batch_function(lambda image: self.model(image, training=False), self.size_hw)

    def quantized(self) -> QuantizedNetwork:
        """The fake-quantized network: the tuned one, or a new one whose ranges are still to be set.

        Raises: ConversionError naming the layer without an int8 form.
        """
        if self.network is not None:
            return self.network
        if self.int8_model is None:
            raise ConversionError(f"{self.path}: a SavedModel has no layers to fake-quantize")
        return quantize(self.int8_model, input_range=self.manifest.real_range)

    def real(self, batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
        """Batches (N, H, W, 3) float32 in 0..1 brought to what the network takes (manifest: range, mean, std)."""
        low, high = self.manifest.input_range
        mean, std = np.asarray(self.manifest.mean, np.float32), np.asarray(self.manifest.std, np.float32)
        for batch in batches:
            yield ((low + np.asarray(batch, np.float32) * (high - low)) - mean) / std


def _open_ours(path: Path, size_hw: tuple[int, int] | None) -> Source:
    K = keras_namespace("tf_keras")
    model, manifest = rebuild(path, K, size_hw=size_hw)
    config = architecture_from(manifest.architecture)
    int8_config, weights = to_int8_form(K, config, weights_of(model))
    int8_model = build(K, int8_config)
    assign_weights(int8_model, weights, source=str(path))
    int8_manifest = manifest.replace(architecture=int8_config.to_dict())
    return Source(
        path=path, kind="ours", manifest=manifest, int8_manifest=int8_manifest, model=model, int8_model=int8_model
    )


def _without_softmax(model: Any) -> Any | None:
    """The model up to its final softmax, or None where it does not end in one.

    XNNPACK has no int8 SOFTMAX, and 256 steps of a logit say more than 256 steps of a saturated probability.
    """
    last = model.outputs[0]._keras_history.layer
    is_softmax = kind(last) == "Softmax" or (kind(last) == "Activation" and activation_of(last) == "softmax")
    return tf_keras.Model(model.inputs, last.input, name=model.name) if is_softmax else None


def _open_keras(path: Path, describe: Callable[..., Manifest]) -> Source:
    model = read_keras_model(path)
    shape = tuple(model.inputs[0].shape)
    if len(model.inputs) != 1 or len(model.outputs) != 1 or len(shape) != 4 or shape[3] != 3:
        raise ModelError(f"{path}: is no segmentation model", came=f"input {shape}", allowed="(N, H, W, 3), one output")
    size_hw = (int(shape[1]), int(shape[2])) if shape[1] and shape[2] else None
    int8_model = reparametrise(model)
    bare = _without_softmax(int8_model)
    manifest = read_manifest(path) or describe(path, size_hw=size_hw, activation="none" if bare is not None else None)
    int8_manifest = manifest
    if bare is not None and manifest.activation == "none":
        int8_model, int8_manifest = bare, manifest.replace(activation="softmax")
    # tf_keras's own encoder turns tuples and numpy scalars of a config into plain JSON
    config = json.loads(int8_model.to_json())["config"]
    return Source(
        path=path, kind="keras", manifest=manifest, int8_manifest=int8_manifest, model=model, int8_model=int8_model,
        config=config,
    )  # fmt: skip


def open_source(path: Path, *, describe: Callable[..., Manifest], size_hw: tuple[int, int] | None = None) -> Source:
    """Opens a model file or SavedModel folder for conversion.

    Args:
        describe: makes the manifest of a model that has none; called as describe(path, size_hw=..., activation=...),
            and raises for what it is not told.
        size_hw: the input size asked for: of one of ours, which is built anew at it, or where a SavedModel leaves it
            open.
    Raises: ModelError, ConversionError naming layers that are not known.
    """
    if path.is_dir():
        function, fixed_hw = read_saved_model(path, size_hw=size_hw)
        manifest = describe(path, size_hw=fixed_hw)
        return Source(path=path, kind="saved_model", manifest=manifest, int8_manifest=manifest, function=function)
    suffix = path.suffix.lower()
    if suffix == QUANTIZED_SUFFIX:
        network, manifest = load_quantized(path)
        return Source(path=path, kind="tuned", manifest=manifest, int8_manifest=manifest, network=network)
    if suffix not in KERAS_SUFFIXES:
        raise ModelError(
            f"{path}: cannot be converted", came=suffix or "no suffix" if path.exists() else "no such file",
            allowed=f"{', '.join(KERAS_SUFFIXES)}, {QUANTIZED_SUFFIX}, or a SavedModel folder",
        )  # fmt: skip
    manifest_found = read_manifest(path)
    if manifest_found is not None and manifest_found.architecture:
        return _open_ours(path, size_hw)
    return _open_keras(path, describe)


def run_function(function: Any, images: np.ndarray) -> np.ndarray:
    """Runs a concrete function of one image over (N, H, W, 3). Returns: (N, ...) float32."""
    outputs = [np.asarray(tf.nest.flatten(function(tf.constant(image[np.newaxis])))[0]) for image in images]
    return np.concatenate(outputs).astype(np.float32)
