"""Video whose truth is known: a cut-out person moved along a path over a background, as a camera would see it.

    for scene in make_scenes(pairs, backgrounds, count=10, options=SceneOptions(frames=24), seed=0):
        for frame in scene:
            frame.bgr, frame.alpha, frame.foreground_bgr, frame.clean_bgr

Everything is a function of pictures, options and seed: the same call gives the same bits. Nothing is written.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np

from edge_deeplab.data.cutouts import Cutout, cut_out
from edge_deeplab.data.pairs import Pair
from edge_deeplab.data.scene_options import SceneOptions
from edge_deeplab.errors import DataError
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.labels import IGNORE

Motion = Literal["rest", "sway", "walk", "lean", "camera"]
MOTIONS: tuple[Motion, ...] = ("sway", "rest", "walk", "lean", "camera")
"""Scenes take turns: swaying from side to side, sitting nearly still, walking through, leaning in and out with the head
to a side, and a hand-held camera."""

# Of the frame's height: how far a bust goes on below the frame, so that no path lifts its lower edge into view.
BELOW_SHARE = 0.08
HEIGHT_SHARE = (0.68, 0.9)  # of the frame's height, what a person fills
# A person who was whole is cut at a share of their height, for in front of a webcam people sit or stand close.
BUST_SHARE = (0.45, 0.65)
BACKGROUND_ZOOM = 1.12  # room for the camera to move in
SUBFRAMES = 4  # averaged over the time the shutter is open


@dataclass(frozen=True, kw_only=True)
class TrueFrame:
    """A frame and everything that is true of it.

    Attributes:
        index, time_s: from 0.
        bgr: (H, W, 3) uint8, what the camera saw: alpha * foreground + (1 - alpha) * clean, with noise and JPEG.
        alpha: (H, W) float32 in 0..1; with motion blur, the share of the time that the person was there.
        foreground_bgr: (H, W, 3) uint8, the person's own colours; 0 where alpha is 0.
        clean_bgr: (H, W, 3) uint8, the background without the person, without noise and JPEG.
    """

    index: int
    time_s: float
    bgr: np.ndarray
    alpha: np.ndarray
    foreground_bgr: np.ndarray
    clean_bgr: np.ndarray


class MovingComposite:
    """One scene: an iterable of TrueFrame, each of which can also be had by its index.

    Args:
        cutout: the person.
        background: (H, W, 3) uint8, RGB, of any size.
        motion: one of MOTIONS.
        seed: of the path, the place and the noise.
    """

    def __init__(
        self, cutout: Cutout, background: np.ndarray, *, motion: Motion, options: SceneOptions | None = None,
        seed: int = 0,
    ) -> None:  # fmt: skip
        self.options = options or SceneOptions()
        self.motion, self.seed, self.name = motion, seed, cutout.name
        rng = np.random.default_rng((seed, 1))
        width, height = self.options.size_wh
        self._path = _Path(motion, rng)
        self._layer = _person_layer(cutout, rng, height)
        self._foot_x = width * rng.uniform(0.42, 0.58)
        self._background = _covering(background, self.options.size_wh)

    def __len__(self) -> int:
        return self.options.frames

    def __iter__(self) -> Iterator[TrueFrame]:
        return (self.frame(index) for index in range(len(self)))

    def frame(self, index: int) -> TrueFrame:
        """Frame number `index`, from 0."""
        options = self.options
        time_s = index / options.fps
        moments = np.arange(SUBFRAMES) / SUBFRAMES * options.shutter / options.fps if options.shutter else np.zeros(1)
        layer = _mean([self._person_at(time_s + moment) for moment in moments])
        clean_bgr = _levels(_mean([self._clean_at(time_s + moment) for moment in moments]))
        alpha = np.ascontiguousarray(layer[..., 3])
        seen = layer[..., :3] + (1 - alpha[..., np.newaxis]) * clean_bgr
        foreground = np.divide(
            layer[..., :3], alpha[..., np.newaxis], out=np.zeros_like(seen), where=alpha[..., np.newaxis] > 0
        )
        return TrueFrame(
            index=index, time_s=time_s, bgr=self._through_camera(seen, index), alpha=alpha,
            foreground_bgr=_levels(foreground), clean_bgr=clean_bgr,
        )  # fmt: skip

    def pose(self, time_s: float) -> np.ndarray:
        """Where the person is: the (2, 3) map from the person's layer, its foot at the origin, to frame pixels."""
        at, (width, height) = self._path.at(time_s), self.options.size_wh
        turn = math.radians(at.turn_deg)
        cos, sin = at.scale * math.cos(turn), at.scale * math.sin(turn)
        x = self._foot_x + (at.x + at.camera_x) * width
        y = height * (1 + BELOW_SHARE) + at.camera_y * height
        return np.array([[cos, -sin, x], [sin, cos, y]])

    def _person_at(self, time_s: float) -> np.ndarray:
        """(H, W, 4) float32: colours times alpha, alpha."""
        rows, columns = self._layer.shape[:2]
        to_foot = np.array([[1, 0, -columns / 2], [0, 1, -rows], [0, 0, 1]])
        moved = cv2.warpAffine(
            self._layer, (self.pose(time_s) @ to_foot), self.options.size_wh, flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_CONSTANT,
        )  # fmt: skip
        alpha = np.clip(moved[..., 3:], 0, 1)  # a cubic swings over by a little
        return np.dstack([np.clip(moved[..., :3], 0, 255 * alpha), np.where(alpha < 0.5 / 255, 0, alpha)])

    def _clean_at(self, time_s: float) -> np.ndarray:
        """(H, W, 3) float32."""
        at, (width, height) = self._path.at(time_s), self.options.size_wh
        have_h, have_w = self._background.shape[:2]
        shift = np.array(
            [
                [1, 0, (width - have_w) / 2 + at.camera_x * width],
                [0, 1, (height - have_h) / 2 + at.camera_y * height],
            ]
        )
        return cv2.warpAffine(
            self._background, shift, self.options.size_wh, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )

    def _through_camera(self, seen: np.ndarray, index: int) -> np.ndarray:
        if self.options.noise:
            rng = np.random.default_rng((self.seed, 2, index))
            seen = seen + self.options.noise * rng.standard_normal(seen.shape, np.float32)
        frame = _levels(seen)
        if not self.options.jpeg_quality:
            return frame
        _, stored = cv2.imencode(".jpg", frame, (cv2.IMWRITE_JPEG_QUALITY, self.options.jpeg_quality))
        decoded = cv2.imdecode(stored, cv2.IMREAD_COLOR)
        assert decoded is not None  # it was encoded the line before
        return decoded


