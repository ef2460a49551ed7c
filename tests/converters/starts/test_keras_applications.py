"""Keras's weight files read by layer name: every layout that Keras has written, and what is none."""

from __future__ import annotations

import io
import shutil
import zipfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from edge_deeplab.converters.starts.keras_applications import WEIGHTS, read_keras_applications
from edge_deeplab.errors import ModelError
from edge_deeplab.models.keras_api import keras_namespace

Layers = dict[str, list[np.ndarray]]


def small_model(K: object, prefix: str = "") -> object:
    """Names unlike the automatic ones, layers of one class in an order unlike their names', one without weights."""
    layers = K.layers
    image = K.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, name=f"{prefix}z_conv", use_bias=False)(image)
    x = layers.BatchNormalization(name=f"{prefix}z_bn")(x)
    x = layers.Dropout(0.5, name=f"{prefix}drop")(x)  # has a state that is no weight
    y = layers.Conv2D(4, 1, name=f"{prefix}b_conv")(x)
    x = layers.Conv2D(4, 1, name=f"{prefix}a_conv")(x)
    x = layers.Add(name=f"{prefix}add")([x, y])
    x = layers.DepthwiseConv2D(3, name=f"{prefix}dw")(x)
    model = K.Model(image, x, name=f"{prefix}base")
    random = np.random.default_rng(0)
    model.set_weights([random.uniform(0, 1, array.shape) for array in model.get_weights()])
    return model


def nested_model(K: object) -> object:
    base = small_model(K, "in_")
    model = K.Sequential([K.Input((8, 8, 3)), base, K.layers.GlobalAveragePooling2D(), K.layers.Dense(2, name="mine")])
    model.compile("adam", "mse")
    model.fit(np.zeros((1, 8, 8, 3)), np.zeros((1, 2)), verbose=0)  # the file gets an optimizer's state
    return model


def weights_by_layer(model: object) -> Layers:
    found: Layers = {}
    for layer in model.layers:
        if hasattr(layer, "layers"):
            found |= weights_by_layer(layer)
        elif layer.get_weights():
            found[layer.name] = layer.get_weights()
    return {name: arrays for name, arrays in found.items() if "drop" not in name}


def assert_same(got: Layers, expected: Layers) -> None:
    assert got.keys() == expected.keys()
    for name, arrays in expected.items():
        assert len(got[name]) == len(arrays), name
        for array, wanted in zip(got[name], arrays):
            np.testing.assert_array_equal(array, wanted)


