from __future__ import annotations

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tf_keras
from small_networks import signal_to_noise_db, smooth_images

from edge_deeplab.converters.foreign import read_keras_model, read_saved_model, unknown_layers
from edge_deeplab.errors import ConversionError, InputError, ModelError
from edge_deeplab.models.keras_api import own_layers
from edge_deeplab.quantization.graph import quantize
from edge_deeplab.quantization.reparametrise import reparametrise
from edge_deeplab.quantization.scheme import FakeQuant

EQUAL_DB = 80.0
SIZE_HW = (32, 32)
IMAGES = smooth_images(2, size_hw=SIZE_HW)


def theirs(L: Any, model: Any, size_hw: tuple[Any, Any] = SIZE_HW) -> Any:
    """A network as others write them: a backbone inside, fused activations, Rescaling, SE gate, lone batch norms."""
    inner = L.Input((*size_hw, 3))
    x = L.Rescaling(2.0, -1.0)(inner)
    x = L.SeparableConv2D(8, 3, strides=2, padding="same", activation="relu")(x)
    x = L.BatchNormalization(name="lone")(x)
    x = L.Conv2D(12, 3, padding="same", activation="relu6")(L.ZeroPadding2D(1)(L.MaxPooling2D()(x)))
    backbone = model(inner, x, name="backbone")
    image = L.Input((*size_hw, 3))
    x = backbone(image)
    x = L.Add()([x, L.Conv2D(12, 1)(x)])
    x = L.BatchNormalization()(L.Conv2D(12, 3, padding="same", dilation_rate=2)(x))
    x = L.Activation("relu")(x)
    gate = L.Conv2D(12, 1, activation="sigmoid")(L.GlobalAveragePooling2D(keepdims=True)(x))
    x = L.Dropout(0.1)(L.Multiply()([x, gate]))
    x = L.Concatenate()([L.UpSampling2D(2, interpolation="bilinear")(x), L.UpSampling2D(2)(x)])
    x = L.LeakyReLU()(L.Conv2DTranspose(8, 2, strides=2)(x))
    return model(image, L.Conv2D(3, 1, activation="softmax")(x))


def enliven(model: Any) -> Any:
    rng = np.random.default_rng(0)
    for layer in [*model.layers, *model.get_layer("backbone").layers]:
        if type(layer).__name__ == "BatchNormalization":
            layer.set_weights([rng.uniform(0.5, 1.5, array.shape) for array in layer.get_weights()])
    return model


@pytest.fixture(scope="module")
def keras_3_model() -> Any:
    keras.utils.set_random_seed(0)
    return enliven(theirs(keras.layers, keras.Model))


def test_our_own_layers_are_rebuilt_with_their_settings(tmp_path: Path) -> None:
    own = own_layers(keras)
    image = keras.layers.Input((*SIZE_HW, 3))
    x = own.HardSigmoid(slope=0.16667)(keras.layers.Conv2D(4, 3, strides=2)(image))
    x = own.AlignedResize(size_hw=(29, 29))(own.Clip6()(own.HardSwish()(own.Relu6Plus3()(x))))
    model = keras.Model(image, own.AlignedResize(scale=0.5)([x, image]))
    model.save(tmp_path / "ours.keras")
    rebuilt = read_keras_model(tmp_path / "ours.keras")
    assert signal_to_noise_db(np.asarray(model(IMAGES)), rebuilt(IMAGES)) > EQUAL_DB


def test_a_keras_3_file_is_rebuilt_equal_and_quantizes(keras_3_model: Any, tmp_path: Path) -> None:
    keras_3_model.save(tmp_path / "theirs.keras")
    expected = np.asarray(keras_3_model(IMAGES))
    model = read_keras_model(tmp_path / "theirs.keras")
    assert isinstance(model, tf_keras.Model)
    assert signal_to_noise_db(expected, model(IMAGES)) >= EQUAL_DB
    network = quantize(reparametrise(model))
    with network.switch.set(FakeQuant.OFF):
        assert signal_to_noise_db(expected, network.model(IMAGES)) >= EQUAL_DB


def test_a_keras_2_h5_file_is_read(tmp_path: Path) -> None:
    model = enliven(theirs(tf_keras.layers, tf_keras.Model))
    model.save(tmp_path / "theirs.h5")
    assert signal_to_noise_db(model(IMAGES), read_keras_model(tmp_path / "theirs.h5")(IMAGES)) >= EQUAL_DB


def test_sums_of_tensors_without_a_layer_are_read(tmp_path: Path) -> None:
    image = keras.Input((*SIZE_HW, 3))
    x = keras.layers.Conv2D(4, 1)(image)
    model = keras.Model(image, x * keras.layers.Conv2D(4, 1)(x) + x)
    model.save(tmp_path / "ops.keras")
    assert signal_to_noise_db(model(IMAGES), read_keras_model(tmp_path / "ops.keras")(IMAGES)) >= EQUAL_DB


@keras.saving.register_keras_serializable(package="theirs")
class Swirl(keras.layers.Layer):
    def call(self, inputs: Any) -> Any:
        return inputs


def test_unknown_layers_are_all_named(tmp_path: Path) -> None:
    image = keras.Input((*SIZE_HW, 3))
    x = Swirl(name="swirl_a")(keras.layers.Conv2D(4, 1)(image))
    x = keras.layers.LayerNormalization(name="normed")(x)
    keras.Model(image, Swirl(name="swirl_b")(x)).save(tmp_path / "odd.keras")
    assert [layer.name for layer in unknown_layers(tmp_path / "odd.keras")] == ["swirl_a", "normed", "swirl_b"]
    with pytest.raises(ConversionError, match=r"swirl_a \(Swirl\), normed \(LayerNormalization\), swirl_b"):
        read_keras_model(tmp_path / "odd.keras")


@pytest.mark.parametrize("content", [None, b"", b"not a model"])
def test_a_file_that_is_no_model_is_one_line(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "bad.keras"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ModelError, match=r"bad\.keras") as caught:
        read_keras_model(path)
    assert "\n" not in str(caught.value)


def test_a_saved_model_becomes_a_function_of_one_image(keras_3_model: Any, tmp_path: Path) -> None:
    keras_3_model.export(tmp_path / "folder", verbose=False)
    function, size_hw = read_saved_model(tmp_path / "folder", size_hw=None)
    assert size_hw == SIZE_HW
    got = np.asarray(function(IMAGES[:1]))
    assert signal_to_noise_db(np.asarray(keras_3_model(IMAGES[:1])), got) >= EQUAL_DB
    with pytest.raises(ConversionError, match="size is fixed"):
        read_saved_model(tmp_path / "folder", size_hw=(64, 64))


def test_a_saved_model_of_open_size_asks_for_it(tmp_path: Path) -> None:
    image = keras.Input((None, None, 3))
    keras.Model(image, keras.layers.Conv2D(2, 1)(image)).export(tmp_path / "folder", verbose=False)
    with pytest.raises(InputError, match="--size"):
        read_saved_model(tmp_path / "folder", size_hw=None)
    assert read_saved_model(tmp_path / "folder", size_hw=(24, 16))[0].outputs[0].shape == (1, 24, 16, 2)


def test_a_folder_that_is_no_saved_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"saved_model\.pb"):
        read_saved_model(tmp_path, size_hw=None)
