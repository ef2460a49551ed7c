"""The builder: one for both Kerases, equal to its int8 form, atrous where strides were taken away."""

import numpy as np
import pytest

from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.models import zoo
from edge_deeplab.models.architecture import count
from edge_deeplab.models.backbones.strides import StrideKeeper
from edge_deeplab.models.blocks import Blocks, Feature, make_divisible
from edge_deeplab.models.deeplab import BACKBONES, DeepLabConfig, build_deeplab, is_of_head
from edge_deeplab.models.int8_form import to_int8_form
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, copy_weights, weights_of
from edge_deeplab.recipe import load_recipe
from edge_deeplab.training.run import TrainRun

# float32 rounding through some sixty layers, relative to the spread of the logits
FLOAT_ROUNDING = 1e-4


MOBILENETS = tuple(name for name, family in BACKBONES.items() if family.has_width)
# the others are held to their oracles, and to a training step
LIGHT = (*MOBILENETS, "resnet_v1_18", "efficientnet_lite0")


def small(backbone: str = "mobilenet_v2", **changes) -> DeepLabConfig:
    width = 0.35 if backbone in MOBILENETS or backbone not in BACKBONES else 1.0
    values = {"width": width, "size_hw": (64, 96), "aspp_filters": 16, "aspp_rates": (1, 2), "decoder_filters": 16}
    return DeepLabConfig(**{"backbone": backbone, **values, **changes})


def lively(weights: dict[str, list[np.ndarray]]) -> dict[str, list[np.ndarray]]:
    """Random batch-norm statistics and biases: a fresh network's identity ones would hide mistakes."""
    random = np.random.RandomState(0)
    for name, arrays in weights.items():
        if name.endswith("_bn"):
            for index, (low, high) in enumerate(((0.5, 1.5), (-0.2, 0.2), (-0.2, 0.2), (0.5, 1.5))):
                arrays[index] = random.uniform(low, high, arrays[index].shape).astype(np.float32)
        elif len(arrays) == 2:
            arrays[1] = random.uniform(-0.5, 0.5, arrays[1].shape).astype(np.float32)
    return weights


def images(config: DeepLabConfig, count: int = 2) -> np.ndarray:
    return np.random.RandomState(1).uniform(0, 1, (count, *config.size_hw, 3)).astype(np.float32)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    return float(np.abs(first - second).max() / first.std())


@pytest.mark.parametrize(
    ("backbone", "detail_filters"), [*((name, 0) for name in LIGHT), ("mobilenet_v2", 8), ("mobilenet_v3_small", 8)]
)
def test_both_kerases_and_the_int8_form_compute_the_same(backbone, detail_filters):
    config = small(backbone, detail_filters=detail_filters)
    model = build_deeplab(keras_namespace("keras"), config)
    assign_weights(model, lively(weights_of(model)))
    twin = build_deeplab(keras_namespace("tf_keras"), config, 2)
    copy_weights(model, twin)
    expected = model.predict(images(config), verbose=0)
    assert expected.shape == (2, 64, 96, 2)
    assert distance(expected, twin.predict(images(config), verbose=0)) < FLOAT_ROUNDING

    int8_config, int8_weights = to_int8_form(keras_namespace("tf_keras"), config, weights_of(model))
    int8_model = build_deeplab(keras_namespace("tf_keras"), int8_config, 2)
    assign_weights(int8_model, int8_weights)
    assert distance(expected, int8_model.predict(images(config), verbose=0)) < FLOAT_ROUNDING
    kinds = {type(layer).__name__ for layer in int8_model.layers}
    assert not kinds & {"HardSwish", "HardSigmoid"}
    if backbone.startswith("mobilenet_v3"):
        assert {"HardSwish", "HardSigmoid"} <= {type(layer).__name__ for layer in model.layers}


