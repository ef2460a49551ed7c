"""What people see around a person who was set before another background: the halo outside, the rim along the edge.

Both need composites whose person and clean background are known (data.composites makes them).

    halo(picture_bgr, blurred_clean_bgr, true_alpha)        # Halo(mean=2.1, mean_2000=1.6)
    rim(picture_bgr, blend(true_alpha, foreground_bgr, blurred_clean_bgr), true_alpha)

Colours are compared in CIE L*a*b* under D65, frames taken as sRGB. `mean` is CIE76, the plain Euclidean distance
(1 just to be seen, 10 at a glance); `mean_2000` is CIEDE2000, which follows the eye better in saturated colours.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.evaluation.boundary import diagonal_px

RING_SHARE = 0.03
"""Width of the ring outside the person in which a halo is looked for, as a share of the picture's diagonal."""

SEEN_ALPHA = 0.5 / 255
"""From here on a pixel holds something of the person; below, not a step of 8 bits."""

_25_TO_7 = 25.0**7
_SHOWN = np.arange(256) / 255
_LINEAR = np.where(_SHOWN <= 0.04045, _SHOWN / 12.92, ((_SHOWN + 0.055) / 1.055) ** 2.4)
# Columns are blue, green, red; each row is divided by the white's value, so that white is (1, 1, 1).
_XYZ_OF_BGR = np.array(
    [
        [0.180423 / 0.95047, 0.357580 / 0.95047, 0.412453 / 0.95047],
        [0.072169, 0.715160, 0.212671],
        [0.950227 / 1.08883, 0.119193 / 1.08883, 0.019334 / 1.08883],
    ]
)


@dataclass(frozen=True, kw_only=True)
class Halo:
    """A mean difference of colours.

    Attributes:
        mean: CIE76, the mean over the pixels of the Euclidean distance in L*a*b*; 0 is none.
        mean_2000: the mean of CIEDE2000 over the same pixels.
    """

    mean: float
    mean_2000: float


def halo(picture_bgr: np.ndarray, blurred_clean_bgr: np.ndarray, alpha: np.ndarray) -> Halo | None:
    """How much of the person shines into what lies around: the mean difference of colours in the ring.

    The ring is `halo_ring`: no pixel of it holds anything of the person, so a perfect program shows its blurred clean
    background there, and the difference is 0. What raises it: the person's colours spread by the blur, a matte that
    reaches too far out and shows the sharp background, a rim of the person's own soft edge.

    Args:
        picture_bgr: (H, W, 3) uint8, what a program made of the composite.
        blurred_clean_bgr: (H, W, 3) uint8, what the same program's blur makes of the background without the person:
            each program is held to its own blur, for how strong it is is a matter of taste.
        alpha: (H, W) float in 0..1, the true matte.

    Returns: None where there is no ring: nobody in the picture, or nothing but a person.
    """
    return _difference(picture_bgr, blurred_clean_bgr, halo_ring(alpha))


def rim(picture_bgr: np.ndarray, perfect_bgr: np.ndarray, alpha: np.ndarray) -> Halo | None:
    """How far the colours of the person's soft edge are from those of a perfect composite.

    Taken where the true alpha is between 0 and 1. The halo alone would be smallest for a matte that cuts the person's
    edge away; here that is seen, as is the old background left in the edge.

    Args:
        picture_bgr: (H, W, 3) uint8, what a program made of the composite.
        perfect_bgr: (H, W, 3) uint8, `blend` of the true matte and foreground over the blurred clean background.
        alpha: (H, W) float in 0..1, the true matte.

    Returns: None where the person has no soft edge.
    """
    return _difference(picture_bgr, perfect_bgr, (alpha >= SEEN_ALPHA) & (alpha <= 1.0 - SEEN_ALPHA))


