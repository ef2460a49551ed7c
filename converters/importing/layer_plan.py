"""What a network of the official code does with each kernel, without building it: strides, rates, epsilons.

plan = plan_layers(config)
plan.convolutions["MobilenetV2/expanded_conv_14/depthwise/depthwise_weights"].rate_hw
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

from edge_deeplab.converters.importing.readings import Convolution, is_kernel
from edge_deeplab.models.counting import count_traced
from edge_deeplab.models.official import SOME_CROP, trace_official
from edge_deeplab.models.official_config import OfficialConfig


@dataclass(frozen=True)
class LayerPlan:
    """One network.

    Attributes:
        convolutions: name of the kernel variable -> stride and rate.
        epsilons: scope of a layer with batch norm -> its epsilon.
        shapes: official name -> shape of every variable.
        official: our layer -> its variables' official names, in the order of the layer's own.
    """

    convolutions: Mapping[str, Convolution]
    epsilons: Mapping[str, float]
    shapes: Mapping[str, tuple[int, ...]]
    official: Mapping[str, tuple[str, ...]]


def plan_layers(config: OfficialConfig) -> LayerPlan:
    """Lays the network with a namespace that only takes notes. Raises UsageError where the settings do not fit."""
    sized = config if config.crop_size else config.replace(crop_size=(SOME_CROP, SOME_CROP))
    settings: dict[str, dict[str, Any]] = {}
    official: dict[str, tuple[str, ...]] = {}

    def lay(K: Any) -> None:
        official.update(trace_official(_Noting(K, settings), sized).blocks.official)

    shapes = count_traced(lay).shapes
    convolutions: dict[str, Convolution] = {}
    epsilons: dict[str, float] = {}
    by_name: dict[str, tuple[int, ...]] = {}
    for layer, names in official.items():
        by_name.update(zip(names, shapes[layer], strict=True))
        noted = settings[layer]
        if is_kernel(names[0]):
            convolutions[names[0]] = Convolution(
                stride_hw=_pair(noted.get("strides", 1)), rate_hw=_pair(noted.get("dilation_rate", 1))
            )
        elif "epsilon" in noted:
            epsilons[names[0].rpartition("/BatchNorm/")[0]] = float(noted["epsilon"])
    return LayerPlan(convolutions, epsilons, by_name, official)


def _pair(value: Any) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


class _Noting:
    """A Keras namespace that notes the settings of every layer with a name, and passes the call on."""

    def __init__(self, K: Any, settings: dict[str, dict[str, Any]]) -> None:
        def noting(factory: Callable[..., Any]) -> Callable[..., Any]:
            def make(*args: Any, **given: Any) -> Any:
                if "name" in given:
                    settings[given["name"]] = given
                return factory(*args, **given)

            return make

        self.layers = SimpleNamespace(**{name: noting(factory) for name, factory in vars(K.layers).items()})
