"""An official network on even sides computes what it computes on odd ones, one row and column longer."""

import numpy as np
import pytest

from edge_deeplab.models.architecture import architecture_from, at_size, build
from edge_deeplab.models.keras_api import keras_namespace, own_layers
from edge_deeplab.models.official_config import OfficialConfig
from edge_deeplab.models.transfer import copy_weights

SIDE = 160


def network(variant: str, **changes) -> OfficialConfig:
    width = 0.35 if variant == "mobilenet_v2" else 1.0
    return OfficialConfig(
        model_variant=variant, depth_multiplier=width, num_classes=3, crop_size=(SIDE + 1, SIDE + 1),
        add_image_level_feature=False, aspp_convs_filters=16, decoder_filters=16, decoder_output_stride=(4,), **changes,
    )  # fmt: skip


@pytest.mark.parametrize("variant", ["mobilenet_v2", "resnet_v1_18_beta", "resnet_v1_18"])
def test_even_sides_keep_the_maps_where_odd_ones_have_them(variant):
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    odd = network(variant)
    model = build(K, odd)
    picture = np.random.default_rng(0).uniform(-1, 1, (1, SIDE + 1, SIDE + 1, 3)).astype(np.float32)
    whole = np.asarray(model(picture, training=False))[:, :SIDE, :SIDE]
    differences = {}
    for name, config in (
        ("origin", at_size(odd, (SIDE, SIDE))), ("corners", odd.replace(crop_size=(SIDE, SIDE)))
    ):  # fmt: skip
        even = build(K, config)
        copy_weights(model, even)
        made = np.asarray(even(picture[:, :SIDE, :SIDE], training=False))
        differences[name] = np.abs(made - whole)[:, : SIDE // 2, : SIDE // 2].mean() / whole.std()
    # what is beyond the lower and right edge reaches the upper left quarter, faintly
    assert differences["origin"] < 0.02
    # a residual network pads evenly anyway, and is hurt by the enlargement alone
    assert differences["corners"] > (10 if variant == "mobilenet_v2" else 1.2) * differences["origin"]


def test_only_multiples_of_the_stride_leave_the_official_way():
    odd = network("mobilenet_v2")
    assert not at_size(odd, (64, 96)).align_corners
    for size_hw in ((65, 97), (64, 97), (100, 100)):
        assert at_size(odd, size_hw).align_corners
    assert at_size(at_size(odd, (64, 96)), (65, 97)) == odd.replace(crop_size=(65, 97))
    assert architecture_from(at_size(odd, (64, 96)).to_dict()) == at_size(odd, (64, 96))


def test_resizing_from_the_origin_puts_every_pixel_a_whole_step_apart():
    x = np.arange(6, dtype=np.float32).reshape(1, 2, 3, 1)
    for name in ("keras", "tf_keras"):
        layer = own_layers(keras_namespace(name)).AlignedResize(size_hw=(4, 9), from_origin=True)
        made = np.asarray(layer(x))
        np.testing.assert_allclose(made[0, ::2, ::3, 0], x[0, ..., 0])
        np.testing.assert_allclose(made[0, 0, :4, 0], [0, 1 / 3, 2 / 3, 1], atol=1e-6)
        assert made[0, 3, 8, 0] == 5  # the last ones are held
