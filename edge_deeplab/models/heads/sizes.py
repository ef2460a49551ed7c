"""The sizes the official code works with: (dim - 1) / stride + 1 of the crop, or free ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edge_deeplab.models.blocks import Blocks, Feature


def scale_dimension(dimension: int, scale: float) -> int:
    """A side at another scale, aligned corners kept: the official code's function of this name."""
    return int((float(dimension) - 1.0) * scale + 1.0)


@dataclass(frozen=True)
class Sizes:
    """The crop of one pass of a network.

    Attributes:
        crop_hw: None where sizes are free.
        pooling_crop_hw: the crop the image-pooling window is computed from.
        image: the pass's input tensor, whose size free ones follow.
    """

    crop_hw: tuple[int, int] | None
    pooling_crop_hw: tuple[int, int] | None
    image: Any

    def at(self, stride: int) -> tuple[int, int] | None:
        """Height and width at a stride."""
        if self.crop_hw is None:
            return None
        return scale_dimension(self.crop_hw[0], 1.0 / stride), scale_dimension(self.crop_hw[1], 1.0 / stride)

    def pooling_window(self, stride: float, grid_hw: tuple[int, int] = (1, 1)) -> tuple[int, int]:
        """The image-pooling window in features at a stride, a part of it where a grid divides it."""
        crop = self.pooling_crop_hw or self.crop_hw
        assert crop is not None, "free sizes pool the whole picture"
        height, width = (scale_dimension(side, 1.0 / (stride * part)) for side, part in zip(crop, grid_hw))
        return height, width

    def resize(self, blocks: Blocks, x: Feature, stride: int, name: str) -> Feature:
        """x enlarged or shrunk to the size at a stride."""
        return blocks.resize(x, self.at(stride), name, like=self.image, scale=1.0 / stride)
