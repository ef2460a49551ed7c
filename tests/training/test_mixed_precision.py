"""Mixed precision stays where it was asked for."""

import numpy as np
import pytest
from small_networks import small_config

from edge_deeplab.models.deeplab import build_deeplab
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.training.precision import compute_in


@pytest.fixture(scope="module")
def networks():
    """The same network in float32 and in bfloat16, and pictures."""
    K = keras_namespace("keras")
    made = []
    for precision in ("float32", "bfloat16"):
        K.utils.set_random_seed(0)
        made.append(build_deeplab(K, small_config("mobilenet_v3_small", size_hw=(32, 32))))
        compute_in(made[-1], precision)
    return K, *made


def test_products_are_bfloat16_and_weights_and_logits_float32(networks):
    K, _, mixed = networks
    kinds = {layer.name: layer.compute_dtype for layer in mixed.layers}
    assert kinds["logits"] == kinds["logits_resize"] == "float32"
    assert {kind for name, kind in kinds.items() if not name.startswith(("image", "logits"))} == {"bfloat16"}
    assert {variable.dtype for variable in mixed.variables} == {"float32"}
    assert K.mixed_precision.global_policy().name == "float32"


def test_the_answer_is_that_of_float32_to_the_digits_bfloat16_has(networks):
    _, full, mixed = networks
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    expected, found = (np.asarray(one(images, training=True)) for one in (full, mixed))
    assert found.dtype == np.float32
    difference = np.abs(found - expected).mean() / expected.std()
    assert 1e-5 < difference < 0.1  # 8 bits through 60 layers; not 0: it did compute in bfloat16
