"""Float .tflite files: Google's own, and those our converter makes of networks of every kind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

from edge_deeplab.converters.export import FLOAT_FORMATS, fixed_batch_function
from edge_deeplab.converters.importing.import_model import import_network
from edge_deeplab.converters.importing.layer_plan import LayerPlan, plan_layers
from edge_deeplab.converters.importing.settle import Told
from edge_deeplab.converters.importing.tflite_weights import read_tflite
from edge_deeplab.converters.official import to_layers
from edge_deeplab.errors import ConversionError, ModelError
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official import build_official
from edge_deeplab.models.official_config import CELLS, OfficialConfig
from edge_deeplab.models.transfer import assign_weights

GOOGLE = "models/deeplabv3_257_mv_gpu.tflite"
QUANTIZED = "models/deeplabv3_mnv2_dm05_pascal_quant.tflite"
IMAGENET = "models/tf2_mobilenet_v2_1.0_224_ptq.tflite"

# One of each head and decoder, on the backbone that is quickest to convert.
NETWORKS = {
    "aspp and decoder": OfficialConfig(
        model_variant="resnet_v1_18_beta", crop_size=(65, 97), atrous_rates=(6, 12, 18), decoder_output_stride=(4,),
        multi_grid=(1, 2),
    ),
    "plain root, full convolutions": OfficialConfig(
        model_variant="resnet_v1_18", crop_size=(65, 97), output_stride=8, atrous_rates=(12, 24),
        aspp_with_separable_conv=False, decoder_output_stride=(8, 4), decoder_use_separable_conv=False,
    ),
    "summed logits": OfficialConfig(
        model_variant="resnet_v1_18", crop_size=(65, 97), output_stride=8, atrous_rates=(6, 12, 18, 24),
        logits_kernel_size=3, aspp_with_batch_norm=False, add_image_level_feature=False,
    ),
    "dense prediction cell": OfficialConfig(
        model_variant="resnet_v1_18_beta", crop_size=(65, 97), decoder_output_stride=(4,),
        dense_prediction_cell=next(iter(CELLS.values())),
    ),
    "squeeze and excite": OfficialConfig(
        model_variant="mobilenet_v3_small_seg", num_classes=5, crop_size=(97, 129), output_stride=32,
        image_pooling_crop_size=(65, 65), image_pooling_stride=(1, 2), aspp_convs_filters=128,
        aspp_with_concat_projection=False, aspp_with_squeeze_and_excitation=True, image_se_uses_qsigmoid=True,
        decoder_use_sum_merge=True, decoder_filters=5, decoder_output_is_logits=True, decoder_output_stride=(8,),
    ),
}  # fmt: skip


def write_tflite(path: Path, config: OfficialConfig, *, format_name: str = "float32") -> dict[str, np.ndarray]:
    """Our network of a config, as a file that says nothing of itself. Returns: its kernels, batch norm folded in."""
    model = build_official(keras_namespace("tf_keras"), config)
    plan = plan_layers(config)
    weights = {name: oracles.variable(name, shape, 1.5) for name, shape in plan.shapes.items()}
    assign_weights(model, to_layers(plan.official, weights))
    assert config.crop_size is not None
    function = fixed_batch_function(lambda image: model(image, training=False), config.crop_size)
    path.write_bytes(FLOAT_FORMATS[format_name](function))
    return {name: folded(name, weights, plan) for name in plan.convolutions}


def folded(name: str, weights: dict[str, np.ndarray], plan: LayerPlan) -> np.ndarray:
    """What a converter makes of a kernel."""
    scope = name.rpartition("/")[0]
    if scope not in plan.epsilons:
        return weights[name]
    gamma, variance = (weights[f"{scope}/BatchNorm/{part}"] for part in ("gamma", "moving_variance"))
    factor = gamma / np.sqrt(variance + plan.epsilons[scope])
    return weights[name] * (factor[:, np.newaxis] if name.endswith("depthwise_weights") else factor)


def noise(size_hw: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (1, *size_hw, 3)).astype(np.float32)


def test_googles_file_is_found_and_agrees(shared: Path) -> None:
    network = import_network(shared / GOOGLE, told=Told())
    assert network.config == OfficialConfig(depth_multiplier=0.5, output_stride=8, crop_size=(257, 257))
    proof = network.prove(noise((257, 257)))
    assert proof is not None
    assert proof.holds
    assert proof.largest < 5e-4  # logits reach 20; XNNPACK sums in another order: measured 5e-5


@pytest.mark.parametrize("kind", NETWORKS)
def test_every_kind_of_head_is_found_by_who_reads_whom(tmp_path: Path, kind: str) -> None:
    config = NETWORKS[kind]
    kernels = write_tflite(tmp_path / "net.tflite", config)
    network = import_network(tmp_path / "net.tflite", told=Told())
    assert network.config == config
    for name, kernel in kernels.items():  # many have the same shape: none may stand in another's place
        np.testing.assert_allclose(network.reading.variables[name], kernel, rtol=1e-5, atol=1e-6, err_msg=name)
    if kind == "squeeze and excite":  # its biases hold a part of the hard sigmoid
        assert config.crop_size is not None
        proof = network.prove(noise(config.crop_size))
        assert proof is not None
        assert proof.holds


def test_half_precision_weights_are_read(tmp_path: Path) -> None:
    config = NETWORKS["summed logits"]
    kernels = write_tflite(tmp_path / "half.tflite", config, format_name="float16")
    reading = read_tflite(tmp_path / "half.tflite")
    for name, kernel in kernels.items():
        assert reading.variables[name].dtype == np.float32
        np.testing.assert_allclose(reading.variables[name], kernel, rtol=1e-3, atol=1e-6, err_msg=name)


def test_a_quantized_file_is_refused_by_layer(shared: Path) -> None:
    with pytest.raises(ConversionError, match="is quantized, and rounding cannot be taken back; came uint8 weights in"):
        read_tflite(shared / QUANTIZED)


def test_another_network_is_refused_by_convolution(tmp_path: Path) -> None:
    write_keras(tmp_path / "other.tflite")
    with pytest.raises(
        ConversionError, match=r"follow no backbone of the official code; came .* with a first kernel \(5, 5, 3, 4\)"
    ):
        read_tflite(tmp_path / "other.tflite")


def write_keras(path: Path) -> None:
    K = keras_namespace("tf_keras")
    image = K.layers.Input((32, 32, 3))
    x = K.layers.Conv2D(4, 5, padding="same", activation="relu")(image)
    model: Any = K.Model(image, K.layers.Conv2D(2, 1)(x))
    path.write_bytes(FLOAT_FORMATS["float32"](fixed_batch_function(lambda x: model(x, training=False), (32, 32))))


@pytest.mark.parametrize("share", [0.5, 0.98])
def test_a_file_cut_short_is_refused(shared: Path, tmp_path: Path, share: float) -> None:
    data = (shared / GOOGLE).read_bytes()
    (tmp_path / "cut.tflite").write_bytes(data[: int(len(data) * share)])
    with pytest.raises(ModelError):
        import_network(tmp_path / "cut.tflite", told=Told())
    assert [file.name for file in tmp_path.iterdir()] == ["cut.tflite"]
