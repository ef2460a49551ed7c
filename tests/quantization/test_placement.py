from __future__ import annotations

from typing import Any

import tf_keras
from small_networks import lively_deeplab

from edge_deeplab.models.keras_api import own_layers
from edge_deeplab.quantization.placement import plan_quantization
from edge_deeplab.quantization.scheme import FixedQuantizer, Switch

L = tf_keras.layers


def plan_of(model: Any) -> dict[str, Any]:
    return plan_quantization(model, Switch(), decay=0.99)


def test_a_fused_chain_is_quantized_at_its_end_alone() -> None:
    image = tf_keras.Input((8, 8, 3))
    x = L.ReLU(6.0, name="act")(L.BatchNormalization(name="bn")(L.Conv2D(4, 3, use_bias=False, name="conv")(image)))
    plan = plan_of(tf_keras.Model(image, x))
    assert [bool(plan[name].output) for name in ("conv", "bn", "act")] == [False, False, True]


def test_convolution_with_bias_and_relu_keeps_its_kernel_quantizer() -> None:
    image = tf_keras.Input((8, 8, 3))
    plan = plan_of(tf_keras.Model(image, L.ReLU(name="act")(L.Conv2D(4, 3, name="conv")(image))))
    assert plan["conv"].weight is not None
    assert plan["conv"].output is None


def test_a_relu_that_tflite_cannot_fuse_leaves_both_sides_quantized() -> None:
    image = tf_keras.Input((8, 8, 3))
    plan = plan_of(tf_keras.Model(image, L.ReLU(4.0, name="act")(L.Conv2D(4, 3, name="conv")(image))))
    assert plan["conv"].output is not None
    assert plan["act"].output is not None


def test_a_convolution_read_twice_is_quantized_itself() -> None:
    image = tf_keras.Input((8, 8, 3))
    conv = L.Conv2D(3, 1, name="conv")(image)
    plan = plan_of(tf_keras.Model(image, L.Add(name="sum")([L.ReLU(name="act")(conv), conv])))
    assert plan["conv"].output is not None


def test_concatenate_gives_its_range_to_what_feeds_it_through_a_resize() -> None:
    plan = plan_of(lively_deeplab("mobilenet_v2"))
    for name in ("image_pooling_act", "image_pooling_resize", "aspp_project_act", "decoder_resize"):
        assert plan[name].output is None, name
    assert plan["aspp_concat"].output is not None
    assert plan["decoder_concat"].output is not None


def test_an_aligned_resize_keeps_the_scale_of_what_it_reads() -> None:
    image = tf_keras.Input((8, 8, 3))
    conv = L.Conv2D(4, 1, name="conv")(image)
    plan = plan_of(tf_keras.Model(image, own_layers(tf_keras).AlignedResize(size_hw=(15, 15), name="resize")(conv)))
    assert plan["conv"].output is not None
    assert plan["resize"].output is None


def test_softmax_has_the_range_tflite_fixes() -> None:
    image = tf_keras.Input((8, 8, 3))
    plan = plan_of(tf_keras.Model(image, L.Softmax(name="soft")(L.Conv2D(4, 3, name="conv")(image))))
    assert isinstance(plan["soft"].output, FixedQuantizer)
    assert plan["soft"].output.high / 255 == 1 / 256
