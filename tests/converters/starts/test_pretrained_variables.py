"""TensorFlow 1 checkpoints of both versions, written by TensorFlow, and frozen graphs with ResNets in them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import oracles
import pytest

from edge_deeplab.converters.starts.backbone_weights import BATCH_NORM, official_channels, official_layers
from edge_deeplab.converters.starts.pretrained import files_of, read_foreign_backbone
from edge_deeplab.converters.starts.transplant import transplant
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.models.backbones.resnet_v1 import build_resnet_v1
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official_config import MEAN_RGB
from edge_deeplab.models.transfer import assign_weights, weights_of

FLOAT_ROUNDING = 1e-4  # float32 in another order, relative to the spread; the oracle's own tolerance is 2e-4
VERSIONS = (1, 2)
Variables = dict[str, np.ndarray]


def save_checkpoint(prefix: Path, variables: Variables, *, version: int = 2, has_state: bool = False) -> None:
    import tensorflow as tf

    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        made = [tf.compat.v1.get_variable(name, initializer=array) for name, array in variables.items()]
        session.run(tf.compat.v1.global_variables_initializer())
        tf.compat.v1.train.Saver(made, write_version=version).save(
            session, str(prefix), write_meta_graph=False, write_state=has_state
        )


def small_resnet(scope: str = "resnet_v1_50", root: str = "conv1") -> Variables:
    """Enough to be told apart; whether it is whole is for the network to say."""
    random = np.random.RandomState(0)
    layer = f"{scope}/{root}"
    names = (f"{layer}/weights", *(f"{layer}/BatchNorm/{name}" for name in ("gamma", "beta", "moving_mean")))
    return {name: random.normal(size=4).astype(np.float32) for name in (*names, f"{layer}/BatchNorm/moving_variance")}


def mobilenet_v2() -> Variables:
    """A whole one, of the smallest width."""
    channels, made = 3, {}
    random = np.random.RandomState(0)
    outputs = iter(official_channels(0.35, 8))
    for layer, variable in official_layers():
        if layer.endswith("/depthwise"):
            shape: tuple[int, ...] = (3, 3, channels, 1)
        elif layer.endswith("/expand"):
            shape = (1, 1, channels, 6 * channels)
        else:
            side = 3 if layer.endswith("/Conv") else 1
            shape = (side, side, channels, next(outputs))
        channels = shape[2] if layer.endswith("/depthwise") else shape[3]
        made[f"{layer}/{variable}"] = random.normal(size=shape).astype(np.float32)
        for name in BATCH_NORM:
            made[f"{layer}/BatchNorm/{name}"] = random.uniform(0.5, 1, channels).astype(np.float32)
    return made


def test_a_checkpoint_starts_a_resnet_that_computes_what_the_official_code_does(shared: Path, tmp_path: Path) -> None:
    oracle = oracles.load(shared, "resnet_v1_18_beta_os16")
    variables = oracles.weights_for(oracle)
    prefix = tmp_path / "model.ckpt-30000"
    save_checkpoint(prefix, variables, version=1)
    backbone = read_foreign_backbone(prefix)
    assert (backbone.backbone, backbone.batch_norm_epsilon) == ("resnet_v1_18_beta", 1e-5)
    assert backbone.input_range == (-1.0, 1.0)

    K = keras_namespace("keras")
    blocks = Blocks(K)
    image = K.layers.Input((None, None, 3))
    ends = build_resnet_v1(blocks, Feature(image), variant=backbone.backbone, output_stride=16)
    model = K.Model(image, ends.features.tensor)
    weights = transplant(backbone, weights_of(model), blocks.official)
    # inside the picture a stem for 0..1 gives what the file's gives for -1..1; at the edges it cannot
    scope = "resnet_v1_18/conv1_1"
    np.testing.assert_allclose(weights["conv1_1_conv"][0], variables[f"{scope}/weights"] * 2)
    shift = weights["conv1_1_bn"][2] - variables[f"{scope}/BatchNorm/moving_mean"]
    np.testing.assert_allclose(shift, variables[f"{scope}/weights"].sum(axis=(0, 1, 2)), rtol=1e-3, atol=1e-5)
    weights["conv1_1_conv"] = [variables[f"{scope}/weights"]]
    weights["conv1_1_bn"][2] = variables[f"{scope}/BatchNorm/moving_mean"]
    assign_weights(model, weights)
    pixels = oracles.picture(oracle, "A") * np.float32(2 / 255) - 1
    value = model(pixels, training=False).numpy()
    assert oracle.difference("backbone_out", value, "A") < FLOAT_ROUNDING


def test_a_checkpoint_is_named_by_any_of_its_files_or_their_folder(tmp_path: Path) -> None:
    variables = small_resnet()
    prefix = tmp_path / "model.ckpt-7"
    save_checkpoint(prefix, variables)
    index, data = tmp_path / "model.ckpt-7.index", tmp_path / "model.ckpt-7.data-00000-of-00001"
    for path in (prefix, index, data, tmp_path):
        arrays = read_foreign_backbone(path).arrays
        assert arrays.keys() == variables.keys()
        assert all((arrays[name] == variables[name]).all() for name in variables)
        assert files_of(path) == (index, data)


def test_a_folder_of_several_checkpoints_says_which_is_the_last(tmp_path: Path) -> None:
    first, last = small_resnet(), {name: 2 * array for name, array in small_resnet().items()}
    save_checkpoint(tmp_path / "model.ckpt-9", last)
    save_checkpoint(tmp_path / "model.ckpt-10", first)
    with pytest.raises(ModelError, match=r"2 \.index files.*name one of them"):
        read_foreign_backbone(tmp_path)
    save_checkpoint(tmp_path / "model.ckpt-9", last, has_state=True)
    name = "resnet_v1_50/conv1/weights"
    assert (read_foreign_backbone(tmp_path).arrays[name] == last[name]).all()


def test_the_moving_average_of_a_variable_goes_before_it(tmp_path: Path) -> None:
    variables = small_resnet()
    average = np.full(4, 7, np.float32)
    name = "resnet_v1_50/conv1/weights"
    save_checkpoint(tmp_path / "a", {**variables, f"{name}/ExponentialMovingAverage": average})
    arrays = read_foreign_backbone(tmp_path / "a").arrays
    assert (arrays[name] == average).all()
    assert arrays.keys() == variables.keys()


@pytest.mark.parametrize(
    ("more", "mean_rgb"),
    [
        ({}, MEAN_RGB),
        ({"logits/semantic/weights": np.zeros(2, np.float32)}, MEAN_RGB),
        ({"resnet_v1_50/logits/weights": np.zeros(2, np.float32)}, (123.68, 116.78, 103.94)),
        ({"resnet_v1_50/mean_rgb": np.asarray([1, 2, 3], np.float32)}, (1, 2, 3)),
    ],
)
def test_a_resnet_is_fed_less_the_mean_of_who_trained_it(
    tmp_path: Path, more: Variables, mean_rgb: tuple[float, ...]
) -> None:
    save_checkpoint(tmp_path / "a", {**small_resnet(), **more})
    backbone = read_foreign_backbone(tmp_path / "a")
    np.testing.assert_allclose(backbone.input_range[0], np.negative(mean_rgb))
    np.testing.assert_allclose(backbone.input_range[1], np.subtract(255, mean_rgb))
    assert not any("logits" in name or "mean_rgb" in name for name in backbone.arrays)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_mobilenet_v2_is_read_with_its_width(tmp_path: Path, version: int) -> None:
    variables = mobilenet_v2()
    save_checkpoint(tmp_path / "a", variables, version=version)
    backbone = read_foreign_backbone(tmp_path / "a")
    assert (backbone.backbone, backbone.width, backbone.width_divisor) == ("mobilenet_v2", 0.35, 8)
    assert backbone.arrays.keys() == variables.keys()
    del variables["MobilenetV2/expanded_conv_7/expand/BatchNorm/beta"]
    save_checkpoint(tmp_path / "b", variables, version=version)
    with pytest.raises(
        ModelError, match=r"1 of 255 variables missing, MobilenetV2/expanded_conv_7/expand/BatchNorm/beta"
    ):
        read_foreign_backbone(tmp_path / "b")


def test_a_damaged_checkpoint_is_one_line(tmp_path: Path) -> None:
    for version, name in ((1, "old.ckpt"), (2, "new.ckpt")):
        save_checkpoint(tmp_path / name, small_resnet(), version=version)
    data = tmp_path / "new.ckpt.data-00000-of-00001"
    old, kept, index = tmp_path / "old.ckpt", data.read_bytes(), (tmp_path / "new.ckpt.index").read_bytes()
    data.write_bytes(kept[:10])
    old.write_bytes(old.read_bytes()[:60] + old.read_bytes()[-60:])
    for path in (data, old):
        with pytest.raises(ModelError, match=r"(new|old)\.ckpt: damaged") as error:
            read_foreign_backbone(path)
        assert "\n" not in str(error.value)
    data.unlink()
    with pytest.raises(ModelError, match=r"new\.ckpt: damaged, or a file of this checkpoint is missing"):
        read_foreign_backbone(tmp_path / "new.ckpt.index")
    data.write_bytes(kept)
    (tmp_path / "new.ckpt.index").write_bytes(index[:-9])
    with pytest.raises(ModelError, match=r"new\.ckpt: damaged"):
        read_foreign_backbone(tmp_path / "new.ckpt")


def test_another_network_is_refused_with_the_names_it_has(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", {"InceptionV3/Conv2d_1a_3x3/weights": np.zeros(2, np.float32)})
    with pytest.raises(
        ModelError, match=r"names that begin with InceptionV3; allowed: one of MobilenetV2, resnet_v1_101"
    ):
        read_foreign_backbone(tmp_path / "a")
    with pytest.raises(ModelError, match=r"not a folder of one checkpoint; came 0 \.index files"):
        read_foreign_backbone(tmp_path.parent)


def test_a_frozen_graph_gives_a_resnet_and_the_epsilon_it_was_made_with(tmp_path: Path) -> None:
    import tensorflow as tf

    variables = small_resnet("resnet_v1_101", root="conv1_1")
    with tf.Graph().as_default() as graph:
        for name, array in variables.items():
            tf.constant(array, name=name)
        ones = tf.ones(1)
        with tf.compat.v1.name_scope("resnet_v1_101/conv1_1/BatchNorm/"):
            tf.compat.v1.nn.fused_batch_norm(
                tf.ones((1, 1, 1, 1)), ones, ones, ones, ones, epsilon=2e-5, is_training=False, name="FusedBatchNorm"
            )
    path = tmp_path / "frozen_inference_graph.pb"
    path.write_bytes(graph.as_graph_def().SerializeToString())
    backbone = read_foreign_backbone(path)
    assert backbone.backbone == "resnet_v1_101_beta"
    assert backbone.arrays.keys() == variables.keys()
    assert backbone.batch_norm_epsilon == 2e-5


def test_a_file_of_another_depth_or_root_says_which_backbone_it_is(tmp_path: Path) -> None:
    K = keras_namespace("keras")
    blocks = Blocks(K)
    image = K.layers.Input((None, None, 3))
    ends = build_resnet_v1(blocks, Feature(image), variant="resnet_v1_18", output_stride=16)
    fresh = weights_of(K.Model(image, ends.features.tensor))
    for scope, root, named in (
        ("resnet_v1_18", "conv1_1", "weights of resnet_v1_18_beta; allowed: weights of resnet_v1_18"),
        ("resnet_v1_50", "conv1", "weights of resnet_v1_50; allowed: weights of resnet_v1_18"),
        (
            "resnet_v1_18",
            "conv1",
            "95 of 100 variables missing, resnet_v1_18/block1/unit_1/lite_bottleneck_v1/conv1/weights",
        ),
    ):
        save_checkpoint(tmp_path / "a", small_resnet(scope, root))
        with pytest.raises(ConversionError, match=named):
            transplant(read_foreign_backbone(tmp_path / "a"), fresh, blocks.official)
