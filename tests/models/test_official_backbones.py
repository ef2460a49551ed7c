"""MobileNets, EdgeTPU and searched backbones against the official code: names, shapes, costs, numbers, roundings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest
from small_networks import liven

from edge_deeplab.errors import UsageError
from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.mobilenet_edgetpu import build_mobilenet_edgetpu
from edge_deeplab.models.backbones.mobilenet_v2 import build_mobilenet_v2
from edge_deeplab.models.backbones.mobilenet_v3 import TABLES, build_mobilenet_v3
from edge_deeplab.models.backbones.nas import GENOTYPES, build_nas
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.counting import Count, count_traced
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.transfer import assign_weights, weights_of

PIXELS_TO_INPUT = 2 / 255  # then -1
FLOAT_ROUNDING = 1e-4  # float32 through some sixty layers, in standard deviations


def lay(blocks: Blocks, image: Feature, variant: str, **settings: Any) -> Endpoints:
    """A backbone by its official name."""
    name = variant.removesuffix("_seg")
    if name in GENOTYPES:
        return build_nas(blocks, image, variant=name, **settings)
    if name == "mobilenet_edgetpu":
        return build_mobilenet_edgetpu(blocks, image, **{"width": 1.0, **settings})
    width = settings.pop("width", 1.0)
    if name in TABLES:
        divisor = settings.pop("width_divisor", 8)
        settings = {"variant": name, "width_divisor": divisor, **settings}
        return build_mobilenet_v3(blocks, image, width=width, taps="depthwise", **settings)
    divisor = settings.pop("width_divisor", 8 if width == 1.0 else 1)
    return build_mobilenet_v2(blocks, image, width=width, width_divisor=divisor, taps="depthwise", **settings)


def counted(variant: str, size_hw: tuple[int, int], **settings: Any) -> tuple[Count, dict[str, tuple[int, ...]], Any]:
    """What a backbone costs, its official variables' shapes in creation order, and its ends; no Keras."""
    kept: dict[str, Any] = {}

    def note(K: Any) -> None:
        kept["blocks"] = Blocks(K)
        kept["ends"] = lay(kept["blocks"], Feature(K.layers.Input((*size_hw, 3))), variant, **settings)

    count = count_traced(note)
    shapes = {
        name: shape
        for layer, names in kept["blocks"].official.items()
        for name, shape in zip(names, count.shapes[layer], strict=True)
    }
    return count, shapes, kept["ends"]


def of_oracle(oracle: oracles.Oracle) -> tuple[str, dict[str, Any]]:
    """Variant and settings of the oracle's backbone."""
    flags, options = oracle.facts["flags"], oracle.facts["model_options"]
    settings: dict[str, Any] = {"output_stride": options["output_stride"]}
    if "depth_multiplier" in flags:
        settings["width"] = float(flags["depth_multiplier"])
    return flags["model_variant"], settings


def is_mine(name: str) -> bool:
    return name.startswith(("mobilenet", "nas"))


def test_variables_and_costs_are_the_official_ones(shared: Path) -> None:
    checked = [name for name in oracles.names(shared) if is_mine(name)]
    assert len(checked) == 15
    for name in checked:
        oracle = oracles.load(shared, name)
        variant, settings = of_oracle(oracle)
        _, height, width, _ = oracle.facts["input_shape"]
        count, shapes, _ = counted(variant, (height, width), **settings)
        scope = next(iter(shapes)).split("/")[0] + "/"
        expected = {variable: shape for variable, shape in oracle.shapes.items() if variable.startswith(scope)}
        assert shapes == expected, name
        trainable = sum(int(np.prod(expected[variable])) for variable in expected if variable in oracle.trainable)
        assert count.trainable == trainable, name
        if name == "mobilenet_v2_multiscale_flip":  # its list of convolutions is of six passes
            continue
        columns = oracle.facts["convs_at_crop"]["columns"]
        rows = [dict(zip(columns, row)) for row in oracle.facts["convs_at_crop"]["rows"]]
        assert count.multiply_adds == sum(row["madds"] for row in rows if row["weights"].startswith(scope)), name


