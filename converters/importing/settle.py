"""The whole network, from what names say (detect.py), what a graph says, and what a person says; the rest is assumed.

settled = settle(reading, Told(crop_hw=(513, 513)))
settled.config
[(finding.what, finding.value, finding.how) for finding in settled.findings]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge_deeplab.converters.importing.detect import BACKBONE_FIELDS, Detected, detect, settle_strides
from edge_deeplab.converters.importing.layer_plan import plan_layers
from edge_deeplab.converters.importing.readings import TFLITE, Layout, Reading
from edge_deeplab.errors import ConversionError, ModelError, UsageError
from edge_deeplab.models.official_config import OfficialConfig, read_cell

NAMES, OPERATORS, GRAPH, TOLD, ASSUMED = "names and shapes", "operators", "graph", "told", "assumed"
DEFAULT_CROP_HW = (513, 513)  # of the official PASCAL VOC models
SQUEEZED_CROP_HW = (769, 769)  # squeeze-and-excite ASPP: the official Cityscapes training
SQUEEZED_STRIDE_HW = (4, 5)
SQUEEZED_OUTPUT_STRIDE = 32
# Rates at output stride 16; they grow as the stride shrinks (DeepLabv3, section 4.2).
ASPP_RATES = (6, 12, 18)
# DeepLabv2's ASPP-L and the large field of view of v1 (Chen et al. 2016), both at stride 8.
BRANCH_RATES = {1: (12,), 4: (6, 12, 18, 24)}
# Rate of a backbone's last block at each output stride, before multi_grid.
LAST_RATE = {8: 4, 16: 2, 32: 1}


@dataclass(frozen=True, kw_only=True)
class Told:
    """What a person said; None where nothing. See OfficialConfig for the meanings."""

    variant: str | None = None
    output_stride: int | None = None
    crop_hw: tuple[int, int] | None = None
    atrous_rates: tuple[int, ...] | None = None
    decoder_output_stride: tuple[int, ...] | None = None
    multi_grid: tuple[int, ...] | None = None
    dense_prediction_cell: str | None = None
    bounded_activation: bool | None = None


@dataclass(frozen=True)
class Finding:
    """One fact and where it is from: NAMES, OPERATORS (of a file whose names say nothing), GRAPH, TOLD or ASSUMED."""

    what: str
    value: str
    how: str


@dataclass(frozen=True)
class Settled:
    """The network and how each part of it was found."""

    config: OfficialConfig
    findings: tuple[Finding, ...]

    @property
    def assumed(self) -> tuple[Finding, ...]:
        """What neither file nor person said."""
        return tuple(finding for finding in self.findings if finding.how == ASSUMED)


def settle(reading: Reading, told: Told) -> Settled:
    """Finds the network a reading is of.

    Raises: ModelError, ConversionError naming the first thing that does not fit; UsageError where what was told differs
        from what the file says.
    """
    detected = detect(reading.shapes, source=reading.source, is_folded=reading.is_folded, variant=told.variant)
    strides, decoder_strides = settle_strides(detected, reading.shapes, source=reading.source)
    work = _Settling(reading.source, reading.kind, reading.layout, told, detected)
    work.names(decoder_strides, reading.is_folded)
    work.output_stride(strides)
    work.rates()
    work.crop()
    work.pooling()
    work.activation()
    return Settled(OfficialConfig(**work.fields), tuple(work.findings))


class _Settling:
    """The fields settled so far, and how."""

    def __init__(self, source: str, kind: str, layout: Layout | None, told: Told, detected: Detected) -> None:
        self.source, self.layout, self.told, self.detected = source, layout, told, detected
        self.known = OPERATORS if kind == TFLITE else NAMES
        self.fields: dict[str, Any] = dict(detected.fields)
        self.findings: list[Finding] = []

    def find(self, what: str, value: object, how: str) -> None:
        """Notes a fact for the person."""
        self.findings.append(Finding(what, _text(value), how))

    def choose(self, what: str, option: str, *, told: Any, graph: Any, default: Any) -> Any:
        """Graph before person before default. Raises UsageError where the first two differ."""
        if told is not None and graph is not None and told != graph:
            raise UsageError(f"{option}: the graph of {self.source} says otherwise", came=_text(told),
                             allowed=_text(graph), next_step=f"leave {option} out")  # fmt: skip
        value, how = (graph, GRAPH) if graph is not None else (told, TOLD) if told is not None else (default, ASSUMED)
        self.find(what, value, how)
        return value

    def names(self, decoder_strides: tuple[int, ...], is_folded: bool) -> None:
        """What needs no graph."""
        fields = self.fields
        self.find("variant", fields["model_variant"], TOLD if self.told.variant else self.known)
        if fields.get("depth_multiplier", 1.0) != 1.0:
            self.find("depth multiplier", fields["depth_multiplier"], self.known)
        if fields.get("divisible_by"):
            self.find("channels are multiples of", fields["divisible_by"], self.known)
        self.find("classes", fields["num_classes"], self.known)
        self.find("head", describe_head(self.detected), self.known)
        if decoder_strides or self.told.decoder_output_stride:
            self.choose("decoder output stride", "--decoder-stride", told=self.told.decoder_output_stride,
                        graph=decoder_strides, default=())  # fmt: skip
            self.findings[-1] = Finding("decoder output stride", _text(decoder_strides), self.known)
            self.find("decoder", describe_decoder(fields), self.known)
            fields["decoder_output_stride"] = decoder_strides
        self.find("batch norm", "folded into the weights" if is_folded else "apart", self.known)

    def output_stride(self, fitting: tuple[int, ...]) -> None:
        """The stride, and with it multi_grid."""
        graph_stride, graph_grid = self._from_graph(fitting) if self.layout else (None, None)
        if len(fitting) == 1:
            graph_stride = fitting[0]
        stride = self.choose("output stride", "--output-stride", told=self.told.output_stride, graph=graph_stride,
                             default=self._usual_stride())  # fmt: skip
        if stride not in fitting:
            raise UsageError("--output-stride: its shapes are of another", came=stride, allowed=_text(fitting))
        if len(fitting) == 1 and self.layout is None:
            self.findings[-1] = Finding("output stride", str(stride), self.known)
        self.fields["output_stride"] = stride
        if _last_kernels(self.fields["model_variant"]):
            grid = self.choose("multi-grid", "--multi-grid", told=self.told.multi_grid, graph=graph_grid, default=())
            self.fields["multi_grid"] = () if set(grid) <= {1} else grid
        elif self.told.multi_grid:
            raise UsageError("--multi-grid: this backbone has none", came=self.fields["model_variant"],
                             allowed="an Xception or a ResNet")  # fmt: skip

    def _usual_stride(self) -> int:
        """What networks of this kind are trained at, where nothing says it."""
        if self.fields.get("aspp_with_squeeze_and_excitation"):
            return SQUEEZED_OUTPUT_STRIDE
        is_v1_or_v2 = self.detected.atrous_branches > 0 and not self._has_aspp
        # Auto-DeepLab's searched path itself ends at 8
        return 8 if is_v1_or_v2 or self.fields["model_variant"] == "nas_hnasnet" else 16

    @property
    def _has_aspp(self) -> bool:
        return bool(self.fields.get("aspp_with_batch_norm", True)) and not self.detected.is_cell

    def _from_graph(self, fitting: tuple[int, ...]) -> tuple[int, tuple[int, ...]]:
        """The output stride and multi_grid whose network does with every kernel what the graph does."""
        assert self.layout is not None
        misfits = []
        likely = (self._out_stride(), self._usual_stride())
        for stride in sorted(fitting, key=lambda stride: [stride != best for best in likely]):
            grid = _grid(self.layout, self.fields["model_variant"], stride)
            if grid is None:
                continue
            fields = {key: value for key, value in self.fields.items() if key in BACKBONE_FIELDS}
            config = OfficialConfig(**fields, output_stride=stride, multi_grid=grid)
            misfit = _first_misfit(config, self.layout, self.detected.backbone)
            if misfit is None:
                return stride, grid
            misfits.append(f"{misfit} for output stride {stride}")
        raise ConversionError(
            f"{self.source}: strides and rates of its graph are of no output stride of {self.fields['model_variant']}",
            came="; ".join(misfits) or "rates in the last block that are no multiples",
            allowed=f"those of output stride {_text(fitting)}",
        )  # fmt: skip

    def _out_stride(self) -> int | None:
        """The crop over the features' size, where the graph says both."""
        first = next((name for name in ("aspp0/weights", "logits/semantic/weights") if self.layout
                      and name in self.layout.convolutions), None)  # fmt: skip
        if self.layout is None or first is None or self.layout.crop_hw is None:
            return None
        out_hw = self.layout.convolutions[first].out_hw
        if out_hw is None or out_hw[0] < 2:
            return None
        return round((self.layout.crop_hw[0] - 1) / (out_hw[0] - 1))

    def rates(self) -> None:
        """The ASPP's rates, or the cell's."""
        stride, count = self.fields["output_stride"], self.detected.atrous_branches
        if self.detected.is_cell:
            self._cell()
        elif self.told.dense_prediction_cell:
            raise UsageError("--dense-prediction-cell: the file has none", came="an ASPP")
        if count == 0:
            if self.told.atrous_rates:
                raise UsageError("--atrous-rates: there are no atrous branches to have them",
                                 came=_text(self.told.atrous_rates))  # fmt: skip
            return
        if self._has_aspp:
            names = [self._aspp_kernel(index) for index in range(1, count + 1)]
            default = tuple(rate * 16 // stride for rate in ASPP_RATES[:count])
        else:
            names = [f"logits/semantic{f'_{index}' if index else ''}/weights" for index in range(count)]
            default = BRANCH_RATES.get(count, ())
        graph = None
        if self.layout is not None:
            graph = tuple(self.layout.convolutions[name].rate_hw[0] for name in names)
        if self.told.atrous_rates and len(self.told.atrous_rates) != count:
            raise UsageError("--atrous-rates: one for each branch is needed", came=_text(self.told.atrous_rates),
                             allowed=f"{count} rates")  # fmt: skip
        if len(default) != count and graph is None and not self.told.atrous_rates:
            raise ModelError(f"{self.source}: has {count} atrous branches, whose rates nothing here says",
                             next_step="give --atrous-rates")  # fmt: skip
        self.fields["atrous_rates"] = self.choose(
            "atrous rates", "--atrous-rates", told=self.told.atrous_rates, graph=graph, default=default
        )

    def _aspp_kernel(self, index: int) -> str:
        separable = self.fields.get("aspp_with_separable_conv", True)
        return f"aspp{index}_depthwise/depthwise_weights" if separable else f"aspp{index}/weights"

    def _cell(self) -> None:
        """The cell's branches: told, or the published one; a graph must agree in its rates."""
        if self.told.dense_prediction_cell:
            self.fields["dense_prediction_cell"] = read_cell(self.told.dense_prediction_cell)
        if not self.fields.get("dense_prediction_cell"):
            raise ModelError(
                f"{self.source}: its dense prediction cell is not the published one",
                next_step="give --dense-prediction-cell FILE.json, as it was trained with",
            )
        how = TOLD if self.told.dense_prediction_cell else ASSUMED
        if self.layout is not None:
            planned = plan_layers(OfficialConfig(**self.fields)).convolutions
            for name, convolution in planned.items():
                seen = self.layout.convolutions.get(name)
                if name.startswith("meta_architecture/") and seen and seen.rate_hw != convolution.rate_hw:
                    raise ModelError(
                        f"{self.source}: its dense prediction cell has other rates at {name}", came=seen.rate_hw,
                        allowed=convolution.rate_hw, next_step="give --dense-prediction-cell FILE.json",
                    )  # fmt: skip
            how = GRAPH
        rates = ", ".join(f"{branch.get('rate', '1x1')}" for branch in self.fields["dense_prediction_cell"])
        self.find("cell's rates", rates, how)

    def crop(self) -> None:
        """The input's size."""
        squeezed = self.fields.get("aspp_with_squeeze_and_excitation")
        graph = self.layout.crop_hw if self.layout else None
        self.fields["crop_size"] = self.choose(
            "crop (HxW)", "--crop", told=self.told.crop_hw, graph=graph,
            default=SQUEEZED_CROP_HW if squeezed else DEFAULT_CROP_HW,
        )  # fmt: skip
        self.findings[-1] = Finding("crop", "{}x{}".format(*self.fields["crop_size"]), self.findings[-1].how)

    def pooling(self) -> None:
        """The image pooling's window and stride, where they are not the crop's, and its gate."""
        if not self.fields.get("add_image_level_feature", True) or not self._has_aspp:
            return
        squeezed = bool(self.fields.get("aspp_with_squeeze_and_excitation"))
        layout, stride = self.layout, self.fields["output_stride"]
        if layout is not None:
            if layout.pooling_hw is not None:
                crop_hw = (layout.pooling_hw[0] - 1) * stride + 1, (layout.pooling_hw[1] - 1) * stride + 1
                own = tuple((side - 1) // stride + 1 for side in self.fields["crop_size"])
                if layout.pooling_hw != own:
                    self.fields["image_pooling_crop_size"] = crop_hw
                    self.find("image pooling", "{}x{} features".format(*layout.pooling_hw), GRAPH)
            if layout.pooling_stride_hw != (1, 1) and layout.pooling_hw is not None:
                self.fields["image_pooling_stride"] = layout.pooling_stride_hw
        elif squeezed:
            self.fields["image_pooling_crop_size"] = SQUEEZED_CROP_HW
            self.fields["image_pooling_stride"] = SQUEEZED_STRIDE_HW
            self.find("image pooling", "window of crop 769x769, stride 4,5, hard sigmoid", ASSUMED)
        if squeezed:
            self.fields["image_se_uses_qsigmoid"] = layout is None or layout.gate == "hard_sigmoid"

    def activation(self) -> None:
        """Whether it is the bounded form, which no name tells."""
        if self.layout is None:
            self.fields["use_bounded_activation"] = bool(self.told.bounded_activation)
            if self.told.bounded_activation:
                self.find("activation", "bounded (ReLU6)", TOLD)
            elif self.fields["model_variant"].startswith("xception"):  # what the official code made the form for
                self.find("activation", "ReLU", ASSUMED)
            return
        names = ("aspp0/weights", "decoder/decoder_conv0_pointwise/weights")
        seen = [self.layout.convolutions[name] for name in names if name in self.layout.convolutions]
        if any(convolution.activation == "relu6" for convolution in seen):
            self.fields["use_bounded_activation"] = True
            self.find("activation", "bounded (ReLU6)", GRAPH)
        elif self.told.bounded_activation:
            raise UsageError("--bounded-activation: the graph has ReLU", next_step="leave it out")


def describe_head(detected: Detected) -> str:
    """The head in words."""
    fields, count = detected.fields, detected.atrous_branches
    if detected.is_cell:
        return "dense prediction cell"
    if not fields.get("aspp_with_batch_norm", True):
        size = fields["logits_kernel_size"]
        return f"{count or 1} logits branch{'es' if count > 1 else ''} of {size}x{size}"
    if fields["aspp_with_squeeze_and_excitation"]:
        return f"squeeze-and-excite ASPP, {fields['aspp_convs_filters']} filters"
    parts = ["image pooling"] if fields["add_image_level_feature"] else []
    parts.append("1x1")
    if count:
        parts.append(f"{count} {'separable' if fields['aspp_with_separable_conv'] else 'full'} atrous branches")
    if fields["aspp_with_concat_projection"]:
        parts.append("projection")
    return f"ASPP: {', '.join(parts)}; {fields['aspp_convs_filters']} filters"


def describe_decoder(fields: Mapping[str, Any]) -> str:
    """The decoder in words."""
    merge = "sum" if fields.get("decoder_use_sum_merge") else "concatenation"
    if fields.get("decoder_output_is_logits"):
        return f"{merge}, gives the logits"
    kind = "separable" if fields.get("decoder_use_separable_conv", True) else "full"
    return f"{merge}, {kind} convolutions, {fields['decoder_filters']} filters"


def _last_kernels(variant: str) -> tuple[str, ...]:
    """The kernels whose rates multi_grid multiplies; none for backbones without."""
    if variant.startswith("xception"):
        unit = f"{variant}/exit_flow/block2/unit_1/xception_module"
        return tuple(f"{unit}/separable_conv{index}_depthwise/depthwise_weights" for index in (1, 2, 3))
    if variant.startswith("resnet"):
        scope = variant.removesuffix("_beta")
        if scope.endswith("_18"):
            return tuple(f"{scope}/block4/unit_{index}/lite_bottleneck_v1/conv2/weights" for index in (1, 2))
        return tuple(f"{scope}/block4/unit_{index}/bottleneck_v1/conv2/weights" for index in (1, 2, 3))
    return ()


def _grid(layout: Layout, variant: str, output_stride: int) -> tuple[int, ...] | None:
    """The multi_grid that the graph's rates mean at an output stride; None where they are no multiples."""
    rates = [layout.convolutions[name].rate_hw[0] for name in _last_kernels(variant) if name in layout.convolutions]
    base = LAST_RATE[output_stride]
    if any(rate % base for rate in rates):
        return None
    grid = tuple(rate // base for rate in rates)
    return () if set(grid) <= {1} else grid


def _first_misfit(config: OfficialConfig, layout: Layout, scope: str) -> str | None:
    """The first kernel of the backbone that the graph moves or spreads otherwise."""
    for name, planned in plan_layers(config).convolutions.items():
        seen = layout.convolutions.get(name)
        if not name.startswith(f"{scope}/") or seen is None:
            continue
        if (seen.stride_hw, seen.rate_hw) != (planned.stride_hw, planned.rate_hw):
            return f"{name} has stride {seen.stride_hw[0]} and rate {seen.rate_hw[0]}"
    return None


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return str(value)
