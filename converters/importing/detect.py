"""Which network of the official code a set of variables belongs to, by their names and shapes alone.

found = detect(reading.shapes, source="model.ckpt", is_folded=False)
found.fields["model_variant"], found.fields["num_classes"]

What names cannot say (output stride, rates, crop) is for settle.py.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from edge_deeplab.converters.importing.layer_plan import plan_layers
from edge_deeplab.converters.importing.readings import is_kernel
from edge_deeplab.errors import ModelError, UsageError, nearest
from edge_deeplab.models.backbones.endpoints import OFFICIAL_LOW_LEVEL_STRIDES
from edge_deeplab.models.blocks import make_divisible
from edge_deeplab.models.official_config import CELLS, VARIANTS, OfficialConfig

Shapes = Mapping[str, tuple[int, ...]]

MOBILENET_V2_LAST = 320  # channels of expanded_conv_16 at width 1
MOBILENET_V2_SOME = {"Conv": 32, "expanded_conv_1/project": 24, "expanded_conv_10/project": 96}
EDGETPU_LAST = 1280  # of Conv_1
OUTPUT_STRIDES = (16, 8, 32)  # in the order they are common in
BACKBONE_FIELDS = ("model_variant", "depth_multiplier", "divisible_by", "nas_stem_output_num_conv_filters")
PROJECTED = 48  # channels that a concatenating decoder makes of the low-level feature
# Scopes of other networks in slim, named in the error that refuses them.
OTHERS = {
    "MobilenetV1": "MobileNet v1", "InceptionV1": "Inception v1", "InceptionV2": "Inception v2",
    "InceptionV3": "Inception v3", "InceptionV4": "Inception v4", "InceptionResnetV2": "Inception-ResNet v2",
    "vgg_16": "VGG 16", "vgg_19": "VGG 19", "resnet_v2_50": "ResNet v2", "resnet_v2_101": "ResNet v2",
    "resnet_v2_152": "ResNet v2", "resnet_v1_152": "ResNet v1 152", "alexnet_v2": "AlexNet", "FeatureExtractor":
    "an object detector", "BoxPredictor_0": "an object detector", "xception_module": "Xception", "cell_stem_0":
    "NASNet", "squeezenet": "SqueezeNet",
}  # fmt: skip
CLASSIFIER_ENDS = ("/Logits/", "/logits/", "/AuxLogits/", "/predictions/")


@dataclass(frozen=True)
class Detected:
    """What names and shapes say.

    Attributes:
        fields: of OfficialConfig, those that are sure.
        atrous_branches: how many rates are still to be found.
        backbone: its official scope, e.g. "MobilenetV2".
        stages: in-channels of the decoder's low-level projections, in their order.
        is_cell: whether a dense prediction cell stands in the ASPP's place; fields has the published one where it may
            be that.
    """

    fields: Mapping[str, Any]
    atrous_branches: int
    backbone: str
    stages: tuple[int, ...]
    is_cell: bool = False


def detect(shapes: Shapes, *, source: str, is_folded: bool = False, variant: str | None = None) -> Detected:
    """Reads variant, width, classes, head and decoder out of names and shapes.

    Args:
        shapes: official name -> shape; other names do no harm here.
        is_folded: batch norm is inside weights and "biases".
        variant: overrules what the backbone's scope says.
    Raises: ModelError naming the first thing that is of no DeepLab.
    """
    scope, found = _backbone(shapes, source)
    if variant is not None and variant not in VARIANTS:
        raise UsageError("--variant", came=variant, allowed=nearest(variant, VARIANTS))
    fields: dict[str, Any] = {"model_variant": variant or found}
    fields |= _width(shapes, scope, fields["model_variant"], source)
    _refuse_classifier(shapes, source)
    is_cell = "meta_architecture/concat_projection/weights" in shapes
    if is_cell:
        branches = 0
        fields |= _cell(shapes)
    elif "aspp0/weights" in shapes:
        branches, aspp = _aspp(shapes, is_folded)
        fields |= aspp
    else:
        branches = _branch_logits(shapes)
        fields |= {"aspp_with_batch_norm": False, "add_image_level_feature": False}
    stages, decoder = _decoder(shapes, source)
    fields |= decoder
    fields |= _logits(shapes, decoder, source)
    return Detected(fields, branches, scope, stages, is_cell)


def settle_strides(detected: Detected, shapes: Shapes, *, source: str) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """What the shapes say of strides: those that the output may have, and the decoder's.

    Returns: output strides at which the backbone's shapes fit, commonest first, and decoder_output_stride.
    Raises: ModelError naming the first variable of the backbone that fits none, or the low-level feature of no stride.
    """
    kernels = {name: shape for name, shape in shapes.items() if is_kernel(name)}
    backbone = {name: shape for name, shape in kernels.items() if name.startswith(f"{detected.backbone}/")}
    fields = {key: value for key, value in detected.fields.items() if key in BACKBONE_FIELDS}
    fitting, first_misfit = [], ""
    for stride in OUTPUT_STRIDES:
        wanted = _planned(OfficialConfig(**fields, output_stride=stride), detected.backbone)
        misfit = first_difference(wanted, backbone)
        if misfit is None:
            fitting.append(stride)
        first_misfit = first_misfit or misfit or ""
    if not fitting:
        raise ModelError(f"{source}: its backbone is no {fields['model_variant']} of the official code",
                         came=first_misfit, next_step="--variant names another one")  # fmt: skip
    return tuple(fitting), tuple(
        _low_level_stride(channels, fields, fitting[0], source) for channels in detected.stages
    )


def first_difference(wanted: Shapes, given: Shapes) -> str | None:
    """The first thing that differs, in the network's order; None where nothing does."""
    for name, shape in wanted.items():
        if name not in given:
            return f"no {name}"
        if tuple(given[name]) != tuple(shape):
            return f"{name} {tuple(given[name])} for {tuple(shape)}"
    extra = next((name for name in given if name not in wanted), None)
    return None if extra is None else f"{extra} besides"


