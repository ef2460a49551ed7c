"""COCO's run lengths: a mask as a short text that pycocotools and every COCO tool reads.

    encode_rle(mask)      # {"size": [H, W], "counts": "..."}

Format: pixels column by column, runs of 0 and 1 in turn beginning with 0; from the third on, a run is written as the
difference to the one two before; each number in groups of 5 bits, low first, a sixth bit saying that more follow,
48 added to make it a character (cocoapi, common/maskApi.c, rleToString).
"""

from __future__ import annotations

from typing import Any

import numpy as np


def encode_rle(mask: np.ndarray) -> dict[str, Any]:
    """One mask as COCO writes it.

    mask: (H, W) bool.
    Returns: "size" [H, W] and "counts", printable ASCII.
    """
    flat = mask.T.reshape(-1)
    edges = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    bounds = np.concatenate([[0], edges, [flat.size]])
    runs = np.diff(bounds)
    if flat.size and flat[0]:
        runs = np.concatenate([[0], runs])
    return {"size": [int(side) for side in mask.shape], "counts": _as_text(runs.tolist())}


def _as_text(runs: list[int]) -> str:
    characters = bytearray()
    for index, run in enumerate(runs):
        left = run - runs[index - 2] if index > 2 else run
        while True:
            group = left & 0x1F
            left >>= 5
            is_more = left != (-1 if group & 0x10 else 0)
            characters.append(group + (0x20 if is_more else 0) + 48)
            if not is_more:
                break
    return characters.decode("ascii")
