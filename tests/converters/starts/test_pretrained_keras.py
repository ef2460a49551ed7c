"""keras.applications' networks are the oracle: their weights in ours must compute what they compute."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edge_deeplab.converters.starts.backbone_weights import ForeignBackbone
from edge_deeplab.converters.starts.pretrained import read_foreign_backbone
from edge_deeplab.converters.starts.pretrained_keras import backbone_of_keras
from edge_deeplab.converters.starts.transplant import transplant
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.mobilenet_v2 import build_mobilenet_v2
from edge_deeplab.models.backbones.resnet_v1 import build_resnet_v1
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.counting import count_traced
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, weights_of

# float32 sums in another order, over some fifty layers; measured 8e-6 of the spread
FLOAT_ROUNDING = 1e-4
Layers = dict[str, list[np.ndarray]]


def lively(model: Any) -> Any:
    """Batch norms and biases that are no identity: a fresh network's would hide mistakes."""
    random = np.random.RandomState(0)
    for layer in model.layers:
        weights = layer.get_weights()
        if len(weights) == 4:
            spread = [random.uniform(0.5, 1.5, array.shape) for array in weights]
            layer.set_weights([spread[0], spread[1] - 1, spread[2] - 1, spread[3]])
        elif len(weights) == 2:
            layer.set_weights([weights[0], random.uniform(-0.3, 0.3, weights[1].shape)])
    return model


@pytest.fixture(scope="module")
def resnet50() -> Any:
    K = keras_namespace("tf_keras")
    return lively(K.applications.ResNet50(weights=None, include_top=False, input_shape=(None, None, 3)))


