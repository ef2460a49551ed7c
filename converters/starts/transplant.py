"""Puts a foreign backbone into the weights of our own network, as a start for training.

Arrays in, arrays out: no Keras here. The caller reads the weights out of a fresh network and sets the result back.

    weights = transplant(read_foreign_backbone(path), weights_of(model), blocks.official)
    assign_weights(model, weights)
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from edge_deeplab.converters.starts.backbone_weights import (
    BATCH_NORM,
    MOBILENET_V2,
    SCOPES,
    ForeignBackbone,
    backbone_of,
)
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.backbones.resnet_v1 import EPSILON as RESNET_EPSILON
from edge_deeplab.models.blocks import BATCH_NORM_EPSILON

Weights = dict[str, list[np.ndarray]]
OfficialNames = Mapping[str, tuple[str, ...]]


def transplant(backbone: ForeignBackbone, target: Mapping[str, list[np.ndarray]], official: OfficialNames) -> Weights:
    """A copy of `target` with the backbone's layers taken from the foreign one.

    Where a MobileNetV2 has more channels (rounded to 8 where the foreign one was rounded to 1), the foreign channels
    come first, the others keep their fresh values, and what reads them starts at zero: the foreign network is computed
    as it was, and the new channels are there to be learnt.

    A folded backbone has no statistics left. Its batch norms are set so that the inference form is exact; training
    normalises by the batch at once, which changes the network until the first layers have settled.

    Args:
        target: layer name -> arrays, of a network of ours with that backbone and pixels 0..1.
        official: layer name -> official variables, as Blocks.official records them; a head's are left alone.
    Raises: ConversionError when the network has another backbone, or fewer channels than the foreign one.
    """
    check_fit(backbone, official)
    layers = _layers_of(backbone, official)
    weights = {name: list(arrays) for name, arrays in target.items()}
    stem = _convolution_of(next(iter(layers.values()))[0])
    low, high = (np.broadcast_to(np.asarray(end, np.float32), 3) for end in backbone.input_range)
    for name, variables in layers.items():
        convolution = _convolution_of(variables[0])
        if _is_batch_norm(variables):
            new = _statistics(backbone, convolution)
            if convolution == stem:
                kernel = backbone.arrays[f"{stem}/weights"]
                new[2] = new[2] - (kernel * low[:, np.newaxis]).sum(axis=(0, 1, 2))
        else:
            new = [backbone.arrays[variable] for variable in variables]
            if convolution == stem:  # for pixels 0..1; exact but for the edges, see ForeignBackbone
                new = [new[0] * (high - low)[:, np.newaxis]]
        weights[name] = [
            _fit(array, fresh, name=name, backbone=backbone) for array, fresh in zip(new, weights[name], strict=True)
        ]
    return weights


def check_fit(backbone: ForeignBackbone, official: OfficialNames) -> None:
    """Raises ConversionError for a network of another backbone, and for variables that the file lacks."""
    layers = _layers_of(backbone, official)
    kept = {variable: None for variables in official.values() for variable in variables}
    ours = next((backbone_of(scope, kept) for scope in SCOPES if any(v.startswith(f"{scope}/") for v in kept)), None)
    if ours != backbone_of(backbone.scope, backbone.arrays):
        raise ConversionError(
            f"{backbone.source}: cannot start this network", came=f"weights of {backbone.backbone}",
            allowed=f"weights of {ours}" if ours else "a network with that backbone",
            next_step=f"set model.backbone to {backbone.backbone}, or name another file",
        )  # fmt: skip
    wanted = [
        variable
        for variables in layers.values()
        for variable in variables
        if not (backbone.is_folded and _is_batch_norm(variables))
    ]
    missing = [variable for variable in wanted if variable not in backbone.arrays]
    if missing:
        raise ConversionError(
            f"{backbone.source}: not a whole {backbone.backbone}",
            came=f"{len(missing)} of {len(wanted)} variables missing, {missing[0]}",
            next_step="name a whole one",
        )


def unsettled_batch_norms(backbone: ForeignBackbone, official: OfficialNames) -> frozenset[str]:
    """Our batch norms that a transplant leaves without statistics, for a folded backbone; else none."""
    if not backbone.is_folded:
        return frozenset()
    return frozenset(name for name, variables in _layers_of(backbone, official).items() if _is_batch_norm(variables))


def _layers_of(backbone: ForeignBackbone, official: OfficialNames) -> OfficialNames:
    """Those layers that are of the backbone."""
    return {name: variables for name, variables in official.items() if variables[0].startswith(f"{backbone.scope}/")}


def _is_batch_norm(variables: tuple[str, ...]) -> bool:
    return "/BatchNorm/" in variables[0]


def _convolution_of(variable: str) -> str:
    """The official layer that a convolution's or its batch norm's variable is of."""
    return variable.rsplit("/", 1)[0].removesuffix("/BatchNorm")


def _statistics(backbone: ForeignBackbone, layer: str) -> list[np.ndarray]:
    """Gamma, beta, moving mean and moving variance for a batch norm with our epsilon."""
    ours = RESNET_EPSILON if backbone.scope.startswith("resnet") else BATCH_NORM_EPSILON
    if backbone.is_folded:
        beta = backbone.arrays[f"{layer}/biases"]
        ones = np.ones_like(beta)
        return [ones, beta, np.zeros_like(beta), ones - np.float32(ours)]
    gamma, beta, mean, variance = (backbone.arrays[f"{layer}/BatchNorm/{name}"] for name in BATCH_NORM)
    # the same sum under the root with another epsilon; a variance cannot be below zero
    difference = np.float32((backbone.batch_norm_epsilon or ours) - ours)
    return [gamma, beta, mean, np.maximum(variance + difference, 0)]


def _fit(new: np.ndarray, fresh: np.ndarray, *, name: str, backbone: ForeignBackbone) -> np.ndarray:
    """`new` in the first channels of `fresh`; what new outputs read stays fresh, what old ones read of new is zero."""
    if new.shape == fresh.shape:
        return new.astype(np.float32)
    is_smaller = new.ndim == fresh.ndim and all(a <= b for a, b in zip(new.shape, fresh.shape))
    if backbone.scope != MOBILENET_V2 or not is_smaller or new.shape[:-2] != fresh.shape[:-2]:
        is_widened = backbone.scope == MOBILENET_V2
        raise ConversionError(
            f"{backbone.source}: does not fit layer {name}", came=new.shape,
            allowed=f"at most {fresh.shape}" if is_widened else fresh.shape,
            next_step="take the width and the width_divisor of the file" if is_widened else None,
        )  # fmt: skip
    widened = fresh.astype(np.float32, copy=True)
    if new.ndim == 4 and new.shape[3] > 1:  # (h, w, in, out); a depthwise kernel, (h, w, C, 1), has no inputs to cut
        widened[:, :, new.shape[2] :, : new.shape[3]] = 0
    widened[tuple(slice(size) for size in new.shape)] = new
    return widened