def _planned(config: OfficialConfig, scope: str) -> dict[str, tuple[int, ...]]:
    shapes = plan_layers(config).shapes
    return {name: shape for name, shape in shapes.items() if is_kernel(name) and name.startswith(f"{scope}/")}


def _backbone(shapes: Shapes, source: str) -> tuple[str, str]:
    """The backbone's scope and the variant it stands for."""
    scopes = list(dict.fromkeys(name.split("/")[0] for name in shapes))
    for scope in scopes:
        inside = {name for name in shapes if name.startswith(f"{scope}/")}
        if scope == "MobilenetV2":
            return scope, "mobilenet_v2"
        if scope == "MobilenetEdgeTPU":
            return scope, "mobilenet_edgetpu"
        if scope == "MobilenetV3":
            is_large = any(name.startswith("MobilenetV3/expanded_conv_11/") for name in inside)
            return scope, f"mobilenet_v3_{'large' if is_large else 'small'}_seg"
        if scope.startswith("xception_"):
            units = len({found[0] for name in inside if (found := re.search(r"/middle_flow/block1/unit_\d+/", name))})
            is_long = any("/entry_flow/block5/" in name for name in inside)
            return scope, f"xception_{71 if is_long else 41 if units == 8 else 65}"
        if scope in ("resnet_v1_18", "resnet_v1_50", "resnet_v1_101"):
            return scope, f"{scope}_beta" if f"{scope}/conv1_1/weights" in inside else scope
        if scope in ("pnasnet", "hnasnet"):
            return scope, f"nas_{scope}"
    known = next((OTHERS[scope] for scope in scopes if scope in OTHERS), None)
    raise ModelError(
        f"{source}: of no backbone of the official DeepLab code",
        came=known or (f"variables in {', '.join(scopes[:4])}" if scopes else "no variables"),
        allowed="MobilenetV2, MobilenetV3, MobilenetEdgeTPU, xception_41/65/71, resnet_v1_18/50/101, pnasnet, hnasnet",
    )