@pytest.fixture(scope="module")
def resnet50_file(resnet50: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    # tf_keras writes the layout that keras.applications' downloads have
    path = tmp_path_factory.mktemp("keras") / "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5"
    resnet50.save_weights(path)
    return path


def ours(build: Callable[[Blocks, Feature], Endpoints]) -> tuple[Any, Blocks]:
    """A network of ours that is a backbone alone."""
    K = keras_namespace("tf_keras")
    blocks = Blocks(K)
    image = K.layers.Input((None, None, 3))
    return K.Model(image, build(blocks, Feature(image)).features.tensor), blocks


def resnet(blocks: Blocks, image: Feature) -> Endpoints:
    return build_resnet_v1(blocks, image, variant="resnet50", output_stride=32)


def put_stem_back(weights: Layers, backbone: ForeignBackbone, names: dict[str, tuple[str, ...]], stem: str) -> Layers:
    """The first layer as the file has it, for pixels as the file's network takes them: no difference at the edges."""
    kernel = [backbone.arrays[names[f"{stem}_conv"][0]]]
    gamma, beta, _, variance = weights[f"{stem}_bn"]
    mean = backbone.arrays[names[f"{stem}_bn"][2]]
    return {**weights, f"{stem}_conv": kernel, f"{stem}_bn": [gamma, beta, mean, variance]}


def picture(height: int, width: int) -> np.ndarray:
    return np.random.RandomState(1).uniform(0, 255, (1, height, width, 3)).astype(np.float32)


def distance(value: np.ndarray, oracle: np.ndarray) -> float:
    assert value.shape == oracle.shape
    return float(np.abs(value - oracle).max() / oracle.std())


@pytest.mark.parametrize("size_hw", [(96, 64), (97, 65)])
def test_resnet50_computes_what_keras_computes(resnet50: Any, resnet50_file: Path, size_hw: tuple[int, int]) -> None:
    backbone = read_foreign_backbone(resnet50_file)
    assert (backbone.backbone, backbone.batch_norm_epsilon) == ("resnet50", 1.001e-5)
    model, blocks = ours(resnet)
    weights = transplant(backbone, weights_of(model), blocks.official)
    assign_weights(model, put_stem_back(weights, backbone, blocks.official, "conv1"))
    pixels = picture(*size_hw)
    theirs = keras_namespace("tf_keras").applications.resnet.preprocess_input(pixels.copy())
    oracle = resnet50(theirs, training=False).numpy()
    value = model(pixels + np.asarray(backbone.input_range[0], np.float32), training=False).numpy()
    assert distance(value, oracle) < FLOAT_ROUNDING


def test_the_stem_takes_pixels_from_0_to_1_but_for_the_edges(resnet50: Any, resnet50_file: Path) -> None:
    K = keras_namespace("tf_keras")
    model, blocks = ours(resnet)
    assign_weights(model, transplant(read_foreign_backbone(resnet50_file), weights_of(model), blocks.official))
    pixels = picture(64, 64)
    value = K.Model(model.input, model.get_layer("conv1_bn").output)(pixels / 255, training=False).numpy()
    oracle = K.Model(resnet50.input, resnet50.get_layer("conv1_bn").output)(
        K.applications.resnet.preprocess_input(pixels.copy()), training=False
    ).numpy()
    inner = (slice(None), slice(2, -2), slice(2, -2))
    assert distance(value[inner], oracle[inner]) < FLOAT_ROUNDING
    assert distance(value, oracle) > FLOAT_ROUNDING  # black around the picture, where theirs has the mean colour


def test_an_official_resnet_takes_the_file_too(resnet50_file: Path) -> None:
    names: dict[str, tuple[str, ...]] = {}

    def lay(K: Any) -> None:
        blocks = Blocks(K)
        build_resnet_v1(blocks, Feature(K.layers.Input((64, 64, 3))), variant="resnet_v1_50", output_stride=16)
        names.update(blocks.official)

    shapes = count_traced(lay).shapes
    fresh = {name: [np.full(shape, np.nan, np.float32) for shape in shapes[name]] for name in names}
    weights = transplant(read_foreign_backbone(resnet50_file), fresh, names)
    assert not any(np.isnan(array).any() for arrays in weights.values() for array in arrays)
    # a variance takes up the difference of the epsilons
    arrays = read_foreign_backbone(resnet50_file).arrays
    theirs = arrays["resnet_v1_50/block1/unit_1/bottleneck_v1/conv1/BatchNorm/moving_variance"].astype(np.float64)
    np.testing.assert_allclose(weights["block1_unit1_conv1_bn"][3], theirs + 1e-8, rtol=1e-6)


def layers_of(model: Any) -> Layers:
    return {layer.name: layer.get_weights() for layer in model.layers if layer.weights}


def test_more_units_in_the_third_stack_make_a_resnet101(resnet50: Any) -> None:
    layers = layers_of(resnet50)
    for unit in range(7, 24):
        layers |= {
            name.replace("block6", f"block{unit}"): arrays for name, arrays in layers.items() if "conv4_block6_" in name
        }
    backbone = backbone_of_keras(layers, source="resnet101.h5")
    names: dict[str, tuple[str, ...]] = {}

    def lay(K: Any) -> None:
        blocks = Blocks(K)
        build_resnet_v1(blocks, Feature(K.layers.Input((64, 64, 3))), variant="resnet101", output_stride=8)
        names.update(blocks.official)

    shapes = count_traced(lay).shapes
    wanted = {name: shape for layer in names for name, shape in zip(names[layer], shapes[layer], strict=True)}
    assert {name: array.shape for name, array in backbone.arrays.items()} == wanted
    assert backbone.backbone == "resnet101"


def test_the_resnet50_of_old_keras_is_read_by_its_old_names(resnet50: Any) -> None:
    layers = layers_of(resnet50)
    old: Layers = {"conv1": layers["conv1_conv"], "bn_conv1": layers["conv1_bn"]}
    for name, arrays in layers.items():
        parts = name.split("_")
        if len(parts) == 4:
            branch = "branch1" if parts[2] == "0" else "branch2" + "abc"[int(parts[2]) - 1]
            letter = "abcdef"[int(parts[1].removeprefix("block")) - 1]
            kind = {"conv": "res", "bn": "bn"}[parts[3]]
            old[f"{kind}{parts[0].removeprefix('conv')}{letter}_{branch}"] = arrays
    assert "res4f_branch2c" in old and "bn2a_branch1" in old
    first, second = backbone_of_keras(old, source="old.h5"), backbone_of_keras(layers, source="new.h5")
    assert first.arrays.keys() == second.arrays.keys()
    assert all((first.arrays[name] == second.arrays[name]).all() for name in first.arrays)
    assert (first.batch_norm_epsilon, first.input_range) == (1e-3, second.input_range)


@pytest.mark.parametrize("width", [0.35, 1.4])
def test_mobilenet_v2_computes_what_keras_computes(width: float, tmp_path: Path) -> None:
    K = keras_namespace("tf_keras")
    theirs = lively(K.applications.MobileNetV2((64, 96, 3), width, include_top=False, weights=None))
    path = tmp_path / "mobilenet_v2_no_top.h5"
    theirs.save_weights(path)
    backbone = read_foreign_backbone(path)
    assert (backbone.backbone, backbone.width, backbone.width_divisor) == ("mobilenet_v2", width, 8)
    assert backbone.input_range == (-1.0, 1.0)
    model, blocks = ours(
        lambda blocks, image: build_mobilenet_v2(blocks, image, width=width, output_stride=32, width_divisor=8)
    )
    weights = transplant(backbone, weights_of(model), blocks.official)
    assign_weights(model, put_stem_back(weights, backbone, blocks.official, "stem"))
    pixels = picture(64, 96) / 127.5 - 1
    oracle = K.Model(theirs.input, theirs.get_layer("block_16_project_BN").output)(pixels, training=False).numpy()
    assert distance(model(pixels, training=False).numpy(), oracle) < FLOAT_ROUNDING


@pytest.mark.parametrize(
    ("layer", "named"),
    [
        ("block1a_dwconv", "EfficientNet"),
        ("conv2_block1_preact_bn", "ResNet V2"),
        ("conv2_block1_2_bn", "ResNet of other depth"),
        ("expanded_conv_squeeze_excite_conv", "MobileNetV3"),
        ("conv_pw_1", "MobileNet V1"),
        ("dense_7", "layers named dense_7"),
    ],
)
def test_another_network_is_refused_by_name(layer: str, named: str) -> None:
    with pytest.raises(
        ModelError, match=rf"theirs\.h5: .*{named}.*allowed: .*ResNet50, ResNet101 or MobileNetV2"
    ) as error:
        backbone_of_keras({layer: [np.zeros(3)]}, source="theirs.h5")
    assert "\n" not in str(error.value)


def test_a_file_without_one_layer_names_it(resnet50: Any) -> None:
    layers = layers_of(resnet50)
    del layers["conv3_block2_2_bn"]
    with pytest.raises(ModelError, match="no layer conv3_block2_2_bn"):
        backbone_of_keras(layers, source="theirs.h5")
    layers = layers_of(resnet50)
    layers["conv3_block2_2_bn"].pop()
    with pytest.raises(ModelError, match="layer conv3_block2_2_bn; came 3 arrays"):
        backbone_of_keras(layers, source="theirs.h5")


def test_a_layer_of_another_shape_is_named_by_the_network_that_starts(resnet50: Any) -> None:
    layers = layers_of(resnet50)
    layers["conv3_block2_2_conv"][0] = layers["conv3_block2_2_conv"][0][..., :64]
    backbone = backbone_of_keras(layers, source="theirs.h5")
    model, blocks = ours(resnet)
    with pytest.raises(ConversionError, match=r"does not fit layer block2_unit2_conv2_conv; came \(3, 3, 128, 64\)"):
        transplant(backbone, weights_of(model), blocks.official)


def test_a_cut_file_is_one_line(resnet50_file: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.h5"
    path.write_bytes(resnet50_file.read_bytes()[:300_000])
    with pytest.raises(ModelError, match=r"cut\.h5: damaged") as error:
        read_foreign_backbone(path)
    assert "\n" not in str(error.value)