def make_scenes(
    pairs: Sequence[Pair],
    backgrounds: Sequence[Path],
    *,
    count: int,
    options: SceneOptions | None = None,
    seed: int = 0,
) -> Iterator[MovingComposite]:
    """Scenes of different people before different backgrounds, made one after the other.

    Args:
        pairs: labelled pictures, of which those fit to be cut out (data.cutouts) are taken in an order of the seed's.
        backgrounds: pictures without people.

    Raises: DataError when there are too few people that can be cut out, or too few backgrounds.
    """
    if len(backgrounds) < count:
        raise DataError("too few backgrounds", came=len(backgrounds), allowed=f"at least {count}, one a scene")
    rng = np.random.default_rng((seed, 0))
    people, places = rng.permutation(len(pairs)), rng.permutation(len(backgrounds))
    made = 0
    for number in people:
        if made == count:
            return
        pair = pairs[int(number)]
        image, labels = pair.read()
        cutout = None if (labels == IGNORE).any() else cut_out(pair.name, image, labels == 1)
        if cutout is None:
            continue
        background = read_image(backgrounds[int(places[made])])
        yield MovingComposite(
            cutout, background, motion=MOTIONS[made % len(MOTIONS)], options=options, seed=seed * 1000 + made
        )
        made += 1
    if made < count:
        raise DataError(
            "too few people can be cut out", came=f"{made} of {len(pairs)} pictures", allowed=f"{count}, one a scene",
            next_step="ask for fewer scenes, or give more pictures",
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Pose:
    """Where the person and the camera are; lengths in shares of the frame's width (x) and height (y)."""

    x: float
    scale: float
    turn_deg: float
    camera_x: float
    camera_y: float


# Of each motion: sway (share of the width), breathing of the size, turn (degrees), camera (share of the frame), speed
# (widths a second).
_AMOUNTS: dict[Motion, tuple[float, float, float, float, float]] = {
    "rest": (0.003, 0.003, 0.4, 0.0, 0.0),
    "sway": (0.06, 0.01, 3.0, 0.0, 0.0),
    "walk": (0.01, 0.01, 1.0, 0.0, 0.45),
    "lean": (0.015, 0.09, 6.0, 0.0, 0.0),
    "camera": (0.01, 0.005, 0.5, 0.02, 0.0),
}


class _Path:
    """A path of sines: amplitudes by the motion, periods and phases by the seed."""

    def __init__(self, motion: Motion, rng: np.random.Generator) -> None:
        self._sway, self._breath, self._turn, self._camera, speed = _AMOUNTS[motion]
        self._periods_s = rng.uniform(1.2, 2.4, 5)
        self._phases = rng.uniform(0, 2 * np.pi, 5)
        # One who walks comes from a side and turns round after a while: a triangle wave over half of the frame.
        self._speed, self._side = speed, float(rng.choice([-1.0, 1.0]))

    def at(self, time_s: float) -> _Pose:
        waves = np.sin(2 * np.pi * time_s / self._periods_s + self._phases)
        walked = (self._speed * time_s) % 1.0
        across = self._side * (abs(walked - 0.5) - 0.25) if self._speed else 0.0
        return _Pose(
            x=self._sway * waves[0] + across,
            scale=1 + self._breath * waves[1],
            turn_deg=self._turn * waves[2],
            camera_x=self._camera * waves[3],
            camera_y=self._camera * waves[4],
        )


def _person_layer(cutout: Cutout, rng: np.random.Generator, frame_height: int) -> np.ndarray:
    """(h, w, 4) float32, BGR times alpha, and alpha, at the size it is shown at."""
    alpha, colours = cutout.alpha, cutout.colours
    bust_share, height_share = rng.uniform(*BUST_SHARE), rng.uniform(*HEIGHT_SHARE)
    if not cutout.is_bust:
        rows = max(1, round(bust_share * alpha.shape[0]))
        alpha, colours = alpha[:rows], colours[:rows]
    layer = np.dstack([colours[..., ::-1] * alpha[..., np.newaxis], alpha]).astype(np.float32)
    scale = (height_share + BELOW_SHARE) * frame_height / alpha.shape[0]
    size_wh = (max(1, round(alpha.shape[1] * scale)), max(1, round(alpha.shape[0] * scale)))
    layer = cv2.resize(layer, size_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)
    layer[..., 3] = np.clip(layer[..., 3], 0, 1)
    layer[..., :3] = np.clip(layer[..., :3], 0, 255 * layer[..., 3:])
    # A clear rim, so that what moves never shows the layer's end; below, a bust goes on.
    return cv2.copyMakeBorder(layer, 2, 0, 2, 2, cv2.BORDER_CONSTANT)


def _covering(background: np.ndarray, size_wh: tuple[int, int]) -> np.ndarray:
    """(h, w, 3) float32 BGR, a little larger than the frame."""
    height, width = background.shape[:2]
    scale = BACKGROUND_ZOOM * max(size_wh[0] / width, size_wh[1] / height)
    target_wh = (math.ceil(width * scale), math.ceil(height * scale))
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return np.clip(cv2.resize(background[..., ::-1].astype(np.float32), target_wh, interpolation=way), 0, 255)


def _mean(pictures: Sequence[np.ndarray]) -> np.ndarray:
    return np.asarray(np.stack(pictures).mean(axis=0, dtype=np.float32))


def _levels(colours: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(colours), 0, 255).astype(np.uint8)