@pytest.mark.parametrize("backbone", MOBILENETS)
def test_atrous_features_at_stride_8_subsampled_are_those_at_stride_16_and_32(backbone):
    """DeepLab's own law, for the backbone alone; exact away from the border, where zero padding differs."""
    K = keras_namespace("keras")
    name = "block_16_project_bn" if backbone == "mobilenet_v2" else "tail_bn"
    maps, weights = {}, None
    for stride in (8, 16, 32):
        # Odd feature maps would need k * stride + 1; with even ones SAME pads the strided and the atrous grid apart.
        model = build_deeplab(K, small(backbone, size_hw=(64, 64), output_stride=stride))
        weights = weights or lively(weights_of(model))
        assign_weights(model, weights)
        maps[stride] = K.Model(model.inputs, model.get_layer(name).output)
        assert maps[stride].output.shape[1:3] == (64 // stride, 64 // stride)
        assert [layer.name for layer in model.layers if layer.weights] == list(weights)


def test_stride_keeper_gives_the_block_that_lost_its_stride_the_old_rate():
    keeper = StrideKeeper(8)
    assert [keeper.step(s) for s in (2, 2, 2)] == [(2, 1)] * 3
    assert keeper.step(2) == (1, 1)  # loses its stride, keeps the rate
    assert keeper.step(1) == (1, 2)
    assert keeper.step(2) == (1, 2)
    assert keeper.step(1) == (1, 4)


def test_rates_of_mobilenet_v2_are_the_official_ones():
    """Notes on the official code: OS16: 13 rate 1, 14 to 16 rate 2; OS8: 6 rate 1, 7 to 13 rate 2, 14 to 16 rate 4."""

    def rates(stride: int) -> list[int]:
        model = build_deeplab(keras_namespace("keras"), small(output_stride=stride, size_hw=(64, 64)))
        return [model.get_layer(f"block_{index}_depthwise_conv").dilation_rate[0] for index in range(17)]

    assert rates(16) == [1] * 14 + [2] * 3
    assert rates(8) == [1] * 7 + [2] * 7 + [4] * 3
    assert rates(32) == [1] * 17


@pytest.mark.parametrize("backbone", LIGHT)
@pytest.mark.parametrize("stride", [8, 32])
def test_counting_namespace_agrees_with_keras(backbone, stride):
    config = small(backbone, size_hw=(64, 64), output_stride=stride, classes=5)
    model = build_deeplab(keras_namespace("keras"), config)
    counted = count(config)
    assert counted.parameters == model.count_params()
    assert counted.trainable == sum(int(np.prod(v.shape)) for v in model.trainable_variables)


def test_counted_multiply_adds_of_one_convolution_by_hand():
    config = small(size_hw=(64, 64))
    wider = config.replace(classes=config.classes + 1)
    # one more 1x1 filter over the decoder's 16 channels at stride 4
    assert count(wider).multiply_adds - count(config).multiply_adds == 16 * 16 * 16


@pytest.mark.parametrize("classes", [1, 2, 21])
@pytest.mark.parametrize("logits_stride", [1, 2, 4])
def test_logits_have_the_asked_classes_and_stride(classes, logits_stride):
    config = small(size_hw=(64, 64), classes=classes, logits_stride=logits_stride)
    model = build_deeplab(keras_namespace("keras"), config)
    assert model.output.shape == (None, 64 // logits_stride, 64 // logits_stride, classes)


@pytest.mark.parametrize("backbone", ["mobilenet_v2", "mobilenet_v3_small", "efficientnet_lite0"])
def test_a_detail_step_reads_features_at_stride_2_and_ends_there(backbone):
    config = small(backbone, size_hw=(64, 64), detail_filters=8)
    model = build_deeplab(keras_namespace("keras"), config)
    assert model.get_layer("detail_low_level_conv").input.shape[1:3] == (32, 32)
    assert model.get_layer("logits").input.shape[1:] == (32, 32, 8)
    assert count(config).parameters == model.count_params()


def test_low_level_features_are_the_last_at_stride_4():
    for backbone in LIGHT:
        model = build_deeplab(keras_namespace("keras"), small(backbone, size_hw=(64, 64)))
        assert model.get_layer("decoder_low_level_conv").input.shape[1:3] == (16, 16)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"backbone": "mobilenet_v4"}, "mobilenet_v3_large"),
        ({"width": 2.0}, "0.35 to 1.4"),
        ({"output_stride": 4}, "8, 16, 32"),
        ({"size_hw": (100, 64)}, "multiples of output_stride 16"),
        ({"aspp_rates": ()}, "one or more rates"),
        ({"classes": 0}, "1 or more"),
        ({"backbone": "xception_41", "width": 1.0, "detail_filters": 8}, "with a MobileNet or EfficientNet"),
    ],
)
def test_config_refuses_what_cannot_be_built(change, named):
    with pytest.raises(UsageError, match=named):
        small(**change)


