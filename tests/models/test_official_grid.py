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


def features(K, model, layer: str, picture: np.ndarray) -> np.ndarray:
    """The upper left quarter of a layer's map: what lies beyond the picture's other edges does not reach it."""
    made = np.asarray(K.Model(model.input, model.get_layer(layer).output)(picture))
    return made[:, : made.shape[1] // 2, : made.shape[2] // 2]


@pytest.mark.parametrize(
    ("variant", "layer"),
    [("mobilenet_v2", "block_5_add"), ("resnet_v1_18", "block2_unit2_add"), ("resnet_v1_18_beta", "block2_unit2_add")],
)
def test_even_sides_keep_the_maps_where_odd_ones_have_them(variant, layer):
    K = keras_namespace("keras")
    odd = network(variant)
    model, even = build(K, odd), build(K, at_size(odd, (SIDE, SIDE)))
    copy_weights(model, even)
    picture = np.random.default_rng(0).uniform(-1, 1, (1, SIDE + 1, SIDE + 1, 3)).astype(np.float32)
    expected = features(K, model, layer, picture)
    made = features(K, even, layer, picture[:, :SIDE, :SIDE])
    np.testing.assert_allclose(made, expected[:, : made.shape[1], : made.shape[2]], atol=1e-4 * expected.std())


def test_whole_answers_on_even_sides_are_those_on_odd_ones_and_the_official_way_pulls_them_apart():
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    odd = network("mobilenet_v2")
    model = build(K, odd)
    picture = np.random.default_rng(0).uniform(-1, 1, (1, SIDE + 1, SIDE + 1, 3)).astype(np.float32)
    whole = np.asarray(model(picture, training=False))[:, :SIDE, :SIDE]
    differences = []
    for config in (at_size(odd, (SIDE, SIDE)), odd.replace(crop_size=(SIDE, SIDE))):
        even = build(K, config)
        copy_weights(model, even)
        made = np.asarray(even(picture[:, :SIDE, :SIDE], training=False))
        differences.append(np.abs(made - whole)[:, : SIDE // 2, : SIDE // 2].mean() / whole.std())
    # what is beyond the lower and right edge reaches the upper left quarter, faintly
    assert differences[0] < 0.02
    assert differences[1] > 10 * differences[0]


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
