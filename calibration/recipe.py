"""What a calibration set is asked to be; light enough for a command line to read its defaults from.

recipe = SamplingRecipe(count=100, size_hw=(192, 192))
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edge_deeplab.recipe import check, setting


@dataclass(frozen=True, kw_only=True)
class SamplingRecipe:
    """How many samples, how large, and how they are chosen. Raises RecipeError for a value out of range."""

    count: int = setting(200, low=1, high=2000, help="samples to choose")
    seed: int = setting(0, low=0, high=2**32 - 1, help="seed of the choice")
    size_hw: tuple[int, int] = setting((256, 256), low=16, high=4096, help="height and width of the samples, pixels")
    fit: Literal["stretch", "letterbox"] = setting("stretch", help="how a picture of another shape is brought to it")
    coverage: float = setting(0.5, low=0.0, high=1.0, help="share chosen to lie far apart; the rest is drawn at random")

    def __post_init__(self) -> None:
        check(self)