def halo_ring(alpha: np.ndarray) -> np.ndarray:
    """Where a halo is looked for: alpha below half a step of 8 bits, at most 3 % of the diagonal from the person.

    alpha: (H, W) float in 0..1. Returns: (H, W) bool. Distances are exact, between centres of pixels.
    """
    outside = alpha < SEEN_ALPHA
    if outside.all():
        return np.zeros(alpha.shape, bool)
    distance = cv2.distanceTransform(outside.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    return np.asarray(outside & (distance <= RING_SHARE * diagonal_px(alpha.shape)))


def blend(alpha: np.ndarray, foreground_bgr: np.ndarray, background_bgr: np.ndarray) -> np.ndarray:
    """The composite alpha * foreground + (1 - alpha) * background, rounded once. Returns: (H, W, 3) uint8."""
    weight = alpha.astype(np.float32, copy=False)[..., np.newaxis]
    mixed = background_bgr + weight * (foreground_bgr.astype(np.float32) - background_bgr)
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def lab(bgr: np.ndarray) -> np.ndarray:
    """sRGB (IEC 61966-2-1) to CIE L*a*b*, white D65 (2 degrees).

    Written out, for cv2's own conversion interpolates in a table and is off by up to 0.3.

    bgr: (..., 3) uint8. Returns: (..., 3) float64, L* in 0..100, a* and b* about -128..128.
    """
    shares = _LINEAR[bgr] @ _XYZ_OF_BGR.T  # of the white's X, Y, Z
    roots = np.where(shares > (6 / 29) ** 3, np.cbrt(shares), shares * (29 / 6) ** 2 / 3 + 4 / 29)
    x, y, z = np.moveaxis(roots, -1, 0)
    return np.stack((116 * y - 16, 500 * (x - y), 200 * (y - z)), axis=-1)


def delta_e_76(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """CIE76: the Euclidean distance. one, other: (..., 3) L*a*b*. Returns: (...)."""
    return np.sqrt(np.square(one.astype(np.float64) - other).sum(axis=-1))


def delta_e_2000(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """CIEDE2000 with unit weights. one, other: (..., 3) L*a*b*. Returns: (...) float64.

    Source: Sharma, Wu, Dalal, "The CIEDE2000 Color-Difference Formula: Implementation Notes, Supplementary Test Data,
    and Mathematical Observations" (Color Research and Application 2005), equations 2 to 22.
    """
    l_1, a_1, b_1 = np.moveaxis(np.asarray(one, np.float64), -1, 0)
    l_2, a_2, b_2 = np.moveaxis(np.asarray(other, np.float64), -1, 0)
    mean_c7 = ((np.hypot(a_1, b_1) + np.hypot(a_2, b_2)) / 2.0) ** 7
    stretch = 1.5 - 0.5 * np.sqrt(mean_c7 / (mean_c7 + _25_TO_7))
    c_1, c_2 = np.hypot(stretch * a_1, b_1), np.hypot(stretch * a_2, b_2)
    h_1, h_2 = (np.degrees(np.arctan2(b, stretch * a)) % 360.0 for a, b in ((a_1, b_1), (a_2, b_2)))

    is_gray = c_1 * c_2 == 0.0
    turn = (h_2 - h_1 + 180.0) % 360.0 - 180.0
    turn = np.where((turn == -180.0) & (h_2 > h_1), 180.0, turn)  # half a turn has the sign of h_2 - h_1
    turn = np.where(is_gray, 0.0, turn)
    d_l, d_c = l_2 - l_1, c_2 - c_1
    d_h = 2.0 * np.sqrt(c_1 * c_2) * np.sin(np.radians(turn) / 2.0)

    mean_l, mean_c = (l_1 + l_2) / 2.0, (c_1 + c_2) / 2.0
    total = h_1 + h_2
    is_near = np.abs(h_1 - h_2) <= 180.0
    mean_h = np.where(is_near, total / 2.0, np.where(total < 360.0, (total + 360.0) / 2.0, (total - 360.0) / 2.0))
    mean_h = np.where(is_gray, total, mean_h)

    t = (
        1.0
        - 0.17 * np.cos(np.radians(mean_h - 30.0))
        + 0.24 * np.cos(np.radians(2.0 * mean_h))
        + 0.32 * np.cos(np.radians(3.0 * mean_h + 6.0))
        - 0.20 * np.cos(np.radians(4.0 * mean_h - 63.0))
    )
    mean_c7 = mean_c**7
    rotation = -2.0 * np.sqrt(mean_c7 / (mean_c7 + _25_TO_7))
    rotation = rotation * np.sin(np.radians(60.0 * np.exp(-(((mean_h - 275.0) / 25.0) ** 2))))
    lightness = (mean_l - 50.0) ** 2
    s_l = 1.0 + 0.015 * lightness / np.sqrt(20.0 + lightness)
    s_c, s_h = 1.0 + 0.045 * mean_c, 1.0 + 0.015 * mean_c * t
    parts_l, parts_c, parts_h = d_l / s_l, d_c / s_c, d_h / s_h
    return np.sqrt(np.maximum(parts_l**2 + parts_c**2 + parts_h**2 + rotation * parts_c * parts_h, 0.0))


def _difference(one_bgr: np.ndarray, other_bgr: np.ndarray, where: np.ndarray) -> Halo | None:
    if one_bgr.shape != other_bgr.shape or one_bgr.shape[:2] != where.shape:
        raise ValueError(f"pictures and matte differ in size: {one_bgr.shape}, {other_bgr.shape}, {where.shape}")
    if not where.any():
        return None
    one, other = lab(one_bgr[where]), lab(other_bgr[where])
    return Halo(mean=float(delta_e_76(one, other).mean()), mean_2000=float(delta_e_2000(one, other).mean()))
