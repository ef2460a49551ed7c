"""The dense prediction cell (Chen et al. 2018, arXiv 1809.04184): searched branches in ASPP's place."""

from __future__ import annotations

from typing import Any

from edge_deeplab.models.blocks import Blocks, Feature
from edge_deeplab.models.heads.sizes import Sizes

FILTERS = 256
DROPOUT = 0.1
SCOPE = "meta_architecture"


def build_dense_prediction_cell(
    blocks: Blocks, x: Feature, *, branches: tuple[dict[str, Any], ...], output_stride: int, sizes: Sizes
) -> Feature:
    """(N, h, w, 256) from features at the output stride. The cell's rates are for a stride of 16, doubled at 8.

    Args:
        branches: as official_config.read_cell gives them.
    """
    made: list[Feature] = []
    for index, branch in enumerate(branches):
        name, scope = f"cell_{index}", f"{SCOPE}/branch{index}"
        source = x if branch["input"] < 0 else made[branch["input"]]
        if branch["op"] == "pyramid_pooling":
            made.append(_pool(blocks, source, name, scope, branch["grid_size"], output_stride, sizes))
        elif branch["kernel"] in (1, [1, 1]):
            made.append(blocks.conv(source, FILTERS, name, scope=scope))
        else:
            height, width = (rate * (16 // output_stride) for rate in branch["rate"])
            kernel = branch["kernel"] if isinstance(branch["kernel"], int) else branch["kernel"][0]
            made.append(blocks.separable(source, FILTERS, name, kernel=kernel, rate=(height, width), scope=scope))
    joined = blocks.concat(made, "cell_concat")
    joined = Feature(blocks.plain("Dropout", DROPOUT, name="cell_dropout")(joined.tensor), joined.scale)
    return blocks.conv(joined, FILTERS, "cell_project", scope=f"{SCOPE}/concat_projection")


def _pool(
    blocks: Blocks, x: Feature, name: str, scope: str, grid: list[int], output_stride: int, sizes: Sizes
) -> Feature:
    if sizes.crop_hw is None:
        raise ValueError("pyramid pooling needs a crop")
    window = sizes.pooling_window(output_stride, (grid[0], grid[1]))
    pooled, _ = blocks.average(x, window, f"{name}_mean")
    pooled = blocks.conv(pooled, FILTERS, name, scope=scope)
    return sizes.resize(blocks, pooled, output_stride, f"{name}_resize")
