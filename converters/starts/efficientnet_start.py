"""Puts the EfficientNet of a Keras weight file into the weights of our own network, as a start for training.

Arrays in, arrays out: no Keras here.

    arrays = read_keras_applications(Path("efficientnetb0_notop.h5"))
    weights = start_efficientnet(arrays, weights_of(model), variant="efficientnet_b0", source="efficientnetb0_notop.h5")
    assign_weights(model, weights)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from edge_deeplab.errors import ConversionError
from edge_deeplab.models.backbones.efficientnet import VARIANTS, blocks_of, build_efficientnet
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.counting import count_traced

Weights = dict[str, list[np.ndarray]]

# Normalization's variance in keras.applications' ImageNet files: the deviations, where the squares belong (TensorFlow's
# issue 49930). Keras makes up for it with a second Rescaling, by 1 / sqrt(deviation), which has no weights and so is
# not in a weight file.
DEVIATION = (0.229, 0.224, 0.225)
# Those files hold the three digits above in float32; a variance measured on other pictures is not them by chance.
DEVIATION_TOLERANCE = 1e-5


def start_efficientnet(
    arrays: Mapping[str, list[np.ndarray]], target: Mapping[str, list[np.ndarray]], *, variant: str, source: str
) -> Weights:
    """A copy of `target` with the backbone's layers taken from the file.

    Ours takes pixels 0..1 and has no Normalization: mean and deviation go into the stem. That is exact but for the
    stem's last row and column (for sides of odd length, the first ones too), where SAME padding puts 0: for the file's
    network the mean colour, for ours black.

    Args:
        arrays: layer name -> arrays of a keras.applications EfficientNet, with or without its top.
        target: layer name -> arrays, of a network of ours with that backbone.
        variant: of the target, "efficientnet_b0" to "efficientnet_b4".
    Raises: ConversionError as check_fit.
    """
    check_fit(arrays, variant, source=source)
    weights = {name: list(kept) for name, kept in target.items()}
    for ours, theirs in _layer_names(variant):
        weights[ours] = [array.astype(np.float32) for array in arrays[theirs]]
    kernel, moving_mean = weights["stem_conv"][0], weights["stem_bn"][2]
    folded = _take_zero_to_one(kernel, moving_mean, *_pixels(arrays, source))
    weights["stem_conv"][0], weights["stem_bn"][2] = folded
    return weights


def check_fit(arrays: Mapping[str, list[np.ndarray]], variant: str, *, source: str) -> None:
    """Whether a file can start a network with the backbone `variant`: known before any is built.

    Raises: ConversionError when the file is of another network or of another variant, or not whole, or the variant is
        Lite.
    """
    if VARIANTS[variant].is_lite:
        raise ConversionError(
            f"{source}: cannot start a network with the backbone {variant}",
            came="keras.applications has no EfficientNet-Lite",
            allowed="efficientnet_b0 to efficientnet_b4 with such a file; Lite from random weights or a model of ours",
        )  # fmt: skip
    found = variant_of(arrays, source=source)
    if found != variant:
        raise ConversionError(
            f"{source}: does not fit the backbone {variant}", came=f"a file of {found}",
            next_step=f"set model.backbone to {found}, or take the file of {variant}",
        )  # fmt: skip
    wanted = _shapes(variant)
    for ours, theirs in _layer_names(variant):
        came = [array.shape for array in arrays.get(theirs, ())]
        if came != wanted[ours]:
            raise ConversionError(
                f"{source}: its layer {theirs} does not fit", came=came or "none of this name", allowed=wanted[ours]
            )
    _pixels(arrays, source)


def variant_of(arrays: Mapping[str, list[np.ndarray]], *, source: str) -> str:
    """Which EfficientNet-B the layers are of, by their names and channels. Raises ConversionError for none."""
    came = {name: kernel[0].shape[-1] for name, kernel in arrays.items() if name.endswith("_project_conv")}
    for variant, scaling in VARIANTS.items():
        if not scaling.is_lite and came == {
            f"{block.name}_project_conv": block.channels for block in blocks_of(variant)
        }:
            return variant
    raise ConversionError(
        f"{source}: no EfficientNet-B0 to B4 of keras.applications",
        came=f"{len(came)} blocks among {len(arrays)} layers: {', '.join(list(arrays)[:3])} ...",
        allowed="a weight file of keras.applications.EfficientNetB0 to B4 (not of EfficientNetV2)",
    )  # fmt: skip


def _layer_names(variant: str) -> Iterator[tuple[str, str]]:
    """Our layer's name and that of keras.applications."""
    for part in ("conv", "bn"):
        yield f"stem_{part}", f"stem_{part}"
    for block in blocks_of(variant):
        if block.expansion != 1:
            yield f"{block.name}_expand_conv", f"{block.name}_expand_conv"
            yield f"{block.name}_expand_bn", f"{block.name}_expand_bn"
        yield f"{block.name}_dw_conv", f"{block.name}_dwconv"
        yield f"{block.name}_dw_bn", f"{block.name}_bn"
        for part in ("se_reduce", "se_expand", "project_conv", "project_bn"):
            yield f"{block.name}_{part}", f"{block.name}_{part}"


def _shapes(variant: str) -> dict[str, list[tuple[int, ...]]]:
    """Our layer's name -> the shapes of its arrays."""

    def lay(K: Any) -> None:
        image = Feature(K.layers.Input((64, 64, 3)))  # any size: no shape depends on it
        build_efficientnet(Blocks(K), image, variant=variant, output_stride=32)

    return count_traced(lay).shapes


def _pixels(arrays: Mapping[str, list[np.ndarray]], source: str) -> tuple[np.ndarray, np.ndarray]:
    """Mean and deviation (3,) by which the file's network normalises pixels 0..1."""
    found = [kept for name, kept in arrays.items() if re.fullmatch(r"normalization(_\d+)?", name)]
    if len(found) != 1 or len(found[0]) < 2 or any(array.size != 3 for array in found[0][:2]):
        raise ConversionError(
            f"{source}: says not how its pixels are normalised", came=f"{len(found)} layers named normalization",
            allowed="one, with a mean and a variance for red, green and blue",
        )  # fmt: skip
    mean, variance = (array.reshape(3).astype(np.float64) for array in found[0][:2])
    if np.allclose(variance, DEVIATION, rtol=0, atol=DEVIATION_TOLERANCE):
        return mean, variance
    return mean, np.sqrt(variance)


def _take_zero_to_one(
    kernel: np.ndarray, moving_mean: np.ndarray, mean: np.ndarray, deviation: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The stem's kernel (h, w, 3, C) and its batch norm's moving mean (C,) for pixels that are not normalised."""
    scaled = kernel / deviation[:, np.newaxis]
    shifted = moving_mean + (scaled * mean[:, np.newaxis]).sum(axis=(0, 1, 2))
    return scaled.astype(np.float32), shifted.astype(np.float32)
