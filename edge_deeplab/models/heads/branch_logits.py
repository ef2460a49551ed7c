"""The last convolutions: one 1x1 (v3, v3+), or the summed atrous branches of DeepLabv1 and v2."""

from __future__ import annotations

from edge_deeplab.models.blocks import Blocks, Feature


def build_branch_logits(
    blocks: Blocks, x: Feature, *, classes: int, rates: tuple[int, ...] = (1,), kernel: int = 1
) -> Feature:
    """(N, h, w, classes): the sum over rates of convolutions with bias.

    One rate of 12 and a 3x3 kernel is DeepLabv1's large field of view, four rates are DeepLabv2's ASPP (Chen et al.
    2016, section 3.2).
    """
    branches = []
    for index, rate in enumerate(rates):
        suffix = f"_{index}" if index else ""
        branches.append(
            blocks.conv(
                x,
                classes,
                f"logits{suffix}",
                kernel=kernel,
                rate=rate,
                activation=None,
                batch_norm=False,
                scope=f"logits/semantic{suffix}",
            )
        )
    if len(branches) == 1:
        return branches[0]
    return Feature(blocks.plain("Add", name="logits_sum")([branch.tensor for branch in branches]))
