"""The proof of an import: both networks on the same pictures, and what may differ.

difference = compare(theirs, ours)      # logits (N, H, W, classes)
difference.holds, str(difference)
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

# float32 sums in another order; the official code itself differs from its own export by 1.6e-5 of the largest logit
# (measured: 1.1e-4 where they reach 7).
LOGITS_TOLERANCE = 5e-4
LARGEST_LOGIT = 7.0
# Where two classes are as good as equal, rounding decides.
LABELS_TOLERANCE = 1e-3


@dataclass(frozen=True, kw_only=True)
class Difference:
    """How two networks' logits differ.

    Attributes:
        largest: max|theirs - ours|.
        largest_logit: max|theirs|.
        unequal, pixels: pixels whose best class differs, and all.
        pictures: how many were compared.
    """

    largest: float
    largest_logit: float
    unequal: int
    pixels: int
    pictures: int

    @property
    def allowed(self) -> float:
        """What `largest` may be: 5e-4 where logits reach 7, and in proportion above."""
        return LOGITS_TOLERANCE * max(1.0, self.largest_logit / LARGEST_LOGIT)

    @property
    def equal_share(self) -> float:
        """Share of pixels with the same best class, 0..1."""
        return 1.0 - self.unequal / self.pixels

    @property
    def holds(self) -> bool:
        """Whether the two are one network."""
        return self.largest <= self.allowed and self.unequal <= LABELS_TOLERANCE * self.pixels

    def __str__(self) -> str:
        return (
            f"logits differ by at most {self.largest:.2g} (allowed {self.allowed:.2g}; they reach "
            f"{self.largest_logit:.1f}), labels equal in {100 * self.equal_share:.4f} % "
            f"of {self.pixels} pixels of {self.pictures} pictures"
        )


def compare(theirs: np.ndarray, ours: np.ndarray) -> Difference:
    """Compares logits (N, H, W, classes) of one size."""
    return Difference(
        largest=float(np.abs(theirs - ours).max()) if np.isfinite(ours).all() else float("inf"),
        largest_logit=float(np.abs(theirs).max()),
        unequal=int((theirs.argmax(axis=-1) != ours.argmax(axis=-1)).sum()),
        pixels=int(np.prod(theirs.shape[:-1])), pictures=int(theirs.shape[0]),
    )  # fmt: skip


def pixels_of(pictures: Iterable[np.ndarray], size_hw: tuple[int, int]) -> np.ndarray:
    """Pictures (h, w, 3) uint8 RGB, brought to a size. Returns: (N, H, W, 3) float32, whole numbers 0..255."""
    from edge_deeplab.imaging.resize import resize_image

    return np.stack([resize_image(picture, size_hw) for picture in pictures]).astype(np.float32)
