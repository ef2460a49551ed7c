"""EfficientNet-B and -Lite as backbones: their published sizes, their rates, one function in every form."""

from __future__ import annotations

import numpy as np
import pytest
from small_networks import liven

from edge_deeplab.models.backbones.efficientnet import VARIANTS, blocks_of, build_efficientnet
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible
from edge_deeplab.models.counting import Count, count_traced
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import copy_weights

# Trainable parameters with the classifier of 1000 classes, and multiply-adds at the size trained for: those of
# keras.applications' models, and for Lite of tensorflow/tpu's README as others count it (4.652 M, 0.385 G, ...).
PUBLISHED = {
    "efficientnet_b0": (224, 5_288_548, 386),
    "efficientnet_b1": (240, 7_794_184, 687),
    "efficientnet_b2": (260, 9_109_994, 994),
    "efficientnet_b3": (300, 12_233_232, 1827),
    "efficientnet_b4": (380, 19_341_616, 4394),
    "efficientnet_lite0": (224, 4_652_008, 385),
    "efficientnet_lite1": (240, 5_416_680, 600),
    "efficientnet_lite2": (260, 6_092_072, 860),
    "efficientnet_lite3": (280, 8_197_096, 1383),
    "efficientnet_lite4": (300, 13_006_568, 2553),
}
# float32 rounding through eighty layers, relative to the spread of the features
FLOAT_ROUNDING = 1e-4


def classifier(variant: str, side: int) -> Count:
    """The classifier an EfficientNet was published as: our backbone, the last 1x1, and a dense layer."""

    def lay(K: object) -> None:
        blocks = Blocks(K)
        ends = build_efficientnet(blocks, Feature(K.layers.Input((side, side, 3))), variant=variant, output_stride=32)
        width = 1.0 if VARIANTS[variant].is_lite else VARIANTS[variant].width
        top = blocks.conv(ends.features, make_divisible(1280 * width), "top", activation=None)
        mean = Feature(blocks.plain("GlobalAveragePooling2D", keepdims=True, name="mean")(top.tensor))
        blocks.conv(mean, 1000, "classes", batch_norm=False, activation=None)

    return count_traced(lay)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_and_multiply_adds_are_the_published_ones(variant: str) -> None:
    side, parameters, millions = PUBLISHED[variant]
    counted = classifier(variant, side)
    assert counted.trainable == parameters
    assert round(counted.multiply_adds / 1e6) == millions


def backbone(K: object, variant: str, *, stride: int, side: int | None, form: str = "training") -> object:
    image = K.Input((side, side, 3))
    ends = build_efficientnet(Blocks(K, form=form), Feature(image), variant=variant, output_stride=stride)
    return K.Model(image, [ends.features.tensor, *(ends.low_level[at].tensor for at in (4, 8, 16))])


@pytest.mark.parametrize(("stride", "fourth_to_seventh"), [
    (32, ([1, 1, 1], [1, 1, 1], [1, 1, 1, 1], [1])),
    (16, ([1, 1, 1], [1, 1, 1], [1, 2, 2, 2], [2])),
    (8, ([1, 2, 2], [2, 2, 2], [2, 4, 4, 4], [4])),
])  # fmt: skip
def test_strides_past_the_output_stride_become_rates_from_the_next_block_on(
    stride: int, fourth_to_seventh: tuple[list[int], ...]
) -> None:
    model = backbone(keras_namespace("keras"), "efficientnet_lite0", stride=stride, side=64)
    rates: dict[str, list[int]] = {}
    for block in blocks_of("efficientnet_lite0"):
        rate = model.get_layer(f"{block.name}_dw_conv").dilation_rate[0]
        rates.setdefault(block.name[:-1], []).append(rate)
    assert list(rates.values()) == [[1], [1, 1], [1, 1], *fourth_to_seventh]
    sizes = [tensor.shape[1] for tensor in model.outputs]
    assert sizes == [64 // stride, 16, 8, 64 // min(stride, 16)]
    assert [tensor.shape[3] for tensor in model.outputs] == [320, 24, 40, 112]


def test_atrous_features_at_stride_8_subsampled_are_those_at_stride_32() -> None:
    """DeepLab's own law (DeepLabv3, section 3.1), exact to the border at k * 32 + 1: SAME is symmetric there.

    With squeeze-and-excite it cannot hold: a mean over more pixels is another mean.
    """
    K = keras_namespace("keras")
    strided = liven(backbone(K, "efficientnet_lite0", stride=32, side=65))
    atrous = backbone(K, "efficientnet_lite0", stride=8, side=65)
    copy_weights(strided, atrous)
    image = np.random.default_rng(0).uniform(0, 1, (1, 65, 65, 3)).astype(np.float32)
    expected, dense = strided.predict(image, verbose=0)[0], atrous.predict(image, verbose=0)[0]
    assert dense.shape == (1, 9, 9, 320)
    assert np.abs(dense[:, ::4, ::4] - expected).max() < FLOAT_ROUNDING * expected.std()


def test_both_kerases_and_the_int8_form_compute_the_same_at_any_size() -> None:
    model = liven(backbone(keras_namespace("keras"), "efficientnet_b0", stride=16, side=None))
    K = keras_namespace("tf_keras")
    twin = backbone(K, "efficientnet_b0", stride=16, side=None, form="int8")
    copy_weights(model, twin)
    image = np.random.default_rng(0).uniform(0, 1, (1, 48, 70, 3)).astype(np.float32)
    for expected, got in zip(model.predict(image, verbose=0), twin.predict(image, verbose=0)):
        assert np.abs(expected - got).max() < FLOAT_ROUNDING * expected.std()
    assert {layer.activation.__name__ for layer in twin.layers if type(layer).__name__ == "Activation"} == {"sigmoid"}
    assert any(
        type(layer).__name__ == "Activation" and layer.activation.__name__ != "sigmoid" for layer in model.layers
    )


def test_lite_has_no_sigmoid_and_no_product() -> None:
    model = backbone(keras_namespace("tf_keras"), "efficientnet_lite0", stride=16, side=64)
    kinds = {type(layer).__name__ for layer in model.layers}
    assert kinds == {"InputLayer", "Conv2D", "DepthwiseConv2D", "BatchNormalization", "ReLU", "Add"}
