"""PNASNet (Liu et al. 2018) and HNASNet, the network of Auto-DeepLab (Liu et al. 2019), as DeepLab backbones.

Both are one cell laid twelve times over a stem. A cell reads the output of the cell before it and of the one before
that, and adds five pairs of operations on what it has so far.

    ends = build_nas(blocks, image, variant="nas_hnasnet", output_stride=8)
"""

from __future__ import annotations

from dataclasses import dataclass, field

from edge_deeplab.errors import UsageError, nearest
from edge_deeplab.models.backbones.endpoints import Endpoints
from edge_deeplab.models.backbones.strides import OUTPUT_STRIDES
from edge_deeplab.models.blocks import Blocks, Feature

EPSILON = 1e-3
MOMENTUM = 0.9997
STEM_CHANNELS = (64, 64, 128)
CELL_CHANNELS = 20
STEM = -1  # in a table of taps


@dataclass(frozen=True)
class Genotype:
    """What a search found.

    Attributes:
        scope: of the official variables.
        operations: ten: (operation, kernel) and the state each works on; two by two they are added, which makes a new
            state. States 0 and 1 are the cell's inputs, the newer first.
        levels: output stride -> the level of each cell: 0 is stride 4, 3 is stride 32.
        taps: nominal stride -> the cell whose output the decoder reads there.
    """

    scope: str
    operations: tuple[tuple[str, int, int], ...]
    levels: dict[int, tuple[int, ...]]
    taps: dict[int, int]


GENOTYPES = {
    "nas_pnasnet": Genotype(
        scope="pnasnet",
        operations=(
            ("separable", 5, 1), ("max_pool", 3, 1),
            ("separable", 7, 0), ("max_pool", 3, 0),
            ("separable", 5, 0), ("separable", 3, 0),
            ("separable", 3, 4), ("max_pool", 3, 0),
            ("separable", 3, 1), ("none", 1, 0),
        ),
        levels={8: (1,) * 12, 16: (1,) * 4 + (2,) * 8, 32: (1,) * 4 + (2,) * 4 + (3,) * 4},
        taps={4: STEM, 8: 3, 16: 7},
    ),
    "nas_hnasnet": Genotype(
        scope="hnasnet",
        operations=(
            ("atrous", 5, 1), ("separable", 3, 0),
            ("separable", 3, 1), ("atrous", 3, 0),
            ("separable", 3, 3), ("separable", 3, 1),
            ("separable", 5, 4), ("separable", 5, 2),
            ("separable", 5, 3), ("atrous", 5, 5),
        ),
        levels=dict.fromkeys(OUTPUT_STRIDES, (0, 0, 0, 1, 2, 1, 2, 2, 3, 3, 2, 1)),
        taps={4: 2, 8: 5, 16: 7},
    ),
}  # fmt: skip


def build_nas(
    blocks: Blocks, image: Feature, *, variant: str, output_stride: int, stem_filters: int = CELL_CHANNELS,
    remove_os32_stride: bool = False,
) -> Endpoints:  # fmt: skip
    """The features of a searched network.

    Args:
        image: (N, H, W, 3) float32, RGB in -1..1.
        variant: "nas_pnasnet" or "nas_hnasnet".
        output_stride: 8, 16 or 32. HNASNet takes any of them and has stride 8, as in the official code.
        stem_filters: channels of each of a cell's five parts at level 0 (the flag nas_stem_output_num_conv_filters); a
            level up doubles them.
        remove_os32_stride: cells at level 3 stay at stride 16 (the flag nas_remove_os32_stride).
    Returns: the features, after ReLU, with 5 * stem_filters * 2 ** level channels, and the low-level ones at the
        strides 4, 8 and 16, linear.
    Raises: UsageError for another variant or stride.
    """
    if variant not in GENOTYPES:
        raise UsageError("NAS backbone", came=variant, allowed=nearest(variant, GENOTYPES))
    genotype = GENOTYPES[variant]
    if output_stride not in genotype.levels:
        raise UsageError("output_stride", came=output_stride, allowed=", ".join(map(str, genotype.levels)))
    blocks.epsilon, blocks.momentum = EPSILON, MOMENTUM
    before, x = _stem(blocks, image, genotype.scope)
    outputs = {STEM: x}
    sides_at = {0: _sides(x)}
    level_before = 0
    for index, level in enumerate(genotype.levels[output_stride]):
        keeps_size = remove_os32_stride and 3 in (level, level_before)
        stride = 2 if level > level_before and not keeps_size else 1
        newer = x
        if level < level_before and not keeps_size:
            # 2 n - 1, also where sides are even and the level had 2 n
            size = _scaled(x, 2.0) if blocks.grid == "corners" else sides_at[level]
            newer = blocks.resize(x, size, f"cell_{index}_resize", like=x.tensor, scale=2.0)
        cell = _Cell(blocks, f"cell_{index}", f"{genotype.scope}/cell_{index}", stem_filters * 2**level, stride)
        before, x = x, cell.lay(newer, before, genotype)
        outputs[index] = x
        sides_at.setdefault(level, _sides(x))
        level_before = level
    low_level = {stride: outputs[index] for stride, index in genotype.taps.items()}
    return Endpoints(blocks.activate_beside(x, "relu", "cells_act"), low_level)