@pytest.mark.parametrize("make", [small_model, nested_model])
@pytest.mark.parametrize(
    ("keras", "file"),
    [("keras", "m.keras"), ("keras", "m.weights.h5"), ("keras", "m.h5"), ("tf_keras", "m.keras"), ("tf_keras", "m.h5")],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_every_layout_gives_the_layers_their_arrays(tmp_path: Path, make: object, keras: str, file: str) -> None:
    model = make(keras_namespace(keras))
    (model.save_weights if file == "m.weights.h5" else model.save)(tmp_path / file)
    assert_same(read_keras_applications(tmp_path / file), weights_by_layer(model))


def test_weights_alone_in_the_layout_of_the_published_files(tmp_path: Path) -> None:
    """keras.applications' downloads: layer_names at the root of the file, no model beside them."""
    model = small_model(keras_namespace("tf_keras"))
    model.save_weights(tmp_path / "base_notop.h5")
    with h5py.File(tmp_path / "base_notop.h5") as file:
        assert "layer_names" in file.attrs
    assert_same(read_keras_applications(tmp_path / "base_notop.h5"), weights_by_layer(model))


def test_a_list_of_layers_cut_into_pieces_is_put_together(tmp_path: Path) -> None:
    """Keras cuts attributes longer than an HDF5 header takes into layer_names0, layer_names1, ..."""
    path = tmp_path / "large.h5"
    model = small_model(keras_namespace("tf_keras"))
    model.save_weights(path)
    with h5py.File(path, "a") as file:
        names = file.attrs["layer_names"]
        del file.attrs["layer_names"]
        file.attrs["layer_names0"], file.attrs["layer_names1"] = names[:3], names[3:]
    assert_same(read_keras_applications(path), weights_by_layer(model))


def without_names(path: Path) -> None:
    """Takes the layers' names out of a Keras 3 weight file, as the first versions of Keras 3 wrote it."""

    def forget(_: str, group: object) -> None:
        group.attrs.pop("name", None)

    with h5py.File(path, "a") as file:
        file.visititems(forget)


@pytest.mark.parametrize("make", [small_model, nested_model])
def test_names_come_from_the_config_where_the_weights_have_none(tmp_path: Path, make: object) -> None:
    model = make(keras_namespace("keras"))
    model.save(tmp_path / "new.keras")
    with zipfile.ZipFile(tmp_path / "new.keras") as new, zipfile.ZipFile(tmp_path / "old.keras", "w") as old:
        for name in new.namelist():
            if name != WEIGHTS:
                old.writestr(name, new.read(name))
        (tmp_path / "old.h5").write_bytes(new.read(WEIGHTS))
        without_names(tmp_path / "old.h5")
        old.write(tmp_path / "old.h5", WEIGHTS)
    assert_same(read_keras_applications(tmp_path / "old.keras"), weights_by_layer(model))


def test_weights_without_any_names_are_refused_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "m.weights.h5"
    small_model(keras_namespace("keras")).save_weights(path)
    without_names(path)
    with pytest.raises(ModelError, match=r"m\.weights\.h5: holds no weights under layer names.*model\.save\("):
        read_keras_applications(path)


def test_half_precision_becomes_float32(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "half.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv"]
        file.create_group("conv").attrs["weight_names"] = [b"conv/kernel:0"]
        file["conv/conv/kernel:0"] = np.full((1, 1, 2, 2), 0.5, np.float16)
    (kernel,) = read_keras_applications(tmp_path / "half.h5")["conv"]
    assert kernel.dtype == np.float32
    assert (kernel == 0.5).all()


@pytest.fixture(scope="module")
def whole_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("whole")
    model = small_model(keras_namespace("keras"))
    model.save(folder / "m.keras")
    model.save_weights(folder / "m.weights.h5")
    return folder


@pytest.mark.parametrize("name", ["m.keras", "m.weights.h5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_cut_short_is_one_line_that_names_it(whole_files: Path, tmp_path: Path, name: str, share: float) -> None:
    data = (whole_files / name).read_bytes()
    (tmp_path / name).write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError, match=rf"{name}: .*damaged.*allowed: a Keras weight file") as caught:
        read_keras_applications(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_a_layer_listed_and_not_there_is_named(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "gap.h5", "w") as file:
        file.attrs["layer_names"] = [b"conv1", b"conv2"]
        file.create_group("conv1").attrs["weight_names"] = []
    with pytest.raises(ModelError, match=r"gap\.h5: damaged.*conv2"):
        read_keras_applications(tmp_path / "gap.h5")


@pytest.mark.parametrize(
    ("name", "content", "named"),
    [
        ("empty.h5", b"", "not a Keras weight file"),
        ("words.keras", b"not weights at all", "not a Keras weight file"),
        ("absent.h5", None, "cannot be read"),
    ],
)
def test_what_is_no_weight_file_is_refused(tmp_path: Path, name: str, content: bytes | None, named: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=rf"{name}: {named}"):
        read_keras_applications(tmp_path / name)


def test_another_archive_is_refused(tmp_path: Path, whole_files: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("a.txt", "words")
    (tmp_path / "other.keras").write_bytes(buffer.getvalue())
    with pytest.raises(ModelError, match=r"other\.keras: no \.keras archive"):
        read_keras_applications(tmp_path / "other.keras")
    shutil.copy(whole_files / "m.weights.h5", tmp_path / "renamed.keras")  # the content decides, not the name
    assert read_keras_applications(tmp_path / "renamed.keras")
