"""People cut out of labelled pictures with soft edges: the recipe of the truth that composites are made of.

    cutout = cut_out(pair.name, image_rgb, mask)         # None where the mask is not good enough
    cutout.colours, cutout.alpha

1. A band around the mask's edge is taken as unknown and solved for alpha: closed-form matting (Levin, Lischinski,
   Weiss, "A Closed-Form Solution to Natural Image Matting", TPAMI 2008), its Laplacian applied by window sums and never
   stored (He, Sun, Tang, "Fast Matting Using Large Kernel Matting Laplacian Matrices", CVPR 2010), with a weak pull
   towards the mask so that a smooth background cannot spread it.
2. Foreground colours are estimated by blur fusion, twice (Forte, "Approximate Fast Foreground Colour Estimation",
   ICIP 2021), so that nothing of the old background is left in the edge.
3. What is not fit is left out: a mask that leaves the picture elsewhere than below, an edge that matting and mask see
   at different places, a band that stayed gray because person and background look alike.

Whatever the matting got wrong, a composite made of these colours and this alpha has exactly this truth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

SPECK_PX = 5  # a median of this side takes threads and specks off the mask
# In shares of the picture's diagonal (560 px at 336 x 448): how far the unknown band reaches to both sides of the
# mask's edge. Hair stands out further than masks are wrong inwards.
BAND_OUT_SHARE = 0.016
BAND_IN_SHARE = 0.009
WINDOW_PX = 1  # half width of the Laplacian's windows: 3 x 3, as Levin et al. have them
EPSILON = 1e-5  # their regularisation, in squared intensities of 0..1
PULL = 0.05  # of the mask on alpha, against the Laplacian's 9 per pixel
PULL_SIGMA_PX = 1.5  # the mask it pulls to has an edge this soft
ITERATIONS = 100  # about 40 are enough
TOLERANCE = 1e-3  # of the residual, relative
# Alpha is stretched so that these become 0 and 1: a faint veil over the whole band is no hair.
VEIL = 0.06
FUSION_PX = (90, 6)  # blur fusion's windows, first and second pass, for a picture of FUSION_SIDE
FUSION_SIDE = 448

# A cut-out is kept when
MIN_HEIGHT_SHARE = 0.5  # so much of the picture's height is left above where a side is touched,
MIN_AREA_SHARE = 0.12  # the person covers so much of what is left,
MAX_GRAY = 0.30  # alpha * (1 - alpha) * 4 over the band is at most this in the mean,
MIN_MASK_IOU = 0.982  # and matting and mask agree so far on who is person.
MIN_MAIN_SHARE = 0.98  # nearly all of it is one piece


@dataclass(frozen=True)
class Cutout:
    """A person without a background.

    Attributes:
        name: of the picture.
        colours: (h, w, 3) float32 in 0..255, RGB, meaningful where alpha is above 0.
        alpha: (h, w) float32 in 0..1.
        is_bust: whether the person goes on below the last row; else it ends within.
    """

    name: str
    colours: np.ndarray
    alpha: np.ndarray
    is_bust: bool


def cut_out(name: str, image: np.ndarray, mask: np.ndarray) -> Cutout | None:
    """The person of a labelled picture, above where it leaves the picture at a side.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask: (H, W) bool.

    Returns: None where the picture is not fit for it (this module's docstring, 3).
    """
    mask = cv2.medianBlur(mask.astype(np.uint8), SPECK_PX).astype(bool)
    rows = _rows_clear_of_sides(mask)
    if rows < MIN_HEIGHT_SHARE * mask.shape[0] or mask[0].any():
        return None
    image, mask = image[:rows], mask[:rows]
    if mask.mean() < MIN_AREA_SHARE or _main_share(mask) < MIN_MAIN_SHARE:
        return None
    band = unknown_band(mask)
    alpha = solve_matte(image, mask, band)
    gray = float((4 * alpha * (1 - alpha))[band].mean())
    agreed = (alpha > 0.5) & mask
    if gray > MAX_GRAY or agreed.sum() < MIN_MASK_IOU * ((alpha > 0.5) | mask).sum():
        return None
    return _trimmed(Cutout(name, foreground_colours(image, alpha), alpha, is_bust=bool(mask[-1].any())))


def unknown_band(mask: np.ndarray) -> np.ndarray:
    """The pixels near a mask's edge whose alpha is to be found. mask: (H, W) bool. Returns: (H, W) bool."""
    diagonal = float(np.hypot(*mask.shape))
    inside = cv2.distanceTransform(_padded(mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    outside = cv2.distanceTransform(_padded(~mask), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
    near_out, near_in = max(2.0, BAND_OUT_SHARE * diagonal), max(2.0, BAND_IN_SHARE * diagonal)
    return np.where(mask, inside <= near_in, outside <= near_out)


def solve_matte(image: np.ndarray, mask: np.ndarray, band: np.ndarray) -> np.ndarray:
    """Alpha within the band by closed-form matting, the mask elsewhere.

    Args:
        image: (H, W, 3) uint8, RGB.
        mask, band: (H, W) bool; what lies outside the band is known.

    Returns: (H, W) float32 in 0..1.
    """
    rows, columns = (np.flatnonzero(band.any(axis=axis)) for axis in (1, 0))
    if not rows.size:
        return mask.astype(np.float32)
    reach = 2 * WINDOW_PX + 1  # beyond it no window of an unknown pixel sees anything
    part = tuple(slice(max(0, int(at[0]) - reach), int(at[-1]) + reach + 1) for at in (rows, columns))
    laplacian = MattingLaplacian(image[part].astype(np.float64) / 255)
    known, unknown = mask[part].astype(np.float64), band[part]
    pull = cv2.GaussianBlur(known, (0, 0), PULL_SIGMA_PX, borderType=cv2.BORDER_REPLICATE)
    known = np.where(unknown, 0.0, known)

    def operator(values: np.ndarray) -> np.ndarray:
        full = np.zeros(unknown.shape)
        full[unknown] = values
        return laplacian.apply(full)[unknown] + PULL * values

    right = PULL * pull[unknown] - laplacian.apply(known)[unknown]
    solved = _conjugate_gradients(operator, right, start=pull[unknown])
    alpha = mask.astype(np.float32)
    alpha[part][unknown] = np.clip((solved - VEIL) / (1 - 2 * VEIL), 0, 1)
    return alpha


def foreground_colours(image: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """The person's own colours, the background taken out of the edge.

    Args:
        image: (H, W, 3) uint8, RGB.
        alpha: (H, W) float32 in 0..1.

    Returns: (H, W, 3) float32 in 0..255.
    """
    given, weight = image.astype(np.float32), alpha[..., np.newaxis]
    front, behind = given, given
    for window_px in FUSION_PX:
        side = max(3, round(window_px * max(alpha.shape) / FUSION_SIDE)) | 1
        front_near = _weighted_mean(front, weight, side)
        behind_near = _weighted_mean(behind, 1 - weight, side)
        front = np.clip(front_near + weight * (given - weight * front_near - (1 - weight) * behind_near), 0, 255)
        behind = behind_near
    return front


class MattingLaplacian:
    """Levin et al.'s matrix L of a picture, as what it does to a matte.

    For every window w, a matte's part there is fitted by a linear model of the colours; L sums what the models leave:
    (L p)_i is the sum over the windows around i of p_i - a_w . I_i - b_w. It is symmetric, and 0 for a matte that is
    linear in the colours of every window.

    Args:
        image: (H, W, 3) float64 in 0..1.
    """

    def __init__(self, image: np.ndarray, *, window_px: int = WINDOW_PX, epsilon: float = EPSILON) -> None:
        self._image = image
        self._size = (2 * window_px + 1,) * 2
        self._count = self._sum(np.ones(image.shape[:2]))
        self._mean = self._sum(image) / self._count[..., np.newaxis]
        products = np.einsum("hwi,hwj->hwij", image, image).reshape(*image.shape[:2], 9)
        second = np.dstack([self._sum(np.ascontiguousarray(products[..., index])) for index in range(9)])
        covariance = (second / self._count[..., np.newaxis]).reshape(*image.shape[:2], 3, 3)
        covariance -= np.einsum("hwi,hwj->hwij", self._mean, self._mean)
        covariance += np.eye(3) * (epsilon / self._count[..., np.newaxis, np.newaxis])
        self._inverse = np.linalg.inv(covariance)

    def apply(self, matte: np.ndarray) -> np.ndarray:
        """L times a matte. matte: (H, W) float64. Returns: (H, W) float64."""
        mean = self._sum(matte) / self._count
        together = self._sum(self._image * matte[..., np.newaxis]) / self._count[..., np.newaxis]
        slope = np.einsum("hwij,hwj->hwi", self._inverse, together - self._mean * mean[..., np.newaxis])
        offset = mean - np.einsum("hwi,hwi->hw", slope, self._mean)
        fitted = np.einsum("hwi,hwi->hw", self._sum(slope), self._image) + self._sum(offset)
        return self._count * matte - fitted

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """The sum over each window; windows end at the picture's border."""
        return cv2.boxFilter(values, -1, self._size, normalize=False, borderType=cv2.BORDER_CONSTANT)


def _conjugate_gradients(
    operator: Callable[[np.ndarray], np.ndarray], right: np.ndarray, *, start: np.ndarray
) -> np.ndarray:
    """Solves operator(x) = right for a symmetric positive definite operator (Hestenes and Stiefel, 1952)."""
    found = start.copy()
    residual = right - operator(found)
    direction, squared = residual.copy(), float(residual @ residual)
    stop = TOLERANCE**2 * max(float(right @ right), 1e-30)
    for _ in range(ITERATIONS):
        if squared <= stop:
            break
        image = operator(direction)
        step = squared / float(direction @ image)
        found += step * direction
        residual -= step * image
        before, squared = squared, float(residual @ residual)
        direction = residual + (squared / before) * direction
    return found


def _weighted_mean(colours: np.ndarray, weight: np.ndarray, side_px: int) -> np.ndarray:
    size = (side_px, side_px)
    total = cv2.blur(colours * weight, size, borderType=cv2.BORDER_REPLICATE)
    share = cv2.blur(weight[..., 0], size, borderType=cv2.BORDER_REPLICATE)[..., np.newaxis]
    return np.where(share > 1e-4, total / np.maximum(share, 1e-4), colours)


def _rows_clear_of_sides(mask: np.ndarray) -> int:
    """How many rows from the top on lie above where the person touches the picture's left or right side."""
    touching = np.flatnonzero(mask[:, :2].any(axis=1) | mask[:, -2:].any(axis=1))
    return int(touching[0]) if touching.size else mask.shape[0]


def _main_share(mask: np.ndarray) -> float:
    count, _, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    return float(facts[1:, cv2.CC_STAT_AREA].max() / mask.sum()) if count > 1 else 0.0


def _padded(mask: np.ndarray) -> np.ndarray:
    """With a rim of the same values, so that the picture's border is no edge; never all ones, which has no distance."""
    return np.pad(mask.astype(np.uint8), 1, mode="edge")


def _trimmed(cutout: Cutout) -> Cutout:
    """Cut down to where the person is."""
    rows, columns = (np.flatnonzero((cutout.alpha > 0).any(axis=axis)) for axis in (1, 0))
    part = (slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1))
    alpha, colours = np.ascontiguousarray(cutout.alpha[part]), np.ascontiguousarray(cutout.colours[part])
    return Cutout(cutout.name, colours, alpha, cutout.is_bust)