def _stem(blocks: Blocks, image: Feature, scope: str) -> tuple[Feature, Feature]:
    """The second convolution's output at stride 2, and the third's at stride 4, both linear."""
    x, outputs = image, []
    for index, (filters, stride) in enumerate(zip(STEM_CHANNELS, (2, 1, 2), strict=True)):
        if index:
            is_read_twice = index == 2  # by a cell too
            x = (blocks.activate_beside if is_read_twice else blocks.activate)(x, "relu", f"stem_{index}_pre_act")
        x = blocks.conv(
            x, filters, f"stem_{index}", kernel=3, stride=stride, activation=None, batch_norm=False, bias=False,
            explicit_padding=True, scope=f"{scope}/conv{index}",
        )  # fmt: skip
        x = blocks.normalise(x, f"stem_{index}", scope=f"{scope}/conv{index}_bn")
        outputs.append(x)
    return outputs[1], outputs[2]


def _sides(x: Feature) -> tuple[int, int] | None:
    """Height and width; None where they are free."""
    height, width = x.tensor.shape[1:3]
    return None if height is None or width is None else (height, width)


def _scaled(x: Feature, scale: float) -> tuple[int, int] | None:
    """The sides at another scale with aligned corners; None where they are free."""
    sides = _sides(x)
    return sides and (int((sides[0] - 1) * scale + 1), int((sides[1] - 1) * scale + 1))


