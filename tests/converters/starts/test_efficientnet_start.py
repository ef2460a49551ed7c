"""Our EfficientNet with the weights of a keras.applications file gives that network's features."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from small_networks import liven

from edge_deeplab.converters.starts.efficientnet_start import DEVIATION, check_fit, start_efficientnet, variant_of
from edge_deeplab.converters.starts.keras_applications import read_keras_applications
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.backbones.efficientnet import build_efficientnet
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, weights_of

SIDE = 64
# float32 rounding through eighty layers, relative to the spread of the features
FLOAT_ROUNDING = 1e-4
IMAGENET_MEAN = (0.485, 0.456, 0.406)
# what reads features at the output strides 32 (the last block) and 4, 8, 16
OUTPUTS = ("block7a_project_bn", "block2b_add", "block3b_add", "block5c_add")


@pytest.fixture(scope="module")
def theirs() -> object:
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    return liven(K.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(SIDE, SIDE, 3)))


@pytest.fixture(scope="module")
def ours() -> object:
    K = keras_namespace("keras")
    image = K.Input((SIDE, SIDE, 3))
    ends = build_efficientnet(Blocks(K), Feature(image), variant="efficientnet_b0", output_stride=32)
    return K.Model(image, [ends.features.tensor, *(ends.low_level[at].tensor for at in (4, 8, 16))])


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (2, SIDE, SIDE, 3)).astype(np.float32)


def normalise_by(model: object, mean: tuple[float, ...], variance: tuple[float, ...]) -> None:
    (layer,) = [layer for layer in model.layers if type(layer).__name__ == "Normalization"]
    layer.set_weights([np.array(mean), np.array(variance), *layer.get_weights()[2:]])
    layer.finalize_state()


def start(ours: object, path: Path) -> None:
    weights = start_efficientnet(
        read_keras_applications(path), weights_of(ours), variant="efficientnet_b0", source=path.name
    )
    assign_weights(ours, weights)


def assert_same_features(ours: object, theirs: object, pixels: np.ndarray) -> None:
    K = keras_namespace("keras")
    reference = K.Model(theirs.input, [theirs.get_layer(name).output for name in OUTPUTS])
    for got, expected in zip(ours.predict(pixels / 255, verbose=0), reference.predict(pixels, verbose=0), strict=True):
        assert np.abs(got - expected).max() < FLOAT_ROUNDING * expected.std()


def test_the_features_are_those_of_keras(tmp_path: Path, theirs: object, ours: object, pixels: np.ndarray) -> None:
    normalise_by(theirs, (0, 0, 0), (1, 1, 1))
    theirs.save_weights(tmp_path / "b0.weights.h5")
    start(ours, tmp_path / "b0.weights.h5")
    assert_same_features(ours, theirs, pixels)


@pytest.fixture
def loaded_as_imagenet(
    tmp_path: Path, theirs: object, monkeypatch: pytest.MonkeyPatch
) -> tuple[Callable[[tuple[float, ...]], object], Path]:
    """Keras builds its ImageNet network from a file of ours, where it would download its own."""
    from keras.src.applications import efficientnet

    path = tmp_path / "efficientnetb0_notop.h5"

    def build(mean: tuple[float, ...]) -> object:
        normalise_by(theirs, mean, DEVIATION)
        theirs.save(path)
        monkeypatch.setattr(efficientnet.file_utils, "get_file", lambda *_, **__: str(path))
        built = keras_namespace("keras").applications.EfficientNetB0(
            weights="imagenet", include_top=False, input_shape=(SIDE, SIDE, 3)
        )
        assert len([layer for layer in built.layers if type(layer).__name__ == "Rescaling"]) == 2
        return built

    return build, path


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_second_rescaling_of_imagenet_files_is_in_the_stem(
    ours: object, pixels: np.ndarray, loaded_as_imagenet: tuple[Callable, Path]
) -> None:
    build, path = loaded_as_imagenet
    theirs = build((0, 0, 0))  # with this mean the border is exact too
    start(ours, path)
    assert_same_features(ours, theirs, pixels)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_the_mean_is_in_the_stem_but_for_the_last_row_and_column(
    ours: object, pixels: np.ndarray, loaded_as_imagenet: tuple[Callable, Path]
) -> None:
    build, path = loaded_as_imagenet
    theirs = build(IMAGENET_MEAN)
    start(ours, path)
    K = keras_namespace("keras")
    stem = K.Model(ours.input, ours.get_layer("stem_bn").output).predict(pixels / 255, verbose=0)
    expected = K.Model(theirs.input, theirs.get_layer("stem_bn").output).predict(pixels, verbose=0)
    difference = np.abs(stem - expected).max(axis=(0, 3)) / expected.std()
    assert difference[:-1, :-1].max() < FLOAT_ROUNDING
    assert difference[-1].min() > FLOAT_ROUNDING  # so the border is what the docstring says


def test_a_larger_variant_is_known_and_every_layer_of_it_fits() -> None:
    K = keras_namespace("keras")
    arrays = weights_of(K.applications.EfficientNetB2(weights=None, include_top=False, input_shape=(32, 32, 3)))
    assert variant_of(arrays, source="b2.h5") == "efficientnet_b2"
    check_fit(arrays, "efficientnet_b2", source="b2.h5")


def test_a_file_of_another_variant_is_refused_by_name(theirs: object, ours: object) -> None:
    with pytest.raises(ConversionError, match=r"b0\.h5.*efficientnet_b3.*a file of efficientnet_b0.*model\.backbone"):
        start_efficientnet(weights_of(theirs), weights_of(ours), variant="efficientnet_b3", source="b0.h5")


def test_lite_and_other_networks_are_refused(theirs: object, ours: object) -> None:
    target = weights_of(ours)
    with pytest.raises(ConversionError, match="no EfficientNet-Lite"):
        start_efficientnet(weights_of(theirs), target, variant="efficientnet_lite0", source="b0.h5")
    foreign = {"conv1_conv": [np.zeros((7, 7, 3, 64), np.float32)]}
    with pytest.raises(ConversionError, match=r"r50\.h5: no EfficientNet.*conv1_conv"):
        start_efficientnet(foreign, target, variant="efficientnet_b0", source="r50.h5")


@pytest.mark.parametrize(("name", "named"), [("block3a_se_reduce", "none of this name"), ("stem_bn", "came.*allowed")])
def test_a_layer_that_is_missing_or_misshapen_is_named(theirs: object, ours: object, name: str, named: str) -> None:
    arrays = weights_of(theirs)
    if name == "stem_bn":
        arrays[name] = arrays[name][:2]
    else:
        del arrays[name]
    with pytest.raises(ConversionError, match=rf"cut\.h5: its layer {name} does not fit.*{named}"):
        start_efficientnet(arrays, weights_of(ours), variant="efficientnet_b0", source="cut.h5")


def test_a_file_without_its_normalization_is_refused(theirs: object, ours: object) -> None:
    arrays = {name: kept for name, kept in weights_of(theirs).items() if not name.startswith("normalization")}
    with pytest.raises(ConversionError, match="says not how its pixels are normalised"):
        start_efficientnet(arrays, weights_of(ours), variant="efficientnet_b0", source="cut.h5")
