"""The official DeepLab code's own settings, under its own names (tensorflow/models, research/deeplab/common.py).

Needs no Keras. Every architecture of that code is one OfficialConfig; models/official.py builds it.

    config = OfficialConfig.from_flags(
        {"model_variant": "xception_65", "decoder_output_stride": [4]},
        {"num_classes": 21, "atrous_rates": [6, 12, 18], "output_stride": 16, "crop_size": [513, 513]},
    )
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.models.backbones.strides import OUTPUT_STRIDES

FAMILY = "official"
VARIANTS = (
    "mobilenet_v2", "mobilenet_v3_large_seg", "mobilenet_v3_small_seg", "mobilenet_edgetpu",
    "xception_41", "xception_65", "xception_71",
    "resnet_v1_18", "resnet_v1_18_beta", "resnet_v1_50", "resnet_v1_50_beta", "resnet_v1_101", "resnet_v1_101_beta",
    "nas_pnasnet", "nas_hnasnet",
)  # fmt: skip
# Another name of the same variant, in some states of the official code.
ALIASES = {"mobilenet_edge_tpu": "mobilenet_edgetpu"}
# resnets without _beta are fed (pixel - mean), all others pixel * 2 / 255 - 1.
MEAN_RGB = (123.15, 115.90, 103.06)
MEAN_SUBTRACTED = ("resnet_v1_18", "resnet_v1_50", "resnet_v1_101")
MERGE_METHODS = ("max", "avg")
# The cells the official code ships, by file name: the best of Chen et al. 2018 (arXiv 1809.04184) on Cityscapes.
CELLS: dict[str, tuple[dict[str, Any], ...]] = {
    "dense_prediction_cell_branch5_top1_cityscapes.json": tuple(
        {"op": "conv", "kernel": 3, "rate": rate, "input": source}
        for rate, source in (([1, 6], -1), ([18, 15], 0), ([6, 3], 1), ([1, 1], 0), ([6, 21], 0))
    )
}
# Flags of the official scripts that do not change the network computed.
WITHOUT_EFFECT = {
    "batch_norm_decay", "label_weights", "prediction_with_upsampled_logits", "sync_batch_norm_method",
    "min_resize_value", "max_resize_value", "resize_factor", "keep_aspect_ratio",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class OfficialConfig:
    """One network of the official code. Names, meanings and defaults are those of its flags and ModelOptions.

    Attributes:
        crop_size: height and width the network is built for; None leaves sizes free and pools the whole picture.
        atrous_rates: of the ASPP branches; none for the default head of MobileNets.
        image_pyramid: scales whose logits are merged; one scale of 1 is the plain network.
        image_pooling_crop_size: the crop whose features are the pooling window; None for crop_size. Where it is the
            larger of the two, the window is the whole map; the official code stops there.
        dense_prediction_cell: the cell's branches as its JSON has them; empty for ASPP.
        align_corners: the official way. False, which is ours, is for sides that are multiples of the output stride:
            what the official code computes for one row and column more, on maps of even sides.
        form: ours: "training" or "int8", see models/blocks.py.
    """

    model_variant: str = "mobilenet_v2"
    num_classes: int = 21
    crop_size: tuple[int, int] | None = None
    output_stride: int = 16
    atrous_rates: tuple[int, ...] = ()
    image_pyramid: tuple[float, ...] = (1.0,)
    merge_method: str = "max"
    depth_multiplier: float = 1.0
    divisible_by: int | None = None
    multi_grid: tuple[int, ...] = ()
    use_bounded_activation: bool = False
    add_image_level_feature: bool = True
    image_pooling_crop_size: tuple[int, int] | None = None
    image_pooling_stride: tuple[int, int] = (1, 1)
    aspp_with_batch_norm: bool = True
    aspp_with_separable_conv: bool = True
    aspp_with_concat_projection: bool = True
    aspp_with_squeeze_and_excitation: bool = False
    aspp_convs_filters: int = 256
    image_se_uses_qsigmoid: bool = False
    dense_prediction_cell: tuple[dict[str, Any], ...] = ()
    decoder_output_stride: tuple[int, ...] = ()
    decoder_use_separable_conv: bool = True
    decoder_use_sum_merge: bool = False
    decoder_filters: int = 256
    decoder_output_is_logits: bool = False
    logits_kernel_size: int = 1
    nas_stem_output_num_conv_filters: int = 20
    nas_remove_os32_stride: bool = False
    align_corners: bool = True
    form: str = "training"

    def __post_init__(self) -> None:
        object.__setattr__(self, "model_variant", ALIASES.get(self.model_variant, self.model_variant))
        for item in dataclasses.fields(self):
            value = getattr(self, item.name)
            if isinstance(value, list):
                object.__setattr__(self, item.name, tuple(value))
        _check(
            "model_variant", self.model_variant, self.model_variant in VARIANTS, nearest(self.model_variant, VARIANTS)
        )
        _check("num_classes", self.num_classes, self.num_classes >= 1, "1 or more")
        _check("output_stride", self.output_stride, self.output_stride in OUTPUT_STRIDES, "8, 16, 32")
        _check("merge_method", self.merge_method, self.merge_method in MERGE_METHODS, ", ".join(MERGE_METHODS))
        _check("image_pyramid", self.image_pyramid, min(self.image_pyramid, default=0) > 0, "scales above 0")
        _check("depth_multiplier", self.depth_multiplier, self.depth_multiplier > 0, "above 0")
        descending = list(self.decoder_output_stride) == sorted(self.decoder_output_stride, reverse=True)
        _check("decoder_output_stride", self.decoder_output_stride, descending, "strides in descending order")
        if self.crop_size is not None:
            _check("crop_size", self.crop_size, len(self.crop_size) == 2 and min(self.crop_size) >= 1, "height, width")
        else:
            alone = set(self.image_pyramid) == {1.0} or not self._pools
            _check("image_pyramid", self.image_pyramid, alone, "with crop_size: image pooling needs a size")
            in_cell = any(branch["op"] == "pyramid_pooling" for branch in self.dense_prediction_cell)
            _check("crop_size", None, not in_cell, "height, width: the cell's pyramid pooling needs a size")
        if self._has_plain_logits:
            _check("logits_kernel_size", self.logits_kernel_size, self.logits_kernel_size == 1,
                   "1 with aspp_with_batch_norm, or without atrous_rates")  # fmt: skip
        if self.dense_prediction_cell:
            _check("output_stride", self.output_stride, self.output_stride <= 16, "8, 16 with a dense prediction cell")
        if self.decoder_output_is_logits:
            _check("decoder_filters", self.decoder_filters, self.decoder_filters == self.num_classes,
                   f"num_classes {self.num_classes} where the decoder's output is the logits")  # fmt: skip

    @property
    def _pools(self) -> bool:
        pools_in_cell = any(branch["op"] == "pyramid_pooling" for branch in self.dense_prediction_cell)
        return self.aspp_with_batch_norm and (self.add_image_level_feature or pools_in_cell)

    @property
    def _has_plain_logits(self) -> bool:
        return not self.decoder_output_is_logits and (self.aspp_with_batch_norm or not self.atrous_rates)

    @property
    def logits_stride(self) -> int:
        """Input pixels per logit before the last enlargement."""
        return min(self.decoder_output_stride, default=self.output_stride)

    @property
    def mean_rgb(self) -> tuple[float, float, float] | None:
        """What is subtracted from pixels 0..255, which are not scaled then; None where they become -1..1."""
        return MEAN_RGB if self.model_variant in MEAN_SUBTRACTED else None

    def replace(self, **changes: Any) -> OfficialConfig:
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """The fields as JSON-ready values, with the family that tells them from our own networks'."""
        fields = {item.name: getattr(self, item.name) for item in dataclasses.fields(self)}
        return {"family": FAMILY, **json.loads(json.dumps(fields))}

    @classmethod
    def from_dict(cls, raw: Mapping[str, Any]) -> OfficialConfig:
        """The inverse of to_dict. Raises UsageError for an unknown field."""
        given = {key: value for key, value in raw.items() if key != "family"}
        _refuse_unknown(given, {item.name for item in dataclasses.fields(cls)})
        return cls(**given)

    @classmethod
    def from_flags(cls, flags: Mapping[str, Any], model_options: Mapping[str, Any]) -> OfficialConfig:
        """The network that the official scripts build with these flags.

        Args:
            flags: flag name -> value; numbers and lists may be text, as the flags library gives them.
                dense_prediction_cell_json is a file, or the name of one the official code ships.
            model_options: num_classes, crop_size, atrous_rates, output_stride and image_pyramid, null where not given.
        Raises: UsageError naming what is unknown or of another kind, InputError for a cell that cannot be read.
        """
        given = {key: value for key, value in {**flags, **model_options}.items() if value is not None}
        cell = given.pop("dense_prediction_cell_json", "")
        if cell:
            given["dense_prediction_cell"] = read_cell(str(cell))
        if given.pop("nas_use_classification_head", False) not in (False, 0, "0", "false", "False"):
            raise UsageError(
                "nas_use_classification_head", came=True, allowed="False: a head for whole pictures has no map"
            )
        kinds = {item.name: str(item.type) for item in dataclasses.fields(cls)}
        given = {key: value for key, value in given.items() if key not in WITHOUT_EFFECT}
        _refuse_unknown(given, set(kinds))
        return cls(**{key: _parse(key, value, kinds[key]) for key, value in given.items()})


