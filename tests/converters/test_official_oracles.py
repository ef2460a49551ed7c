"""The networks of converters.official against what the official code computed, with the same weights and pictures."""

from __future__ import annotations

import numpy as np
import pytest

from edge_deeplab.converters import official
from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.models.architecture import count
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official import variables_of
from edge_deeplab.models.official_config import OfficialConfig
from tests import oracles


def settings(oracle: oracles.Oracle) -> dict:
    return {"flags": oracle.facts["flags"], "model_options": oracle.facts["model_options"]}


def test_every_oracle_is_tried(shared):
    assert sorted({*oracles.VARIANTS, oracles.MULTI_SCALE}) == oracles.names(shared)


@pytest.mark.parametrize("name", [*oracles.VARIANTS, oracles.MULTI_SCALE])
def test_variables_parameters_and_multiply_adds_are_the_official_ones(shared, name):
    oracle = oracles.load(shared, name)
    config = oracle.config
    found = variables_of(config)
    assert found == oracle.shapes
    for crop, cost in oracle.facts.get("madds", {}).items():
        height, width = map(int, crop.split("x"))
        changes = {"crop_size": (height, width)}
        if config.image_pooling_crop_size:
            changes["image_pooling_crop_size"] = (769, 769)  # the oracle's note: its costs are of the official flag
        counted = count(config.replace(**changes))
        assert counted.multiply_adds == cost["conv_madds"], crop
        assert counted.trainable == oracle.facts["trainable_params"]
        assert counted.parameters - counted.trainable == oracle.facts["non_trainable_params"]


@pytest.mark.parametrize("name", oracles.VARIANTS)
def test_logits_are_those_of_the_official_code(shared, name):
    oracle = oracles.load(shared, name)
    model = official.build(settings(oracle))
    official.assign(model, oracles.weights_for(oracle))
    assert sum(int(np.prod(v.shape)) for v in model.trainable_weights) == oracle.facts["trainable_params"]
    for picture in ("A", "B"):
        made = model(oracles.picture(oracle, picture), training=False)
        for output in ("logits_lowres", "logits_final"):
            difference = oracle.difference(output, np.asarray(made[output]), picture)
            assert difference <= oracles.TOLERANCE, (output, picture)


def test_multi_scale_and_flip_are_those_of_the_official_code(shared):
    oracle = oracles.load(shared, oracles.MULTI_SCALE)
    model = official.build(settings(oracle))
    official.assign(model, oracles.weights_for(oracle))
    for picture in ("A", "B"):
        pixels = oracles.picture(oracle, picture)
        made = official.predict_multi_scale(model, pixels, scales=(0.5, 1.0, 1.5), flip=True)
        assert oracle.difference("mean_softmax", made["mean_softmax"], picture) <= oracles.TOLERANCE
        stored = oracle.arrays["semantic" if picture == "A" else "semantic__B"]
        # two classes may be closer to each other than float rounding
        assert np.mean(made["semantic"] != stored) <= 1e-4


def small(**changes) -> dict:
    flags = {"model_variant": "mobilenet_v2", "depth_multiplier": "0.35"}
    options = {"num_classes": 3, "crop_size": [65, 97], "output_stride": 16, "atrous_rates": None, **changes}
    return {"flags": flags, "model_options": options}


def recipe(model) -> dict[str, np.ndarray]:
    shapes = variables_of(model.official_config)
    return {name: oracles.variable(name, shape, 1.5) for name, shape in shapes.items()}


