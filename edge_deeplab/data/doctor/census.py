"""What a split is made of: pixels and pictures of every class, void, sizes; and the class weights they suggest.

census = Census.of(facts, classes=21)
census.median_frequency(), census.enet()
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from edge_deeplab.data.doctor.examine import Facts

ENET_OFFSET = 1.02
LARGEST_WEIGHT = 50.0  # ENet's formula ends there (1 / ln 1.02 = 50.5); median frequency has no end of its own


@dataclass(frozen=True, kw_only=True)
class Census:
    """One split.

    Attributes:
        pixels: of each class, (classes,) int64.
        pictures: that hold each class, (classes,) int64.
        shared_pixels: of the pictures that hold the class, void left out, (classes,) int64.
        void, unknown: pixels that are ignored, and that mean nothing.
        sizes: (height, width) -> pictures.
    """

    pairs: int
    pixels: np.ndarray = field(repr=False)
    pictures: np.ndarray = field(repr=False)
    shared_pixels: np.ndarray = field(repr=False)
    void: int
    unknown: int
    sizes: Counter[tuple[int, int]] = field(repr=False)

    @classmethod
    def of(cls, facts: Sequence[Facts], *, classes: int) -> Census:
        """Adds pairs up."""
        pixels, pictures, shared = (np.zeros(classes, np.int64) for _ in range(3))
        void = unknown = 0
        for one in facts:
            counts, ignored, meaningless = one.label_counts(classes)
            pixels += counts
            pictures += counts > 0
            shared += np.where(counts > 0, counts.sum(), 0)
            void += ignored
            unknown += meaningless
        sizes = Counter(one.size_hw for one in facts if one.size_hw is not None)
        return cls(
            pairs=len(facts), pixels=pixels, pictures=pictures, shared_pixels=shared, void=void, unknown=unknown,
            sizes=sizes,
        )  # fmt: skip

    @property
    def shares(self) -> np.ndarray:
        """Of each class among the pixels that count: (classes,) float64."""
        return self.pixels / max(int(self.pixels.sum()), 1)

    @property
    def void_share(self) -> float:
        """Of all pixels."""
        total = int(self.pixels.sum()) + self.void + self.unknown
        return self.void / total if total else 0.0

    def median_frequency(self) -> np.ndarray:
        """Median frequency balancing (Eigen and Fergus 2015, section 6.3.2; SegNet): median(f) / f of each class.

        f is the class's pixels by all pixels of the pictures that hold it. A class never seen has weight 1, and no
        weight exceeds LARGEST_WEIGHT. Returns: (classes,) float64.
        """
        seen = self.pixels > 0
        weights = np.ones(len(self.pixels))
        if seen.any():
            frequency = self.pixels[seen] / self.shared_pixels[seen]
            weights[seen] = np.minimum(np.median(frequency) / frequency, LARGEST_WEIGHT)
        return weights

    def enet(self) -> np.ndarray:
        """ENet's weights (Paszke et al. 2016, section 5.2): 1 / ln(1.02 + share); between 1.4 and 50.5, (classes,)."""
        return 1 / np.log(ENET_OFFSET + self.shares)