def test_config_survives_its_dict():
    config = small("mobilenet_v3_large", logits_stride=2)
    assert DeepLabConfig.from_dict(config.to_dict()) == config
    with pytest.raises(UsageError, match=r"unknown fields.*widht.*did you mean width"):
        DeepLabConfig.from_dict({"widht": 1})


def test_weights_that_do_not_fit_are_listed():
    model = build_deeplab(keras_namespace("keras"), small(size_hw=(64, 64)))
    weights = weights_of(model)
    weights["logits"] = [np.zeros((1, 1, 16, 3), np.float32), np.zeros(3, np.float32)]
    weights["strange"] = weights.pop("stem_conv")
    with pytest.raises(ModelError, match=r"missing: stem_conv; extra: strange; other shapes: logits"):
        assign_weights(model, weights)


def test_make_divisible_rounds_as_the_papers_code():
    assert [make_divisible(v) for v in (4, 11.2, 12, 19, 320 * 0.35)] == [8, 16, 16, 24, 112]
    assert make_divisible(24 * 0.5, 1) == 12


def test_zoo_lists_growing_costs():
    rows = {row.name: row for row in zoo.describe()}
    widths = [rows[f"mobilenet_v2_{w}"].multiply_adds for w in ("035", "05", "075", "10", "14")]
    assert widths == sorted(widths)
    assert rows["portrait"].parameters < 800_000


@pytest.mark.parametrize(
    ("variant", "recipes"),
    [
        ("portrait-small", ["portrait_small"]),
        ("portrait", ["portrait", "portrait_more"]),
        ("portrait-large", ["portrait_large", "portrait_large_more", "portrait_large_256"]),
    ],
)
def test_recipes_of_the_bundled_models_train_their_variants(repository, variant, recipes):
    """Each goes on with the network before; the last one ends at the variant's size."""
    runs = [
        load_recipe(repository / f"edge_deeplab/recipes/{recipe}.toml", TrainRun, variables={"DATA": "data"})
        for recipe in recipes
    ]
    assert {run.name for run in runs} == {variant}
    size_hw = runs[-1].final_size_hw
    assert all(run.model.replace(size_hw=size_hw) == zoo.VARIANTS[variant] for run in runs)


@pytest.mark.parametrize(
    "backbone", ["mobilenet_v2", "mobilenet_v3_small", "xception_41", "resnet_v1_18", "efficientnet_b0"]
)
def test_what_comes_after_the_backbone_is_known_by_name(backbone):
    """The backbone alone, laid by its own builder, has none of the head's layers, and all of the others."""
    K = keras_namespace("keras")
    config = DeepLabConfig(
        backbone=backbone, size_hw=(64, 64), detail_filters=8 if BACKBONES[backbone].has_detail else 0
    )
    image = K.layers.Input((64, 64, 3))
    ends, _ = BACKBONES[backbone].build(Blocks(K), Feature(image), config)
    alone = {layer.name for layer in K.Model(image, ends.tensor).layers if layer.weights}
    whole = {layer.name for layer in build_deeplab(K, config).layers if layer.weights}
    assert {name for name in whole if not is_of_head(name)} == alone
