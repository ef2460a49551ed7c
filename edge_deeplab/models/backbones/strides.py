"""Turning strides past the output stride into atrous rates (DeepLabv3, Chen et al. 2017, section 3.1)."""

from __future__ import annotations

from edge_deeplab.errors import UsageError

OUTPUT_STRIDES = (8, 16, 32)


def check_multi_grid(multi_grid: tuple[int, ...] | None, length: int) -> tuple[int, ...]:
    """The factors of the rate in a backbone's last units; ones for None. Raises UsageError for another length."""
    grid = tuple(multi_grid) if multi_grid else (1,) * length
    if len(grid) != length or min(grid) < 1:
        raise UsageError("multi_grid", came=multi_grid, allowed=f"{length} factors, each 1 or more, for this backbone")
    return grid


class StrideKeeper:
    """Walks through a backbone, holding the stride reached and the rate in force.

    A block whose stride is taken away keeps the old rate; the new rate begins with the next block, as in the official
    code (slim's conv_blocks), so that the kernels see the neighbours they were trained on.
    """

    def __init__(self, output_stride: int) -> None:
        if output_stride not in OUTPUT_STRIDES:
            raise UsageError("output_stride", came=output_stride, allowed=", ".join(map(str, OUTPUT_STRIDES)))
        self.output_stride = output_stride
        self.stride = 1
        self.rate = 1

    def step(self, stride: int) -> tuple[int, int]:
        """The (stride, rate) the next block must use for a nominal stride of 1 or 2."""
        rate = self.rate
        if stride == 1:
            return 1, rate
        if self.stride >= self.output_stride:
            self.rate *= stride
            return 1, rate
        self.stride *= stride
        return stride, rate
