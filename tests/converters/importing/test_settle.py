"""Which network a set of names is, held to all that the official code ever built here: the oracles' own tables."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import oracles
import pytest

from edge_deeplab.converters.importing.readings import BATCH_NORM, Convolution, Layout, Reading, scope_of
from edge_deeplab.converters.importing.settle import ASSUMED, Told, settle
from edge_deeplab.errors import ConversionError, ModelError, UsageError
from edge_deeplab.models.official import variables_of
from edge_deeplab.models.official_config import OfficialConfig

# free sizes leave names and graph with nothing to say of a crop
VARIANTS = sorted({*oracles.VARIANTS, oracles.MULTI_SCALE} - {"mobilenet_v2_nocrop_os16"})
# What names cannot say; everything else must come out right without a graph.
GRAPH_ONLY = {
    "output_stride", "atrous_rates", "multi_grid", "use_bounded_activation", "image_pooling_crop_size",
    "image_pooling_stride",
}  # fmt: skip
RELUS = {"Relu": "relu", "Relu6": "relu6"}


@dataclass(frozen=True, kw_only=True)
class Shaped(Reading):
    """A reading of shapes alone."""

    only: dict[str, tuple[int, ...]]

    @property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        return self.only


def reading_of(oracle: oracles.Oracle, *, layout: Layout | None = None, **changes: tuple[int, ...]) -> Shaped:
    shapes = {**oracle.shapes, **changes}
    variables = {name: np.empty(0, np.float32) for name in shapes}
    return Shaped(source=oracle.name, kind="test", variables=variables, layout=layout, only=shapes)


def layout_of(oracle: oracles.Oracle) -> Layout:
    """What the official graph of an oracle says, from the oracle's table of its convolutions."""
    convolutions: dict[str, Convolution] = {}
    for name, _, _, _, _, stride, rate, _, out_hw, *_, following in oracle.facts["convs_at_crop"]["rows"]:
        convolutions.setdefault(name, Convolution(
            stride_hw=tuple(stride), rate_hw=tuple(rate), out_hw=tuple(out_hw),
            activation=RELUS.get(following[0]) if following else None,
        ))  # fmt: skip
    config = oracle.config
    pooled = config.image_pooling_crop_size
    window = None if pooled is None else tuple((side - 1) // config.output_stride + 1 for side in pooled)
    return Layout(
        convolutions=convolutions, crop_hw=config.crop_size, pooling_hw=window,  # type: ignore[arg-type]
        pooling_stride_hw=config.image_pooling_stride, gate="hard_sigmoid" if config.image_se_uses_qsigmoid else None,
    )  # fmt: skip


def differing(found: OfficialConfig, wanted: OfficialConfig) -> dict[str, tuple[Any, Any]]:
    ours, theirs = found.to_dict(), wanted.to_dict()
    # a pooling crop that is the crop is the same network
    for fields in (ours, theirs):
        if fields["image_pooling_crop_size"] == fields["crop_size"]:
            fields["image_pooling_crop_size"] = None
    return {key: (ours[key], theirs[key]) for key in ours if ours[key] != theirs[key]}


@pytest.mark.parametrize("name", VARIANTS)
def test_names_and_graph_give_the_whole_network(shared: Path, name: str) -> None:
    oracle = oracles.load(shared, name)
    settled = settle(reading_of(oracle, layout=layout_of(oracle)), Told())
    assert differing(settled.config, oracle.config) == {}
    assert [finding.what for finding in settled.assumed] == []


@pytest.mark.parametrize("name", VARIANTS)
def test_names_alone_give_all_but_what_no_name_says(shared: Path, name: str) -> None:
    oracle = oracles.load(shared, name)
    wanted = oracle.config
    settled = settle(reading_of(oracle), Told(crop_hw=wanted.crop_size))
    assert set(differing(settled.config, wanted)) <= GRAPH_ONLY
    assert variables_of(settled.config) == oracle.shapes


@pytest.mark.parametrize("name", ["resnet_v1_101_os16", "nas_hnasnet_os8", "mobilenet_v2_dm05_os8",
                                  "xception_65_os16_bounded"])  # fmt: skip
def test_what_is_told_completes_the_names(shared: Path, name: str) -> None:
    oracle = oracles.load(shared, name)
    wanted = oracle.config
    told = Told(
        crop_hw=wanted.crop_size, output_stride=wanted.output_stride, atrous_rates=wanted.atrous_rates or None,
        multi_grid=wanted.multi_grid or ((1, 1, 1) if "xception" in name else None),
        bounded_activation=wanted.use_bounded_activation or None,
    )  # fmt: skip
    settled = settle(reading_of(oracle), told)
    assert differing(settled.config, wanted) == {}
    assert all(finding.how != ASSUMED for finding in settled.findings)


@pytest.mark.parametrize("name", ["mobilenet_v2_aspp_dec4_os16", "mobilenet_v3_small_os32", "xception_71_dpc_os16",
                                  "mobilenet_v3_large_plainaspp_os16"])  # fmt: skip
def test_folded_batch_norm_changes_nothing(shared: Path, name: str) -> None:
    oracle = oracles.load(shared, name)
    folded = {key: shape for key, shape in oracle.shapes.items() if key.rpartition("/")[2] not in BATCH_NORM}
    folded |= {f"{scope_of(key)}/biases": shape for key, shape in oracle.shapes.items() if key.endswith("/gamma")}
    variables = {key: np.empty(0, np.float32) for key in folded}
    reading = Shaped(source=name, kind="test", variables=variables, layout=layout_of(oracle), only=folded)
    assert differing(settle(reading, Told()).config, oracle.config) == {}


@pytest.mark.parametrize(
    ("width", "divisor"), [(0.35, None), (0.35, 8), (0.75, None), (1.0, None), (1.4, None), (1.4, 8)]
)
def test_mobilenet_v2_of_any_width(width: float, divisor: int | None) -> None:
    config = OfficialConfig(depth_multiplier=width, divisible_by=divisor, num_classes=3)
    shapes = variables_of(config)
    reading = Shaped(source="made", kind="test", variables=dict.fromkeys(shapes, np.empty(0)), only=shapes)
    found = settle(reading, Told()).config
    assert variables_of(found) == shapes
    assert found.depth_multiplier == width


@pytest.mark.parametrize("stride", [8, 16, 32])
def test_decoder_stages_and_sum_merge(stride: int) -> None:
    config = OfficialConfig(
        model_variant="xception_41", decoder_output_stride=(8, 4), decoder_use_sum_merge=True, decoder_filters=64,
        output_stride=stride, atrous_rates=(6, 12), aspp_with_separable_conv=False,
    )  # fmt: skip
    shapes = variables_of(config)
    reading = Shaped(source="made", kind="test", variables=dict.fromkeys(shapes, np.empty(0)), only=shapes)
    found = settle(reading, Told(output_stride=stride, crop_hw=(65, 65), atrous_rates=(6, 12))).config
    assert found == config.replace(crop_size=(65, 65))


def test_refusals_name_what_does_not_fit(shared: Path) -> None:
    oracle = oracles.load(shared, "mobilenet_v2_dm05_os16")
    plain = reading_of(oracle)
    layout = layout_of(oracle)
    cases: list[tuple[Reading, Told, type[Exception], str]] = [
        (plain, Told(atrous_rates=(6, 12, 18)), UsageError, "no atrous branches"),
        (plain, Told(multi_grid=(1, 2, 4)), UsageError, "this backbone has none"),
        (reading_of(oracle, layout=layout), Told(bounded_activation=True), UsageError, "the graph has ReLU"),
        (plain, Told(dense_prediction_cell="cell.json"), UsageError, "the file has none"),
        (plain, Told(variant="mobilenet_v9"), UsageError, "did you mean"),
        (plain, Told(variant="mobilenet_v3_small_seg"), ModelError, "backbone"),
        (reading_of(oracle, layout=layout), Told(output_stride=8), UsageError, "the graph of"),
        (reading_of(oracle, layout=layout), Told(crop_hw=(65, 65)), UsageError, "allowed: 321, 289"),
    ]
    for reading, told, kind, said in cases:
        with pytest.raises(kind, match=said):
            settle(reading, told)


def test_a_graph_of_no_output_stride_is_refused_by_kernel(shared: Path) -> None:
    oracle = oracles.load(shared, "mobilenet_v2_dm05_os16")
    layout = layout_of(oracle)
    name = "MobilenetV2/expanded_conv_3/depthwise/depthwise_weights"
    moved = {**layout.convolutions, name: Convolution(stride_hw=(1, 1))}
    with pytest.raises(ConversionError, match=f"{name} has stride 1"):
        settle(reading_of(oracle, layout=Layout(convolutions=moved, crop_hw=layout.crop_hw)), Told())


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ({"InceptionV3/Conv2d_1a_3x3/weights": (3, 3, 3, 32)}, "Inception v3"),
        ({"resnet_v2_50/conv1/weights": (7, 7, 3, 64)}, "ResNet v2"),
        ({"dense/kernel": (10, 2)}, "variables in dense"),
        ({}, "no variables"),
    ],
)
def test_other_architectures_are_called_by_name(names: dict[str, tuple[int, ...]], said: str) -> None:
    reading = Shaped(source="x", kind="test", variables=dict.fromkeys(names, np.empty(0)), only=names)
    with pytest.raises(ModelError, match=said):
        settle(reading, Told())


def test_an_imagenet_classifier_is_called_one(shared: Path) -> None:
    oracle = oracles.load(shared, "resnet_v1_50_os16")
    shapes = {name: shape for name, shape in oracle.shapes.items() if name.startswith("resnet_v1_50/")}
    shapes["resnet_v1_50/logits/weights"] = (1, 1, 2048, 1000)
    reading = Shaped(source="x", kind="test", variables=dict.fromkeys(shapes, np.empty(0)), only=shapes)
    with pytest.raises(ModelError, match="a classifier, resnet_v1_50/logits/weights"):
        settle(reading, Told())
