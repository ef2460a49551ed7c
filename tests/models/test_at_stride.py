"""A trained network at another output stride: the same function at more places, as the atrous law says."""

from __future__ import annotations

import numpy as np
import pytest

from edge_deeplab.errors import UsageError
from edge_deeplab.models.architecture import Architecture, at_stride, build
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.official_config import OfficialConfig
from edge_deeplab.models.transfer import copy_weights
from tests.small_networks import liven, small_config

SIDE = 65  # k * 16 + 1: maps of odd sides, on which strided and atrous kernels have the same centres
OURS = small_config(size_hw=(SIDE, SIDE), align_corners=True)
OFFICIAL = OfficialConfig(
    model_variant="resnet_v1_18", num_classes=3, crop_size=(SIDE, SIDE), atrous_rates=(1, 2, 3), aspp_convs_filters=16,
    decoder_filters=16, decoder_output_stride=(4,),
)  # fmt: skip
# The ends of all that comes before the pyramid's image pooling, whose mean is over more places at a smaller stride.
BRANCHES = ("aspp_0_act", "aspp_1_pointwise_act", "aspp_2_pointwise_act", "aspp_3_pointwise_act")
FLOAT_ROUNDING = 1e-4  # in standard deviations: sums in another order


@pytest.mark.parametrize("config", [OURS, OFFICIAL], ids=["ours", "official"])
def test_stride_8_subsampled_is_stride_16_through_backbone_and_atrous_branches(config: Architecture) -> None:
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    coarse, dense = liven(build(K, config)), build(K, at_stride(config, 8))
    copy_weights(coarse, dense)
    picture = np.random.default_rng(0).uniform(0, 1, (1, SIDE, SIDE, 3)).astype(np.float32)
    expected, made = (
        K.Model(model.input, [model.get_layer(name).output for name in BRANCHES])(picture, training=False)
        for model in (coarse, dense)
    )
    for name, few, many in zip(BRANCHES, map(np.asarray, expected), map(np.asarray, made), strict=True):
        assert many.shape[1] == 2 * few.shape[1] - 1
        assert few.std() > 0, name
        assert np.abs(many[:, ::2, ::2] - few).max() < FLOAT_ROUNDING * few.std(), name


def test_there_and_back_is_the_same_network() -> None:
    for config in (OURS, OFFICIAL):
        assert at_stride(at_stride(config, 8), 16) == config
        assert at_stride(config, 16) == config


def test_rates_that_would_be_broken_are_refused() -> None:
    with pytest.raises(UsageError, match=r"rates \(1, 2, 3\) of stride 16 do not divide; came 32"):
        at_stride(OURS, 32)
    with pytest.raises(UsageError, match="output_stride"):
        at_stride(OURS, 4)