@pytest.mark.parametrize(
    ("scales", "method", "merge"),
    [((1.0, 1.5), "max", np.max), ((0.5, 1.0), "avg", np.mean), ((1.0, 0.7), "max", np.max)],
)
def test_the_image_pyramid_merges_the_passes_of_one_network(scales, method, merge):
    """The definition in the official multi_scale_logits, each pass laid alone and enlarged to the largest."""
    given = small(image_pyramid=list(scales))
    given["flags"] = {**given["flags"], "merge_method": method}
    merged = official.build(given)
    weights = recipe(merged)
    official.assign(merged, weights)
    pixels = np.random.default_rng(0).uniform(0, 255, (1, 65, 97, 3)).astype(np.float32)
    together = np.asarray(merged(pixels, training=False)["logits_lowres"])
    size_hw = tuple(int((side - 1) * max(scales) / 16 + 1) for side in (65, 97))
    assert together.shape == (1, *size_hw, 3)
    passes = []
    for scale in scales:
        alone = official.build(small(image_pyramid=[scale]))
        official.assign(alone, weights)
        logits = alone(pixels, training=False)["logits_lowres"]
        passes.append(np.asarray(official.resize_aligned(keras_namespace("keras"), logits, size_hw)))
    np.testing.assert_allclose(together, merge(passes, axis=0), atol=1e-4)


def test_free_sizes_take_any_picture():
    model = official.build(small(crop_size=None))
    official.assign(model, recipe(model))
    for height, width in ((65, 97), (64, 50)):
        made = model(np.zeros((1, height, width, 3), np.float32), training=False)
        assert made["logits_final"].shape == (1, height, width, 3)
        assert made["logits_lowres"].shape == (1, (height - 1) // 16 + 1, (width - 1) // 16 + 1, 3)


def test_assign_lists_missing_extra_and_misshapen_names_and_sets_nothing():
    model = official.build(small())
    weights = recipe(model)
    official.assign(model, weights)
    before = [np.asarray(v) for v in model.weights]
    wrong = {**weights, "global_step": np.zeros(()), "logits/semantic/biases": np.zeros(4, np.float32)}
    del wrong["MobilenetV2/Conv/weights"]
    with pytest.raises(ModelError) as raised:
        official.assign(model, wrong)
    message = str(raised.value)
    assert "missing: MobilenetV2/Conv/weights" in message
    assert "extra: global_step" in message
    assert "logits/semantic/biases (4,) for (3,)" in message
    assert all(np.array_equal(a, np.asarray(b)) for a, b in zip(before, model.weights))


@pytest.mark.parametrize(
    ("flags", "options", "named"),
    [
        ({"model_variant": "mobilenet_v9"}, {}, "mobilenet_v2"),
        ({"model_varient": "mobilenet_v2"}, {}, "model_variant"),
        ({"aspp_with_batch_norm": "maybe"}, {}, "aspp_with_batch_norm"),
        ({"dense_prediction_cell_json": "nowhere.json"}, {}, "dense_prediction_cell_branch5"),
        ({}, {"output_stride": 4}, "8, 16, 32"),
        ({"logits_kernel_size": 3}, {}, "logits_kernel_size"),
        ({"decoder_output_stride": [4, 8]}, {}, "descending"),
        ({"decoder_output_is_logits": True, "decoder_output_stride": [8]}, {"num_classes": 2}, "num_classes 2"),
    ],
)
def test_impossible_settings_are_named(flags, options, named):
    with pytest.raises(UsageError) as raised:
        official.build({"flags": flags, "model_options": {"num_classes": 21, "crop_size": [65, 65], **options}})
    assert named in str(raised.value)


def test_a_decoder_stride_the_backbone_lacks_is_named():
    with pytest.raises(UsageError, match="decoder_output_stride"):
        official.build(
            {
                "flags": {"model_variant": "mobilenet_v2", "decoder_output_stride": [2]},
                "model_options": {"num_classes": 2, "crop_size": [65, 65]},
            }
        )


def test_a_config_survives_json(tmp_path):
    cell = tmp_path / "cell.json"
    cell.write_text(
        '[{"op": "conv", "kernel": 1, "input": -1}, {"op": "pyramid_pooling", "grid_size": [2, 1], "input": 0}]'
    )
    config = OfficialConfig.from_flags(
        {"model_variant": "xception_41", "dense_prediction_cell_json": str(cell), "image_pooling_stride": "4,5"},
        {"num_classes": 4, "crop_size": ["65", "97"], "image_pyramid": None},
    )
    assert OfficialConfig.from_dict(config.to_dict()) == config
    assert config.image_pooling_stride == (4, 5)
    assert "meta_architecture/branch1/weights" in variables_of(config)
