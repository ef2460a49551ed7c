"""A foreign backbone in our own network computes what it computed in its own."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from mobilenet_reference import psnr_db, rebuild

from edge_deeplab.converters.starts.pretrained import read_foreign_backbone
from edge_deeplab.converters.starts.transplant import transplant, unsettled_batch_norms
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.architecture import official_names
from edge_deeplab.models.deeplab import DeepLabConfig, build_deeplab
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, weights_of

FLOAT = "models/deeplabv3_257_mv_gpu.tflite"
FROZEN = "models/portrait_mnv2_dm05_os8_frozen_inference_graph.pb"
SIZE = 128
# float32 in another order of sums over as many layers as are compared
SAME_DB = 80.0


def config_of(width_divisor: int = 8) -> DeepLabConfig:
    return DeepLabConfig(
        backbone="mobilenet_v2", width=0.5, width_divisor=width_divisor, size_hw=(SIZE, SIZE),
        aspp_filters=8, decoder_filters=8, low_level_filters=8,
    )  # fmt: skip


def network(width_divisor: int, K: object) -> object:
    return build_deeplab(K, config_of(width_divisor))


NAMES = official_names(config_of())  # other widths have the same


@pytest.fixture(scope="module")
def picture() -> np.ndarray:
    data = pytest.importorskip("skimage.data")
    return data.astronaut()[None, 100 : 100 + SIZE, 150 : 150 + SIZE].astype(np.float32) / 255


def feature(model: object, K: object, layer: str, image: np.ndarray) -> np.ndarray:
    return K.Model(model.input, model.get_layer(layer).output)(image, training=False).numpy()


@pytest.mark.parametrize("width_divisor", [1, 8])
@pytest.mark.parametrize("name", [FROZEN, FLOAT])
def test_the_foreign_features_come_out_first(shared: Path, picture: np.ndarray, name: str, width_divisor: int) -> None:
    K = keras_namespace("tf_keras")
    backbone = read_foreign_backbone(shared / name)
    model = network(width_divisor, K)
    assign_weights(model, transplant(backbone, weights_of(model), NAMES))
    # stride 2 in the stem and in the depthwise of blocks 1 and 3 (layers 4 and 10)
    strides = [2 if layer in (0, 4, 10) else 1 for layer in range(12)]
    oracle = rebuild(backbone, picture * 2 - 1, strides, [1] * 12, blocks=4)
    value = feature(model, K, "block_3_project_bn", picture)
    assert value.shape[3] == 16 and value.shape[:3] == oracle.shape[:3] == (1, 16, 16)
    # even sizes pad on the right and below alone, where 0 is another colour in 0..1 than in -1..1
    inner = (slice(None), slice(0, -4), slice(0, -4))
    assert psnr_db(value[inner][..., : oracle.shape[3]], oracle[inner]) > SAME_DB
    assert psnr_db(value[..., : oracle.shape[3]], oracle) < SAME_DB  # and that border is the only difference


def test_another_epsilon_moves_into_the_variance(shared: Path) -> None:
    K = keras_namespace("tf_keras")
    fresh = weights_of(network(1, K))
    backbone = read_foreign_backbone(shared / FROZEN)
    plain = transplant(backbone, fresh, NAMES)["block_5_project_bn"]
    moved = transplant(dataclasses.replace(backbone, batch_norm_epsilon=0.01), fresh, NAMES)["block_5_project_bn"]
    np.testing.assert_allclose(moved[3] - plain[3], 0.01 - 0.001, rtol=1e-3)


def test_the_heads_keep_their_fresh_values(shared: Path) -> None:
    K = keras_namespace("tf_keras")
    model = network(8, K)
    fresh = weights_of(model)
    weights = transplant(read_foreign_backbone(shared / FROZEN), fresh, NAMES)
    assert weights.keys() == fresh.keys()
    for name, arrays in weights.items():
        assert [array.shape for array in arrays] == [array.shape for array in fresh[name]]
        if not name.startswith(("stem", "block_")):
            assert all((a == b).all() for a, b in zip(arrays, fresh[name]))


def test_a_wider_file_is_refused_with_the_layer(shared: Path) -> None:
    K = keras_namespace("tf_keras")
    config = DeepLabConfig(backbone="mobilenet_v2", width=0.35, size_hw=(64, 64), aspp_filters=8, decoder_filters=8)
    model = build_deeplab(K, config)
    with pytest.raises(ConversionError, match="does not fit layer"):
        transplant(read_foreign_backbone(shared / FROZEN), weights_of(model), official_names(config))


def test_another_backbone_is_refused(shared: Path) -> None:
    K = keras_namespace("tf_keras")
    config = DeepLabConfig(backbone="mobilenet_v3_small", size_hw=(64, 64), aspp_filters=8, decoder_filters=8)
    model = build_deeplab(K, config)
    with pytest.raises(ConversionError, match=r"weights of mobilenet_v2.*set model\.backbone to mobilenet_v2"):
        transplant(read_foreign_backbone(shared / FROZEN), weights_of(model), official_names(config))


def test_only_a_folded_backbone_leaves_batch_norms_unsettled(shared: Path) -> None:
    assert unsettled_batch_norms(read_foreign_backbone(shared / FROZEN), NAMES) == frozenset()
    unsettled = unsettled_batch_norms(read_foreign_backbone(shared / FLOAT), NAMES)
    assert unsettled == {name for name in NAMES if name.endswith("_bn") and name.startswith(("stem", "block_"))}
    assert len(unsettled) == 51
