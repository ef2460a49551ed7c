"""A backbone laid without any Keras: what its layers are asked to be, and what they cost.

laid = lay(lambda blocks, image: build_resnet_v1(blocks, image, variant="resnet_v1_50", output_stride=16), (321, 289))
laid.shapes["resnet_v1_50/conv1/weights"], laid.convolutions["resnet_v1_50/conv1/weights"].stride
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.counting import Count, count_traced


@dataclass(frozen=True)
class Convolution:
    """How a kernel is slid."""

    stride: int
    rate: int
    padding: str


@dataclass(frozen=True)
class Laid:
    """A backbone.

    Attributes:
        ends: its endpoints; tensors have shapes alone.
        count: parameters and multiply-adds.
        shapes: official variable -> shape, in creation order.
        convolutions: official kernel -> how it is slid.
        kinds: the kinds of its layers, in creation order.
        epsilons: of its batch norms.
    """

    ends: Endpoints
    count: Count
    shapes: dict[str, tuple[int, ...]]
    convolutions: dict[str, Convolution]
    kinds: list[str]
    epsilons: set[float]


class Noting:
    """A Keras namespace that notes every layer made with another one."""

    def __init__(self, K: Any) -> None:
        self._inner = K.layers
        self.made: list[tuple[str, dict[str, Any]]] = []
        self.layers = self

    def __getattr__(self, kind: str) -> Any:
        make = getattr(self._inner, kind)

        def note(*args: Any, **settings: Any) -> Any:
            self.made.append((kind, settings))
            return make(*args, **settings)

        return note


def lay(build: Callable[[Blocks, Feature], Endpoints], size_hw: tuple[int, int]) -> Laid:
    """Lays a backbone on a picture of this size."""
    kept: dict[str, Any] = {}

    def note(K: Any) -> None:
        noting = Noting(K)
        blocks = Blocks(noting)
        kept.update(ends=build(blocks, Feature(K.layers.Input((*size_hw, 3)))), blocks=blocks, made=noting.made)

    count = count_traced(note)
    official = kept["blocks"].official
    shapes = {
        variable: shape
        for layer, variables in official.items()
        for variable, shape in zip(variables, count.shapes[layer], strict=True)
    }
    convolutions = {
        official[settings["name"]][0]: Convolution(
            settings.get("strides", 1), settings.get("dilation_rate", 1), settings.get("padding", "valid")
        )
        for kind, settings in kept["made"]
        if kind in ("Conv2D", "DepthwiseConv2D")
    }
    epsilons = {settings["epsilon"] for kind, settings in kept["made"] if kind == "BatchNormalization"}
    return Laid(kept["ends"], count, shapes, convolutions, [kind for kind, _ in kept["made"]], epsilons)