@pytest.mark.parametrize(
    ("name", "keras", "has_free_size"),
    # the gate's 0.16667 shows in the first, and the tap before squeeze-and-excite
    [("mobilenet_v3_small_os32", "tf_keras", False), ("mobilenet_edgetpu_os32", "keras", True)],
)
def test_features_are_the_official_ones(shared: Path, name: str, keras: str, has_free_size: bool) -> None:
    """Two of them alone; whole networks of all oracles are compared in tests/converters."""
    oracle = oracles.load(shared, name)
    variant, settings = of_oracle(oracle)
    K = keras_namespace(keras)
    size_hw = (None, None) if has_free_size else oracle.facts["input_shape"][1:3]
    image, blocks = K.layers.Input((*size_hw, 3)), Blocks(K)
    ends = lay(blocks, Feature(image), variant, **settings)
    outputs = {"backbone_out": ends.features.tensor}
    outputs |= {f"lowlevel_os{stride}": feature.tensor for stride, feature in ends.low_level.items()}
    model = K.Model(image, outputs)
    weights = oracles.weights_for(oracle)
    for layer, variables in blocks.official.items():
        model.get_layer(layer).set_weights([weights[variable] for variable in variables])
    features = model(oracles.picture(oracle, "A") * PIXELS_TO_INPUT - 1, training=False)
    stored = set(outputs) & set(oracle.facts["arrays"])
    assert "backbone_out" in stored
    for key in stored:
        assert oracle.difference(key, features[key].numpy(), "A") <= oracles.TOLERANCE, key


def channels(ends: Endpoints) -> dict[int, int]:
    return {stride: feature.channels for stride, feature in ends.low_level.items()}


