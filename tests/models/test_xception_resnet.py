"""Xception and ResNet v1 against the official code: variables, strides, rates and padding, numbers, refusals."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
from laid_backbone import Convolution, Laid, lay
from small_networks import liven

from edge_deeplab.errors import UsageError
from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.resnet_v1 import KERAS_VARIANTS, VARIANTS, build_resnet_v1
from edge_deeplab.models.backbones.xception import FLOWS, build_xception
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import copy_weights

# float32 through some fifty layers in another order of sums, relative to the spread of the features
FLOAT_ROUNDING = 1e-4


def builder(variant: str, **settings: Any) -> Callable[[Blocks, Feature], Endpoints]:
    build = build_xception if variant in FLOWS else build_resnet_v1
    return lambda blocks, image: build(blocks, image, variant=variant, **settings)


def of_oracle(oracle: oracles.Oracle) -> tuple[str, dict[str, Any]]:
    """Variant and settings of the oracle's backbone."""
    flags, options = oracle.facts["flags"], oracle.facts["model_options"]
    settings: dict[str, Any] = {"output_stride": options["output_stride"], "multi_grid": flags.get("multi_grid")}
    if flags.get("use_bounded_activation"):
        settings["is_bounded"] = True
    return flags["model_variant"], settings


def laid(variant: str, size_hw: tuple[int, int] = (65, 97), **settings: Any) -> Laid:
    return lay(builder(variant, **settings), size_hw)


def official_convolution(row: dict[str, Any]) -> Convolution:
    """What the oracle notes of one: explicit padding, which is SAME on odd sides, is VALID behind it."""
    is_explicit = row["padding"].startswith("explicit")
    return Convolution(row["stride"][0], row["dilation"][0], "valid" if is_explicit else "same")


def test_variables_strides_rates_and_costs_are_the_official_ones(shared: Path) -> None:
    checked = [name for name in oracles.names(shared) if name.startswith(("xception", "resnet"))]
    assert len(checked) == 14
    for name in checked:
        oracle = oracles.load(shared, name)
        variant, settings = of_oracle(oracle)
        _, height, width, _ = oracle.facts["input_shape"]
        made = laid(variant, (height, width), **settings)
        scope = f"{variant.removesuffix('_beta')}/"
        assert made.shapes == {key: shape for key, shape in oracle.shapes.items() if key.startswith(scope)}, name
        trainable = sum(int(np.prod(shape)) for key, shape in made.shapes.items() if key in oracle.trainable)
        assert made.count.trainable == trainable, name
        columns = oracle.facts["convs_at_crop"]["columns"]
        rows = [dict(zip(columns, row)) for row in oracle.facts["convs_at_crop"]["rows"]]
        rows = [row for row in rows if row["weights"].startswith(scope)]
        assert made.count.multiply_adds == sum(row["madds"] for row in rows), name
        assert made.epsilons == {row["bn_eps"] for row in rows}, name
        for row in rows:
            ours, theirs = made.convolutions[row["weights"]], official_convolution(row)
            assert (ours.stride, ours.rate) == (theirs.stride, theirs.rate), (name, row)
            # explicit padding only where it differs from SAME: on even sides
            is_odd = theirs.padding == "valid" and ours.padding == "same"
            assert ours.padding == theirs.padding or (is_odd and height % 2 and width % 2), (name, row)


def test_features_are_the_official_ones_at_a_free_size(shared: Path) -> None:
    """With the other Keras: tests/converters/test_official_oracles.py has all of them at fixed sizes."""
    oracle = oracles.load(shared, "resnet_v1_18_beta_os16")
    variant, settings = of_oracle(oracle)
    K = keras_namespace("tf_keras")
    image, blocks = K.layers.Input((None, None, 3)), Blocks(K)
    ends = builder(variant, **settings)(blocks, Feature(image))
    model = K.Model(image, {"backbone_out": ends.features.tensor, "lowlevel_os4": ends.low_level[4].tensor})
    weights = oracles.weights_for(oracle)
    for layer, variables in blocks.official.items():
        model.get_layer(layer).set_weights([weights[variable] for variable in variables])
    features = model(oracles.picture(oracle, "A") * np.float32(2 / 255) - 1, training=False)
    for key, feature in features.items():
        assert oracle.difference(key, feature.numpy(), "A") <= oracles.TOLERANCE, key


