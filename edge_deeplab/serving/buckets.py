"""Which of a model's input sizes a picture goes to, so that pictures of one size share a run of the model.

size_hw = choose_size((1080, 1920), ((256, 256), (144, 256)))     # (144, 256)
"""

from __future__ import annotations

import math


def choose_size(picture_hw: tuple[int, int], sizes_hw: tuple[tuple[int, int], ...]) -> tuple[int, int]:
    """The size of the nearest shape; of several of that shape the smallest that does not shrink, else the largest.

    picture_hw, sizes_hw: height and width in pixels; at least one size.
    """
    shape = math.log(picture_hw[0] / picture_hw[1])

    def distance(size_hw: tuple[int, int]) -> float:
        return abs(math.log(size_hw[0] / size_hw[1]) - shape)

    nearest = min(map(distance, sizes_hw))
    alike = sorted((size for size in sizes_hw if distance(size) <= nearest + 1e-9), key=math.prod)
    whole = (size for size in alike if size[0] >= picture_hw[0] and size[1] >= picture_hw[1])
    return next(whole, alike[-1])