def read_cell(name: str) -> tuple[dict[str, Any], ...]:
    """The branches of a dense prediction cell: a JSON file of the official form, or one it ships, by name.

    Each branch: op "conv" (kernel 1, or 3 with rate [height, width]) or "pyramid_pooling" (grid_size), and input, an
    earlier branch's number or -1 for the features.
    """
    path = Path(name)
    if not path.is_file():
        if path.name in CELLS:
            return CELLS[path.name]
        raise UsageError("dense_prediction_cell_json", came=name, allowed=f"a file, or {', '.join(CELLS)}")
    try:
        branches = json.loads(path.read_text())
        for index, branch in enumerate(branches):
            needed = {"conv": "kernel", "pyramid_pooling": "grid_size"}[branch["op"]]
            if needed not in branch or not -1 <= branch["input"] < index:
                raise KeyError(needed)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{name}: is no dense prediction cell", came=str(error), next_step="see read_cell") from error
    return tuple(branches)


def _check(name: str, value: Any, holds: bool, allowed: str) -> None:
    if not holds:
        raise UsageError(f"official model: {name}", came=value, allowed=allowed)


def _refuse_unknown(given: Mapping[str, Any], known: set[str]) -> None:
    unknown = sorted(set(given) - known)
    if unknown:
        raise UsageError(
            "official model: unknown flags", came=", ".join(unknown), allowed=nearest(unknown[0], sorted(known))
        )


def _parse(name: str, value: Any, kind: str) -> Any:
    """A flag's value as the field's type: "4,5", ["4", "5"], "1", 1 and True are all met in practice."""

    def boolean(text: Any) -> bool:
        words = {"1": True, "true": True, "0": False, "false": False}
        return words[str(text).lower()]

    try:
        if kind.startswith("tuple[dict"):
            return tuple(value)
        if kind.startswith("tuple"):
            items = (
                value.split(",") if isinstance(value, str) else value if isinstance(value, (list, tuple)) else [value]
            )
            number: Any = float if "float" in kind else int
            return tuple(number(item) for item in items)
        if kind == "bool":
            return boolean(value)
        return {"int": int, "int | None": int, "float": float, "str": str}[kind](value)
    except (ValueError, KeyError, TypeError) as error:
        raise UsageError(f"official model: {name}", came=value, allowed=kind) from error