@pytest.mark.parametrize(
    ("variant", "expected"),
    [
        ("mobilenet_v2", {4: 144, 8: 192, 16: 576}),
        ("mobilenet_v3_large_seg", {4: 72, 8: 120, 16: 672}),
        ("mobilenet_v3_small_seg", {4: 16, 8: 88, 16: 144}),
        ("mobilenet_edgetpu", {16: 384}),
        ("nas_pnasnet", {4: 128, 8: 200, 16: 400}),
        ("nas_hnasnet", {4: 100, 8: 200, 16: 400}),
    ],
)
def test_decoder_reads_the_official_layers(variant: str, expected: dict[int, int]) -> None:
    """End points by their widths in the official end points: layer_4/depthwise_output and so on."""
    for output_stride in (8, 16, 32):
        _, _, ends = counted(variant, (65, 97), output_stride=output_stride)
        if (variant, output_stride) == ("nas_pnasnet", 8):
            expected = {**expected, 16: 200}  # no cell of it is above level 1
        elif variant == "nas_pnasnet":
            expected = {**expected, 16: 400}
        assert channels(ends) == expected
        heights = {stride: feature.tensor.shape[1] for stride, feature in ends.low_level.items()}
        reached = 32 if variant == "nas_hnasnet" else output_stride
        assert heights == {stride: 64 // min(stride, reached) + 1 for stride in expected}


def test_own_networks_read_the_last_linear_output_at_each_stride() -> None:
    def ends(K: Any) -> None:
        blocks = Blocks(K)
        image = Feature(K.layers.Input((64, 64, 3)))
        low_level = build_mobilenet_v2(blocks, image, width=1.0, output_stride=16, width_divisor=8).low_level
        assert {stride: feature.channels for stride, feature in low_level.items()} == {2: 16, 4: 24, 8: 32, 16: 96}
        assert blocks.momentum != 0.997  # the official one is for far longer trainings

    count_traced(ends)


def widths(shapes: dict[str, tuple[int, ...]], part: str) -> list[int]:
    return [shape[-1] for name, shape in shapes.items() if name.endswith(f"{part}/weights")]


def test_v2_widths_round_to_one_and_expansions_to_eight() -> None:
    """slim's expand_input: its factor of 6 is rounded to 8 whatever the divisor of the widths."""
    _, shapes, _ = counted("mobilenet_v2", (65, 65), width=0.35, output_stride=16)
    assert shapes["MobilenetV2/Conv/weights"][-1] == 11
    assert sorted(set(widths(shapes, "/project"))) == [6, 8, 11, 22, 34, 56, 112]
    assert sorted(set(widths(shapes, "/expand"))) == [40, 48, 64, 136, 208, 336]  # 6 * 6 = 36 -> 40, 6 * 11 = 66 -> 64


def test_v2_divisor_keeps_the_official_minimum() -> None:
    """16 * 0.35 = 5.6 rounds to no 16; slim's least count is then 1, and 10 % below 5.6 makes it 1 + 16."""
    _, shapes, _ = counted("mobilenet_v2", (65, 65), width=0.35, width_divisor=16, output_stride=16)
    assert shapes["MobilenetV2/expanded_conv/project/weights"][-1] == 17
    _, shapes, _ = counted("mobilenet_v2", (65, 65), width=1.0, width_divisor=16, output_stride=16)
    assert widths(shapes, "/project")[:3] == [16, 32, 32]


def test_v3_and_edgetpu_scale_every_width_to_multiples_of_eight() -> None:
    _, large, _ = counted("mobilenet_v3_large_seg", (65, 65), width=0.75, output_stride=16)
    assert large["MobilenetV3/Conv_1/weights"][-1] == 360
    # 24 * 0.75 = 18 -> 24: rounding down to 16 would lose more than 10 %; times 72 / 24, not 72 * 0.75
    assert large["MobilenetV3/expanded_conv_2/expand/weights"] == (1, 1, 24, 72)
    _, edgetpu, _ = counted("mobilenet_edgetpu", (65, 65), width=0.75, output_stride=16)
    assert edgetpu["MobilenetEdgeTPU/Conv_1/weights"][-1] == 960
    assert not any(width % 8 for width in (*widths(edgetpu, "/project"), *widths(large, "/project")))


def test_edgetpu_fuses_its_first_nine_blocks_and_leaves_one_shortcut_out() -> None:
    K = keras_namespace("keras")
    image = K.layers.Input((65, 65, 3))
    ends = build_mobilenet_edgetpu(Blocks(K), Feature(image), width=0.35, output_stride=8)
    model = K.Model(image, ends.features.tensor)
    names = {layer.name for layer in model.layers}
    assert [index for index in range(22) if f"block_{index}_depthwise_conv" not in names] == list(range(9))
    assert "block_0_expand_conv" not in names
    assert model.get_layer("block_5_expand_conv").strides == (2, 2)
    assert "block_14_add" in names and "block_13_add" not in names
    rates = {index: model.get_layer(f"block_{index}_depthwise_conv").dilation_rate[0] for index in range(9, 22)}
    assert rates == {9: 1, **dict.fromkeys(range(10, 18), 2), **dict.fromkeys(range(18, 22), 4)}


def test_nas_flags_change_what_the_official_ones_do() -> None:
    plain, _, ends = counted("nas_hnasnet", (129, 97), output_stride=8)
    kept, shapes, kept_ends = counted("nas_hnasnet", (129, 97), output_stride=8, remove_os32_stride=True)
    assert kept.parameters == plain.parameters
    assert kept.multiply_adds > plain.multiply_adds  # two cells at stride 16 in place of 32
    assert kept_ends.features.tensor.shape == ends.features.tensor.shape == (None, 17, 13, 200)
    _, wide, ends = counted("nas_hnasnet", (129, 97), output_stride=8, stem_filters=24)
    assert wide["hnasnet/conv2/weights"] == shapes["hnasnet/conv2/weights"] == (3, 3, 64, 128)
    assert ends.features.channels == 240
    _, _, coarse = counted("nas_pnasnet", (129, 97), output_stride=32)
    assert coarse.features.tensor.shape == (None, 5, 4, 800)
    _, _, spared = counted("nas_pnasnet", (129, 97), output_stride=32, remove_os32_stride=True)
    assert spared.features.tensor.shape == (None, 9, 7, 800)


def test_nas_computes_the_same_with_free_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """On four cells: a level up, one down, and inputs of other sizes than the cell's."""
    short = dataclasses.replace(GENOTYPES["nas_hnasnet"], levels={8: (0, 1, 2, 1)}, taps={4: 0, 8: 1, 16: 2})
    monkeypatch.setitem(GENOTYPES, "nas_hnasnet", short)
    K = keras_namespace("tf_keras")
    size_hw = (60, 46)
    models = []
    for sides in (size_hw, (None, None)):
        image = K.layers.Input((*sides, 3))
        ends = build_nas(Blocks(K), Feature(image), variant="nas_hnasnet", output_stride=8, stem_filters=8)
        models.append(K.Model(image, ends.features.tensor))
    assign_weights(models[1], weights_of(liven(models[0])))
    picture = np.random.RandomState(0).uniform(-1, 1, (1, *size_hw, 3)).astype(np.float32)
    expected = models[0](picture, training=False).numpy()
    actual = models[1](picture, training=False).numpy()
    assert actual.shape == expected.shape
    assert np.abs(actual - expected).max() < FLOAT_ROUNDING * expected.std()


def test_nas_on_even_sides_is_that_on_odd_ones_and_in_int8_form_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """From the origin; the upper left quarter of the features, which little beyond the other edges reaches."""
    operations = (("separable", 3, 1), ("max_pool", 3, 0), ("atrous", 3, 0), ("none", 1, 1))
    short = dataclasses.replace(
        GENOTYPES["nas_hnasnet"], operations=operations, levels={8: (0, 1, 2, 1)}, taps={4: 0, 8: 1, 16: 2}
    )
    monkeypatch.setitem(GENOTYPES, "nas_hnasnet", short)
    K = keras_namespace("tf_keras")
    picture = np.random.RandomState(0).uniform(-1, 1, (1, 193, 161, 3)).astype(np.float32)
    features, weights = {}, None
    for grid, form in (("corners", "training"), ("origin", "training"), ("origin", "int8")):
        sides = (193, 161) if grid == "corners" else (192, 160)
        image, blocks = K.layers.Input((*sides, 3)), Blocks(K, grid=grid, form=form)
        ends = build_nas(blocks, Feature(image), variant="nas_hnasnet", output_stride=8, stem_filters=4)
        model = K.Model(image, ends.features.tensor)
        weights = weights or weights_of(liven(model))
        assign_weights(model, {**weights, **blocks.constants})
        features[grid, form] = model(picture[:, : sides[0], : sides[1]], training=False).numpy()
    even = features["origin", "training"]
    assert even.shape[1:3] == (24, 20)
    expected = features["corners", "training"]
    assert np.abs(even - expected[:, :24, :20])[:, :12, :10].max() < FLOAT_ROUNDING * expected.std()
    assert np.abs(even - features["origin", "int8"]).max() < FLOAT_ROUNDING * expected.std()


def test_nas_takes_sides_that_are_no_multiple_of_anything() -> None:
    """One level down doubles a side to 2 n - 1, so cells of one level can differ in size: the older one follows."""
    _, _, ends = counted("nas_hnasnet", (120, 90), output_stride=8)
    assert ends.features.tensor.shape[1:3] == (13, 9)


@pytest.mark.parametrize(
    ("build", "named"),
    [
        (lambda K, x: build_nas(Blocks(K), x, variant="nas_pnas", output_stride=16), "nas_pnasnet"),
        (lambda K, x: build_nas(Blocks(K), x, variant="nas_pnasnet", output_stride=4), "8, 16, 32"),
        (lambda K, x: lay(Blocks(K), x, "mobilenet_edgetpu", output_stride=12), "8, 16, 32"),
        (
            lambda K, x: build_mobilenet_v2(
                Blocks(K), x, width=1.0, output_stride=16, width_divisor=8, taps="expansion"
            ),
            "block, depthwise",
        ),
    ],
)
def test_unknown_variants_strides_and_taps_are_refused_by_name(build: Any, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        count_traced(lambda K: build(K, Feature(K.layers.Input((65, 65, 3)))))