@pytest.mark.parametrize("variant", ["resnet_v1_18", "xception_41"])
def test_atrous_features_at_stride_8_subsampled_are_those_at_stride_32(variant: str) -> None:
    """DeepLab's own law, exact to the border where sides are k * 32 + 1 and padding is symmetric."""
    K = keras_namespace("keras")
    image = np.random.RandomState(1).uniform(-1, 1, (1, 65, 97, 3)).astype(np.float32)
    found: dict[int, np.ndarray] = {}
    first: Any = None
    for stride in (8, 32):
        size, blocks = K.layers.Input((65, 97, 3)), Blocks(K)
        model = K.Model(size, builder(variant, output_stride=stride)(blocks, Feature(size)).features.tensor)
        if first is None:
            first = liven(model)
        copy_weights(first, model)
        found[stride] = model(image, training=False).numpy()
    assert found[8].shape[1:3] == (9, 13) and found[32].shape[1:3] == (3, 4)
    difference = np.abs(found[8][:, ::4, ::4] - found[32]).max()
    assert difference < FLOAT_ROUNDING * found[32].std()


@pytest.mark.parametrize(
    ("variant", "output_stride", "rates"),
    [
        ("resnet_v1_50", 32, (1, 2, 4)),
        ("resnet_v1_50", 16, (2, 4, 8)),
        ("resnet_v1_101_beta", 8, (4, 8, 16)),
        ("resnet101", 8, (4, 8, 16)),
        ("xception_71", 16, (2, 4, 8)),
        ("xception_41", 8, (4, 8, 16)),
    ],
)
def test_multi_grid_multiplies_the_rates_of_the_last_block(
    variant: str, output_stride: int, rates: tuple[int, ...]
) -> None:
    plain = laid(variant, output_stride=output_stride).convolutions
    graded = laid(variant, output_stride=output_stride, multi_grid=(1, 2, 4)).convolutions
    changed = {name: graded[name].rate for name in plain if graded[name] != plain[name]}
    last = "exit_flow/block2" if variant in FLOWS else "block4"
    assert all(last in name for name in changed)
    assert tuple(sorted({rate for name, rate in changed.items()} | {rates[0]})) == rates


def test_the_last_block_of_18_layers_has_two_units_to_grade() -> None:
    made = laid("resnet_v1_18", output_stride=16, multi_grid=(1, 2)).convolutions
    scope = "resnet_v1_18/block4/unit_{}/lite_bottleneck_v1/conv{}/weights"
    assert [made[scope.format(unit, conv)].rate for unit in (1, 2) for conv in (1, 2)] == [2, 2, 4, 4]


@pytest.mark.parametrize("variant", [*VARIANTS, *KERAS_VARIANTS, *FLOWS])
@pytest.mark.parametrize("output_stride", [8, 16, 32])
def test_features_have_the_asked_stride_and_the_decoder_its_layers(variant: str, output_stride: int) -> None:
    made = laid(variant, (129, 193), output_stride=output_stride)
    shapes = {stride: feature.tensor.shape[1:3] for stride, feature in made.ends.low_level.items()}
    expected = {
        stride: (128 // min(stride, output_stride) + 1, 192 // min(stride, output_stride) + 1) for stride in (4, 8, 16)
    }
    assert shapes == expected
    assert made.ends.features.tensor.shape[1:3] == (128 // output_stride + 1, 192 // output_stride + 1)


def test_even_sides_are_padded_on_all_sides_but_for_the_official_max_pool() -> None:
    # conv1, and the 3x3 with the stride in blocks 1 to 3; Keras's pool besides
    for variant, pads in (("resnet_v1_50", 4), ("resnet50", 5)):
        assert laid(variant, (64, 96), output_stride=32).kinds.count("ZeroPadding2D") == pads
        assert laid(variant, (65, 97), output_stride=32).kinds.count("ZeroPadding2D") == 0
    # five strides, but SAME inside the bounded form's modules
    assert laid("xception_65", (64, 96), output_stride=32).kinds.count("ZeroPadding2D") == 5
    assert laid("xception_65", (64, 96), output_stride=32, is_bounded=True).kinds.count("ZeroPadding2D") == 1


@pytest.mark.parametrize(
    ("variant", "settings", "named"),
    [
        ("resnet_v1_34", {}, "did you mean resnet_v1_"),
        ("resnet_v1_50", {"multi_grid": (1, 2)}, r"multi_grid; came \(1, 2\); allowed: 3 factors"),
        ("resnet_v1_18", {"multi_grid": (1, 2, 4)}, "allowed: 2 factors"),
        ("resnet_v1_50", {"multi_grid": (1, 0, 4)}, "each 1 or more"),
        ("resnet_v1_50", {"output_stride": 4}, "output_stride; came 4; allowed: 8, 16, 32"),
    ],
)
def test_what_cannot_be_built_is_refused(variant: str, settings: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        laid(variant, **{"output_stride": 16, **settings})
