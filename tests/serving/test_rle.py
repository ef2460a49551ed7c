"""COCO's run lengths against pycocotools, which wrote the format."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco

from edge_deeplab.serving.rle import encode_rle


@given(
    height=st.integers(1, 70), width=st.integers(1, 70), share=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)  # fmt: skip
def test_counts_are_those_of_pycocotools(height: int, width: int, share: float, seed: int) -> None:
    mask = np.random.default_rng(seed).random((height, width)) < share
    ours = encode_rle(mask)
    theirs = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert ours == {"size": [height, width], "counts": theirs["counts"].decode()}


@pytest.mark.parametrize("side", [1, 2000])
def test_pycocotools_reads_it_back(side: int) -> None:
    """A long run takes several characters, a short one after it a negative difference."""
    mask = np.zeros((side, 3), bool)
    mask[side // 2 :, 1] = True
    assert np.array_equal(coco.decode(encode_rle(mask)).astype(bool), mask)
