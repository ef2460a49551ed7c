"""Training begins from backbones that others trained: what is read, where it goes, what does not fit."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.cli.train_command import read_start
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.architecture import count, official_names
from edge_deeplab.models.deeplab import DeepLabConfig, build_deeplab
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, weights_of
from edge_deeplab.recipe import override, parse_assignments, parse_recipe
from edge_deeplab.training.run import TrainRun

MODERN = DeepLabConfig(backbone="resnet_v1_18", output_stride=8, multi_grid=(1, 2), size_hw=(32, 32))


def variables_of(config: DeepLabConfig) -> dict[str, np.ndarray]:
    """Random values for every official variable of a network's backbone."""
    random, shapes = np.random.RandomState(0), count(config).shapes
    return {
        name: random.uniform(0.1, 0.5, shape).astype(np.float32)
        for layer, names in official_names(config).items()
        for name, shape in zip(names, shapes[layer], strict=True)
    }


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, np.ndarray]]:
    import tensorflow as tf

    prefix, variables = tmp_path_factory.mktemp("slim") / "resnet_v1_18.ckpt", variables_of(MODERN)
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = [tf.compat.v1.get_variable(name, initializer=array) for name, array in variables.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(made).save(session, str(prefix), write_meta_graph=False, write_state=False)
    return prefix, variables


def short_run(recipe_text: str, data: Path, *changes: str) -> TrainRun:
    head = recipe_text.split("[[stages]]", maxsplit=1)[0].replace("width = 0.35\n", "")
    text = head + "[[stages]]\nsize_hw = [32, 32]\nepochs = 1\nbatch_size = 12\n"
    run = parse_recipe(text, TrainRun, variables={"DATA": data})
    return override(run, parse_assignments(changes), source="--set")


def test_a_resnet_at_stride_8_with_multi_grid_begins_from_a_checkpoint(
    discs: Path, recipe_text: str, checkpoint: tuple[Path, dict[str, np.ndarray]]
) -> None:
    prefix, variables = checkpoint
    run = short_run(
        recipe_text, discs, "model.backbone=resnet_v1_18", "model.output_stride=8", "model.multi_grid=[1, 2]",
        f"start.backbone={prefix}",
    )  # fmt: skip
    starting = read_start(run)
    assert starting is not None and starting.unsettled == frozenset()
    digest = hashlib.sha256()
    for file in (".index", ".data-00000-of-00001"):
        digest.update(Path(f"{prefix}{file}").read_bytes())
    assert starting.source == f"resnet_v1_18.ckpt sha256 {digest.hexdigest()}"

    model = build_deeplab(keras_namespace("keras"), run.model.replace(size_hw=(32, 32)))
    fresh = weights_of(model)
    assign_weights(model, starting.weights(fresh))
    for layer, names in official_names(run.model).items():
        if not layer.startswith("conv1_"):  # the stem is for other pixels
            for array, name in zip(model.get_layer(layer).get_weights(), names, strict=True):
                np.testing.assert_array_equal(array, variables[name])
    np.testing.assert_array_equal(
        model.get_layer("decoder_low_level_conv").get_weights(), fresh["decoder_low_level_conv"]
    )
    assert model.get_layer("block4_unit2_conv2_conv").dilation_rate == (8, 8)


@pytest.mark.parametrize(
    ("backbone", "next_step"),
    [
        (
            "resnet_v1_50",
            "weights of resnet_v1_18; allowed: weights of resnet_v1_50; set model.backbone to resnet_v1_18",
        ),
        ("resnet_v1_18_beta", "allowed: weights of resnet_v1_18_beta"),
        ("mobilenet_v2", "allowed: weights of mobilenet_v2"),
        ("mobilenet_v3_small", "allowed: a network with that backbone"),
    ],
)
def test_a_file_of_another_backbone_is_refused_before_anything_is_made(
    discs: Path, recipe_text: str, checkpoint: tuple[Path, dict[str, np.ndarray]], backbone: str, next_step: str
) -> None:
    run = short_run(recipe_text, discs, f"model.backbone={backbone}", f"start.backbone={checkpoint[0]}")
    with pytest.raises(ConversionError, match=next_step) as error:
        read_start(run)
    assert "\n" not in str(error.value)