@dataclass
class _Cell:
    """Lays one cell.

    Attributes:
        name, scope: what our layers' names begin with, and the scope of its official variables.
        filters: channels of its states.
        stride: of the operations on its inputs.
        states: what the operations work on, the inputs first.
    """

    blocks: Blocks
    name: str
    scope: str
    filters: int
    stride: int
    states: list[Feature] = field(default_factory=list)
    _rectified: dict[int, Feature] = field(default_factory=dict)

    def lay(self, newer: Feature, older: Feature, genotype: Genotype) -> Feature:
        """The five sums, concatenated: (N, h, w, 5 * filters), linear.

        Args:
            newer: the output of the cell before, at the size this cell starts from.
            older: that of the cell before it, of any size.
        """
        blocks = self.blocks
        older = blocks.resize(older, _sides(newer), f"{self.name}_older_resize", like=newer.tensor)
        if older.channels != self.filters:
            older = blocks.activate_beside(older, "relu", f"{self.name}_older_pre_act")
            older = self._project(older, f"{self.name}_older", "prev_1x1", "prev_bn")
        newer = blocks.activate_beside(newer, "relu", f"{self.name}_newer_pre_act")
        self.states = [self._project(newer, f"{self.name}_newer", "1x1", "beginning_bn"), older]
        for pair in range(len(genotype.operations) // 2):
            left, right = genotype.operations[2 * pair : 2 * pair + 2]
            parts = [self._operate(*left, f"{pair}_left"), self._operate(*right, f"{pair}_right")]
            added = blocks.plain("Add", name=f"{self.name}_{pair}_add")([part.tensor for part in parts])
            self.states.append(Feature(added))
        return blocks.concat(self.states[2:], f"{self.name}_concat")

    def _operate(self, operation: str, kernel: int, state: int, place: str) -> Feature:
        """One operation on a state, laid at `place`, such as "0_left"."""
        name, scope = f"{self.name}_{place}", f"comb_iter_{place.replace('_', '/')}"
        stride = self.stride if state < 2 else 1
        if operation == "max_pool":
            return self._max_pool(self.states[state], kernel, stride, f"{name}_pool")
        if operation == "none":
            if stride == 1:
                return self.states[state]
            return self._project(self._rectify(state), name, f"{scope}/1x1", f"{scope}/bn_1", stride=stride)
        x = self._rectify(state)
        if operation == "atrous":
            if stride == 2:  # the official code shrinks the picture, and spares the rate
                x = self.blocks.resize(x, _scaled(x, 0.5), f"{name}_resize", like=x.tensor, scale=0.5)
            x = self.blocks.conv(
                x, self.filters, name, kernel=kernel, rate=2 if stride == 1 else 1, activation=None, batch_norm=False,
                bias=False, scope=f"{self.scope}/{scope}/atrous_{kernel}x{kernel}",
            )  # fmt: skip
            return self.blocks.normalise(x, name, scope=f"{self.scope}/{scope}/bn_atr_{kernel}x{kernel}")
        x = self._separable(x, kernel, stride, f"{name}_1", f"{scope}/{{}}_{kernel}x{kernel}_1")
        x = self.blocks.activate(x, "relu", f"{name}_2_pre_act")
        return self._separable(x, kernel, 1, f"{name}_2", f"{scope}/{{}}_{kernel}x{kernel}_2")

    def _separable(self, x: Feature, kernel: int, stride: int, name: str, scope: str) -> Feature:
        """Depthwise, pointwise, and only then batch norm. scope: with a gap for the kind of layer."""
        separable = f"{self.scope}/{scope.format('separable')}"
        x = self.blocks.depthwise(
            x, f"{name}_depthwise", kernel=kernel, stride=stride, activation=None, batch_norm=False,
            explicit_padding=True, scope=separable,
        )  # fmt: skip
        x = self.blocks.conv(
            x, self.filters, f"{name}_pointwise", activation=None, batch_norm=False, bias=False, scope=separable,
            kernel_variable="pointwise_weights",
        )  # fmt: skip
        return self.blocks.normalise(x, f"{name}_pointwise", scope=f"{self.scope}/{scope.format('bn_sep')}")

    def _max_pool(self, x: Feature, kernel: int, stride: int, name: str) -> Feature:
        """A max pool that takes no padding for a value. From the origin, its windows stand around every other pixel."""
        is_strided_apart = stride > 1 and self.blocks.grid == "origin"
        strides = 1 if is_strided_apart else stride
        pool = self.blocks.plain("MaxPooling2D", kernel, strides=strides, padding="same", name=name)
        x = Feature(pool(x.tensor))
        return self.blocks.subsample(x, stride, f"{name}_subsample") if is_strided_apart else x

    def _rectify(self, state: int) -> Feature:
        """A state after ReLU: one layer for all the operations that begin with it."""
        if state not in self._rectified:
            self._rectified[state] = self.blocks.activate_beside(
                self.states[state], "relu", f"{self.name}_state_{state}_act"
            )
        return self._rectified[state]

    def _project(self, x: Feature, name: str, conv: str, batch_norm: str, *, stride: int = 1) -> Feature:
        """1x1 and batch norm; conv, batch_norm: their scopes in the cell's."""
        x = self.blocks.conv(
            x, self.filters, name, stride=stride, activation=None, batch_norm=False, bias=False,
            scope=f"{self.scope}/{conv}",
        )  # fmt: skip
        return self.blocks.normalise(x, name, scope=f"{self.scope}/{batch_norm}")