def _width(shapes: Shapes, scope: str, variant: str, source: str) -> dict[str, Any]:
    """The depth multiplier and what channels were rounded to, of the networks that have them."""

    def channels(name: str) -> int:
        if f"{scope}/{name}/weights" not in shapes:
            raise ModelError(f"{source}: no {scope}/{name}/weights", came=f"{len(shapes)} variables",
                             allowed=f"all of {variant}")  # fmt: skip
        return int(shapes[f"{scope}/{name}/weights"][-1])

    if variant == "mobilenet_edgetpu":
        return {"depth_multiplier": round(channels("Conv_1") / EDGETPU_LAST, 4)}
    if variant == "nas_pnasnet":  # its first cell is at twice the base filters
        return {"nas_stem_output_num_conv_filters": channels("cell_0/1x1") // 2}
    if variant == "nas_hnasnet":
        return {"nas_stem_output_num_conv_filters": channels("cell_0/1x1")}
    if variant != "mobilenet_v2":
        return {}
    width = round(channels("expanded_conv_16/project") / MOBILENET_V2_LAST, 2)  # the widest layer is rounded least
    usual = 8 if width == 1.0 else 1
    fits = all(make_divisible(base * width, usual) == channels(name) for name, base in MOBILENET_V2_SOME.items())
    return {"depth_multiplier": width} if fits else {"depth_multiplier": width, "divisible_by": 9 - usual}


def _refuse_classifier(shapes: Shapes, source: str) -> None:
    has_head = any(name.startswith(("aspp0/", "logits/", "decoder/", "meta_architecture/")) for name in shapes)
    if has_head:
        return
    ends = [name for name in shapes if any(end in name for end in CLASSIFIER_ENDS)]
    raise ModelError(
        f"{source}: has a backbone and no DeepLab head",
        came=f"a classifier, {ends[0]}" if ends else "neither aspp0 nor logits/semantic",
        next_step="train from it: its backbone can be a recipe's [start]",
    )


def _aspp(shapes: Shapes, is_folded: bool) -> tuple[int, dict[str, Any]]:
    count = _count(shapes, lambda i: (f"aspp{i + 1}_depthwise/depthwise_weights", f"aspp{i + 1}/weights"))
    filters = int(shapes["aspp0/weights"][-1])
    pools = "image_pooling/weights" in shapes
    projects = "concat_projection/weights" in shapes
    excites = pools and not projects and (
        _reads(shapes) == filters * (1 + count) if is_folded else "image_pooling/BatchNorm/gamma" not in shapes
    )  # fmt: skip
    fields: dict[str, Any] = {
        "aspp_convs_filters": filters, "add_image_level_feature": pools, "aspp_with_concat_projection": projects,
        "aspp_with_squeeze_and_excitation": excites,
    }  # fmt: skip
    if count:
        fields["aspp_with_separable_conv"] = "aspp1_depthwise/depthwise_weights" in shapes
    return count, fields


def _reads(shapes: Shapes) -> int:
    """Channels of what decoder or logits take from the ASPP."""
    for name, projected in (
        ("decoder/decoder_conv0_depthwise/depthwise_weights", PROJECTED),
        ("decoder/decoder_conv0/decoder_conv0_1/weights", PROJECTED),
        ("decoder/decoder_split_sep_conv0_depthwise/depthwise_weights", 0),
        ("decoder/decoder_conv0/weights", 0),
        ("logits/semantic/weights", 0),
    ):
        if name in shapes:
            return int(shapes[name][2]) - projected
    return 0


def _cell(shapes: Shapes) -> dict[str, Any]:
    """The published cell, where the branches are its; its rates are not in the shapes."""
    count = _count(shapes, lambda i: (f"meta_architecture/branch{i}_depthwise/depthwise_weights",
                                      f"meta_architecture/branch{i}/weights"))  # fmt: skip
    separable = _count(shapes, lambda i: (f"meta_architecture/branch{i}_depthwise/depthwise_weights",))
    for cell in CELLS.values():
        if len(cell) == count == separable:
            return {"dense_prediction_cell": cell}
    return {}


def _branch_logits(shapes: Shapes) -> int:
    count = _count(shapes, lambda i: (f"logits/semantic{f'_{i}' if i else ''}/weights",))
    is_plain = count == 1 and shapes["logits/semantic/weights"][0] == 1
    return 0 if is_plain else count


def _decoder(shapes: Shapes, source: str) -> tuple[tuple[int, ...], dict[str, Any]]:
    """In-channels of each stage's low-level feature, and the decoder's settings."""
    stages: list[int] = []
    while (name := f"decoder/feature_projection0{f'_{len(stages)}' if stages else ''}/weights") in shapes:
        stages.append(int(shapes[name][2]))
    if not stages:
        return (), {}
    kinds: Iterable[tuple[str, dict[str, Any]]] = (
        ("decoder_conv0_pointwise/weights", {"decoder_use_separable_conv": True}),
        ("decoder_conv0/decoder_conv0_1/weights", {"decoder_use_separable_conv": False}),
        ("decoder_split_sep_conv0_pointwise/weights",
         {"decoder_use_separable_conv": True, "decoder_use_sum_merge": True}),
        ("decoder_conv0/weights", {"decoder_use_separable_conv": False, "decoder_use_sum_merge": True}),
    )  # fmt: skip
    for name, fields in kinds:
        if f"decoder/{name}" in shapes:
            is_logits = "logits/semantic/weights" not in shapes
            filters = int(shapes[f"decoder/{name}"][-1])
            if is_logits:  # a 1x1, whatever the flag says
                fields = {key: value for key, value in fields.items() if key != "decoder_use_separable_conv"}
            return tuple(stages), {**fields, "decoder_filters": filters, "decoder_output_is_logits": is_logits}
    raise ModelError(f"{source}: its decoder has no convolutions", came="decoder/feature_projection0 alone",
                     allowed=", ".join(f"decoder/{name}" for name, _ in kinds))  # fmt: skip


def _logits(shapes: Shapes, decoder: Mapping[str, Any], source: str) -> dict[str, Any]:
    if "logits/semantic/weights" in shapes:
        kernel, _, _, classes = shapes["logits/semantic/weights"]
        return {"num_classes": int(classes), "logits_kernel_size": int(kernel)}
    if decoder.get("decoder_output_is_logits"):
        return {"num_classes": decoder["decoder_filters"]}
    raise ModelError(f"{source}: has no logits", came="neither logits/semantic/weights nor a decoder that ends in them")


def _low_level_stride(channels: int, fields: Mapping[str, Any], output_stride: int, source: str) -> int:
    """The decoder stride whose low-level feature has so many channels."""
    seen = {}
    for stride in OFFICIAL_LOW_LEVEL_STRIDES:
        try:
            config = OfficialConfig(**fields, output_stride=output_stride, decoder_output_stride=(stride,))
            seen[stride] = plan_layers(config).shapes["decoder/feature_projection0/weights"][2]
        except UsageError:  # a backbone without a feature at this stride
            continue
    for stride, own in seen.items():
        if own == channels:
            return stride
    raise ModelError(
        f"{source}: decoder/feature_projection0/weights reads no low-level feature of {fields['model_variant']}",
        came=f"{channels} channels", allowed=", ".join(f"{own} at stride {stride}" for stride, own in seen.items()),
    )  # fmt: skip


def _count(shapes: Shapes, names: Callable[[int], Iterable[str]]) -> int:
    """How many indices in a row, from 0, have one of their names."""
    count = 0
    while any(name in shapes for name in names(count)):
        count += 1
    return count
