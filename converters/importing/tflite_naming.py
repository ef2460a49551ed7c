"""Official names for the convolutions of a .tflite: by operator order in the backbone, by who reads whom in the head.

Tensors' names differ from converter to converter, and may be missing. Where they are the official ones they decide
between kernels of one shape; only searched backbones cannot do without them.

    names = name_layers(layers)                # one official kernel name for each of layers.convolutions
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from edge_deeplab.converters.importing.detect import EDGETPU_LAST, MOBILENET_V2_LAST, OUTPUT_STRIDES
from edge_deeplab.converters.importing.layer_plan import plan_layers
from edge_deeplab.converters.importing.readings import is_kernel
from edge_deeplab.converters.importing.tflite_layers import Layer, TfliteLayers
from edge_deeplab.errors import ConversionError
from edge_deeplab.models.official_config import VARIANTS, OfficialConfig
from edge_deeplab.runtime.flatbuffer import OperatorRecord, TensorRecord

POOLS = ("AVERAGE_POOL_2D", "MEAN")
HEADS = ("image_pooling", "aspp", "concat_projection", "decoder", "logits", "meta_architecture")
# Passed on the way from a branch to what joins it.
ENLARGED = frozenset({"RESIZE_BILINEAR"})
MOBILENET_V2_LAYERS, EDGETPU_LAYERS = 51, 58  # convolutions of the backbone

Form = tuple[bool, tuple[int, ...]]


def name_layers(layers: TfliteLayers) -> list[str]:
    """The official kernel name of every convolution.

    Raises: ConversionError naming the first convolution that fits no network of the official code.
    """
    tried = [(config, *_match(layers, config)) for config in _candidates(layers)]
    fitting = [names for _, names, _ in tried if names]
    if fitting:  # the kernels of a short network are among those of a long one
        return _Head(layers, max(fitting, key=lambda names: sum(map(bool, names)))).finish()
    first = layers.convolutions[0]
    came, allowed = f"{first.operator.layer} with a first kernel {first.form[1]}", ", ".join(VARIANTS)
    if tried:
        config, _, fit = max(tried, key=lambda one: one[2])
        name, form = _backbone(config)[fit]
        layer = layers.convolutions[min(fit, len(layers.convolutions) - 1)]
        came = f"convolution {fit}, {layer.operator.layer}, with a kernel {layer.form[1]}"
        allowed = f"{form[1]} for {name}"
    raise ConversionError(
        f"{layers.model.source}: its convolutions follow no backbone of the official code", came=came, allowed=allowed
    )


def _candidates(layers: TfliteLayers) -> Iterator[OfficialConfig]:
    """The networks whose backbone it may be."""
    channels = [layer.kernel.shape[3] for layer in layers.convolutions]
    first = layers.convolutions[0].form[1]
    if len(channels) >= MOBILENET_V2_LAYERS:
        width = round(channels[MOBILENET_V2_LAYERS - 1] / MOBILENET_V2_LAST, 2)
        for divisor in (None, 8, 1):
            if width > 0:
                yield OfficialConfig(model_variant="mobilenet_v2", depth_multiplier=width, divisible_by=divisor)
    if len(channels) >= EDGETPU_LAYERS:
        width = round(channels[EDGETPU_LAYERS - 1] / EDGETPU_LAST, 4)
        if width > 0:
            yield OfficialConfig(model_variant="mobilenet_edgetpu", depth_multiplier=width)
    for variant in VARIANTS:
        if variant in ("mobilenet_v2", "mobilenet_edgetpu"):
            continue
        for stride in OUTPUT_STRIDES:
            config = OfficialConfig(model_variant=variant, output_stride=stride)
            if next(iter(_backbone(config)))[1][1] == first:
                yield config
            if variant != "nas_pnasnet":  # of the others the stride changes no shape
                break


def _backbone(config: OfficialConfig) -> list[tuple[str, Form]]:
    """Kernel names of the backbone, in order, with their forms."""
    return [
        (name, (name.endswith("/depthwise_weights"), tuple(shape)))
        for name, shape in plan_layers(config).shapes.items()
        if is_kernel(name) and not name.startswith(HEADS)
    ]


def _match(layers: TfliteLayers, config: OfficialConfig) -> tuple[list[str], int]:
    """A name for each convolution of the backbone, "" for those of the head; none, and where it broke, for no fit.

    Converters may swap neighbours that do not read each other, so each kernel takes the first free layer of its form,
    or the one that bears its name.
    """
    names = [""] * len(layers.convolutions)
    free: dict[Form, list[int]] = {}
    for index, layer in enumerate(layers.convolutions):
        free.setdefault(layer.form, []).append(index)
    for position, (name, form) in enumerate(_backbone(config)):
        if not free.get(form):
            return [], position
        bearing = [index for index in free[form] if _bears(layers.convolutions[index], name.rpartition("/")[0])]
        index = bearing[0] if bearing else free[form][0]
        if not bearing and config.model_variant.startswith("nas_"):
            raise ConversionError(
                f"{layers.model.source}: the branches of a searched cell cannot be told apart by their order",
                came=config.model_variant, allowed="tensors with the official names",
                next_step="import its checkpoint or frozen graph",
            )  # fmt: skip
        free[form].remove(index)
        names[index] = name
    return names, len(names)


def _bears(layer: Layer, scope: str) -> bool:
    """Whether a tensor of a layer is named after an official scope."""
    tensors = (*layer.operator.inputs[1:], *layer.operator.outputs)
    parts = [part for tensor in tensors if tensor is not None for part in tensor.name.split(";")]
    return any(part.startswith(f"{scope}/") for part in parts)


@dataclass
class _Head:
    """Names what is left after the backbone.

    Attributes:
        layers: of the file.
        names: one for each convolution, "" where still to be found.
    """

    layers: TfliteLayers
    names: list[str]
    _left: list[int] = field(init=False)
    _last: int = field(init=False)  # index of the backbone's last operator that is a convolution

    def __post_init__(self) -> None:
        named = [layer for layer, name in zip(self.layers.convolutions, self.names) if name]
        self._last = max(layer.operator.index for layer in named)
        self._left = [index for index, name in enumerate(self.names) if not name]

    def finish(self) -> list[str]:
        """All names. Raises ConversionError for a layer that is of no official head."""
        features = self._features()
        for index in self._pop(self._reads_pool):
            self.names[index] = "image_pooling/weights"
        self._low_level(features)
        self._branches(features)
        self._rest()
        return self.names

    def _pop(self, holds: Callable[[Layer], bool]) -> list[int]:
        """Takes those of the layers left for which something holds."""
        taken = [index for index in self._left if holds(self.layers.convolutions[index])]
        self._left = [index for index in self._left if index not in taken]
        return taken

    def _reads_pool(self, layer: Layer) -> bool:
        before = self.layers.before(layer)
        return before is not None and before.name in POOLS

    def _features(self) -> OperatorRecord | None:
        """The operator that gives the features: the first, from the backbone's last on, that the head reads."""
        read = [self._behind_pool(self.layers.convolutions[index]) for index in self._left]
        made = [operator for operator in read if operator is not None and operator.index >= self._last]
        return min(made, key=lambda operator: operator.index, default=None)

    def _behind_pool(self, layer: Layer) -> OperatorRecord | None:
        before = self.layers.before(layer)
        while before is not None and before.name in POOLS:
            before = self.layers.source(before.inputs[0])
        return before

    def _low_level(self, features: OperatorRecord | None) -> None:
        """1x1 convolutions that read the backbone anywhere but at its end: the decoder's projections, deepest last."""

        def reads_inside(layer: Layer) -> bool:
            before = self.layers.before(layer)
            return before is not None and before is not features and before.index <= self._last

        taken = self._pop(reads_inside)
        for stage, index in enumerate(taken):
            self.names[index] = f"decoder/feature_projection0{f'_{stage}' if stage else ''}/weights"

    def _reads(self, layer: Layer, operator: OperatorRecord | None) -> bool:
        return operator is not None and self.layers.before(layer) is operator

    def _branches(self, features: OperatorRecord | None) -> None:
        """The ASPP, the dense prediction cell, or the summed logits."""
        join = next((operator for operator in self.layers.model.operators if operator.name == "CONCATENATION"
                     and self._joins_head(operator, features)), None)  # fmt: skip
        if join is not None:
            self._joined(join, features)
            return
        direct = self._pop(lambda layer: self._reads(layer, features))
        if not self._left or not direct:
            direct.sort(key=lambda index: self.layers.convolutions[index].does.rate_hw)
            for position, index in enumerate(direct):  # DeepLabv1 and v2: the branches are the logits
                self.names[index] = f"logits/semantic{f'_{position}' if position else ''}/weights"
            return
        self._name_branches([[index] for index in direct])

    def _joins_head(self, operator: OperatorRecord, features: OperatorRecord | None) -> bool:
        branches = [self._branch(tensor) for tensor in operator.inputs]
        return features is not None and operator.index > features.index and any(
            branch and (self._reads(self.layers.convolutions[branch[0]], features) or
                        self.names[branch[-1]] == "image_pooling/weights")
            for branch in branches
        )  # fmt: skip

    def _branch(self, tensor: TensorRecord | None) -> list[int]:
        """The convolutions of one branch, first to last: one, or a depthwise and a pointwise one."""
        layer = self.layers.layer_of(self.layers.source(tensor, ENLARGED))
        if layer is None:
            return []
        chain = [self.layers.convolutions.index(layer)]
        before = self.layers.layer_of(self.layers.before(layer))
        if before is not None and before.is_depthwise and self.layers.convolutions.index(before) in self._left:
            chain.insert(0, self.layers.convolutions.index(before))
        return chain

    def _joined(self, join: OperatorRecord, features: OperatorRecord | None) -> None:
        """Names the branches in the order they are joined, and the projection behind."""
        branches = [branch for branch in map(self._branch, join.inputs) if branch]
        taken = {index for branch in branches for index in branch}
        self._left = [index for index in self._left if index not in taken]
        plain = any(len(branch) == 1 and self._reads(self.layers.convolutions[branch[0]], features)
                    for branch in branches)  # fmt: skip
        projection = self._pop(lambda layer: self._reads(layer, join) and layer.kernel.shape[0] == 1
                               and not layer.is_depthwise and bool(layer.does.activation))  # fmt: skip
        if plain:
            self._name_branches([branch for branch in branches if not self.names[branch[-1]]])
        else:
            for number, branch in enumerate(branches):
                self._name_branch(branch, f"meta_architecture/branch{number}")
        for index in projection[:1]:
            self.names[index] = f"{'' if plain else 'meta_architecture/'}concat_projection/weights"

    def _name_branches(self, branches: list[list[int]]) -> None:
        for number, branch in enumerate(branches):
            self._name_branch(branch, f"aspp{number}")

    def _name_branch(self, branch: list[int], scope: str) -> None:
        if len(branch) == 2:
            self.names[branch[0]] = f"{scope}_depthwise/depthwise_weights"
            self.names[branch[1]] = f"{scope}_pointwise/weights"
        else:
            self.names[branch[0]] = f"{scope}/weights"

    def _rest(self) -> None:
        """The decoder's convolutions, stage by stage, and the logits."""
        stages = sum(name.startswith("decoder/feature_projection0") for name in self.names)
        has_logits = len(self._left) != stages  # else each stage is one convolution, and gives them
        per_stage = (len(self._left) - has_logits) // stages if stages else 0
        is_separable = bool(self._left) and self.layers.convolutions[self._left[0]].is_depthwise
        wanted = [name for stage in range(stages) for name in _stage_names(per_stage, is_separable, stage)]
        wanted += ["logits/semantic/weights"] if has_logits else []
        if len(wanted) != len(self._left):
            layer = self.layers.convolutions[self._left[0]] if self._left else self.layers.convolutions[-1]
            raise ConversionError(
                f"{self.layers.model.source}: its head is none of the official code",
                came=f"{len(self._left)} convolutions left, from {layer.operator.layer} on",
                allowed="a decoder and the logits" if stages else "the logits",
            )
        for index, name in zip(self._left, wanted):
            self.names[index] = name
        self._left = []


def _stage_names(count: int, is_separable: bool, stage: int) -> list[str]:
    """Kernel names of one decoder stage of so many convolutions."""
    end = f"_{stage}" if stage else ""
    if is_separable and count == 2:
        scope = f"decoder/decoder_split_sep_conv0{end}"
        return [f"{scope}_depthwise/depthwise_weights", f"{scope}_pointwise/weights"]
    if is_separable:
        return [
            f"decoder/decoder_conv{index}{end}_{part}" for index in range(2)
            for part in ("depthwise/depthwise_weights", "pointwise/weights")
        ]  # fmt: skip
    if count == 1:
        return [f"decoder/decoder_conv0{end}/weights"]
    return [f"decoder/decoder_conv0{end}/decoder_conv0{end}_{index}/weights" for index in (1, 2)]
