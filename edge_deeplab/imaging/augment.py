"""Making one labelled picture into many: geometry, pasting on other backgrounds, and a camera's faults.

Every random choice comes from the generator handed in, so a sample is a function of its seed. Pictures are
(H, W, 3) uint8 RGB, masks (H, W) uint8 labels; both go through the same geometry, the mask without interpolation.

    rng = np.random.default_rng((seed, epoch, index))
    image, mask = augment(image, mask, size_hw=(256, 256), recipe=AugmentRecipe(), rng=rng, background=other)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from edge_deeplab.recipe import check, setting


@dataclass(frozen=True, kw_only=True)
class AugmentRecipe:
    """The [augment] table of a recipe. A probability of 0 switches a step off."""

    flip: float = setting(0.5, low=0, high=1, help="probability of a mirror image")
    scale: tuple[float, float] = setting((0.6, 1.6), low=0.1, high=10, help="zoom, log-uniform between the two")
    stretch: float = setting(1.4, low=1, high=4, help="largest change of the aspect ratio, either way")
    shift: float = setting(0.25, low=0, high=1, help="largest move of the centre, in picture sides")
    rotate_deg: float = setting(15.0, low=0, high=180, help="largest rotation")
    rotate: float = setting(0.4, low=0, high=1, help="probability of a rotation")
    paste: float = setting(0.3, low=0, high=1, help="probability of pasting the foreground on a background picture")
    empty: float = setting(0.03, low=0, high=1, help="probability of showing a background picture alone")
    exposure: float = setting(0.8, low=0, high=1, help="probability of changed gamma, contrast and brightness")
    white_balance: float = setting(0.5, low=0, high=1, help="probability of a colour cast")
    grey: float = setting(0.05, low=0, high=1, help="probability of a grey picture")
    shade: float = setting(0.2, low=0, high=1, help="probability of light falling off across the picture")
    low_resolution: float = setting(0.15, low=0, high=1, help="probability of shrinking and enlarging")
    blur: float = setting(0.15, low=0, high=1, help="probability of defocus or motion blur")
    noise: float = setting(0.25, low=0, high=1, help="probability of sensor noise")
    jpeg: float = setting(0.25, low=0, high=1, help="probability of JPEG artefacts")
    foreground_classes: tuple[int, ...] = setting((1,), low=0, help="labels that are cut out for pasting")

    def __post_init__(self) -> None:
        check(self)


def augment(
    image: np.ndarray,
    mask: np.ndarray,
    *,
    size_hw: tuple[int, int],
    recipe: AugmentRecipe,
    rng: np.random.Generator,
    background: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """One random version of a pair, at size_hw.

    Args:
        background: a picture without foreground; needed for pasting, which is left out without it.
    Returns: (h, w, 3) uint8 RGB and (h, w) uint8 labels.
    """
    choice = rng.random()
    if background is not None and choice < recipe.empty:
        view = _warp(background, _view(background.shape, size_hw, recipe, rng), size_hw, cv2.INTER_LINEAR)
        return _camera(view, recipe, rng), np.zeros(size_hw, np.uint8)
    matrix = _view(image.shape, size_hw, recipe, rng)
    pasting = background is not None and choice < recipe.empty + recipe.paste
    # A pasted person keeps the cut of its own picture's frame: beyond it there is nothing to show.
    border = cv2.BORDER_CONSTANT if pasting else cv2.BORDER_REFLECT_101
    labels = _warp(mask, matrix, size_hw, cv2.INTER_NEAREST, border)
    view = _warp(image, matrix, size_hw, cv2.INTER_LINEAR, cv2.BORDER_REFLECT_101)
    if pasting and background is not None:
        scene = _warp(background, _view(background.shape, size_hw, recipe, rng), size_hw, cv2.INTER_LINEAR)
        labels = np.where(np.isin(labels, recipe.foreground_classes), labels, np.uint8(0))
        alpha = cv2.GaussianBlur((labels > 0).astype(np.float32), (0, 0), rng.uniform(0.5, 1.2))[..., None]
        view = (view * alpha + scene * (1 - alpha)).astype(np.uint8)
    return _camera(view, recipe, rng), labels


def _view(
    shape: tuple[int, ...], size_hw: tuple[int, int], recipe: AugmentRecipe, rng: np.random.Generator
) -> np.ndarray:
    """A random affine map from source pixels to output pixels, (2, 3) float64.

    Without randomness it is the stretch to size_hw that inference uses.
    """
    height, width = shape[:2]
    scale = math.exp(rng.uniform(math.log(recipe.scale[0]), math.log(recipe.scale[1])))
    stretch = math.exp(rng.uniform(-1, 1) * math.log(recipe.stretch) / 2)
    angle = math.radians(rng.uniform(-1, 1) * recipe.rotate_deg) if rng.random() < recipe.rotate else 0.0
    mirror = -1.0 if rng.random() < recipe.flip else 1.0
    to_unit = np.array([[1 / width, 0, -0.5], [0, 1 / height, -0.5], [0, 0, 1]])
    # the rotation is one of the scene: undo the picture's aspect ratio around it
    aspect = width / height
    turn = np.array([[math.cos(angle), -math.sin(angle), 0], [math.sin(angle), math.cos(angle), 0], [0, 0, 1]])
    turn = np.diag([1 / aspect, 1, 1]) @ turn @ np.diag([aspect, 1, 1])
    zoom = np.diag([mirror * scale * stretch, scale / stretch, 1.0])
    move = np.eye(3)
    move[:2, 2] = rng.uniform(-recipe.shift, recipe.shift, 2)
    out = np.array([[size_hw[1], 0, 0.5 * size_hw[1]], [0, size_hw[0], 0.5 * size_hw[0]], [0, 0, 1]])
    matrix = out @ move @ zoom @ turn @ to_unit
    # OpenCV's coordinates are pixel centres, the ones above pixel corners
    half = np.array([[1, 0, 0.5], [0, 1, 0.5], [0, 0, 1]])
    back = np.array([[1, 0, -0.5], [0, 1, -0.5], [0, 0, 1]])
    return (back @ matrix @ half)[:2]


def _warp(
    array: np.ndarray, matrix: np.ndarray, size_hw: tuple[int, int], interpolation: int,
    border: int = cv2.BORDER_REFLECT_101,
) -> np.ndarray:  # fmt: skip
    return cv2.warpAffine(array, matrix, (size_hw[1], size_hw[0]), flags=interpolation, borderMode=border)


def _camera(image: np.ndarray, recipe: AugmentRecipe, rng: np.random.Generator) -> np.ndarray:
    """A camera's faults, in the order in which a camera makes them: light, lens, sensor, codec."""
    if rng.random() < recipe.shade:
        image = _shade(image, rng)
    if rng.random() < recipe.blur:
        image = _blur(image, rng)
    image = _tones(image, recipe, rng)
    if rng.random() < recipe.grey:
        image = cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), cv2.COLOR_GRAY2RGB)
    if rng.random() < recipe.noise:
        noise = rng.standard_normal(image.shape, np.float32) * rng.uniform(2, 14)
        image = cv2.add(image, noise, dtype=cv2.CV_8U)
    if rng.random() < recipe.low_resolution:
        height, width = image.shape[:2]
        factor = rng.uniform(0.3, 0.8)
        small = (max(1, round(width * factor)), max(1, round(height * factor)))
        image = cv2.resize(cv2.resize(image, small, interpolation=cv2.INTER_AREA), (width, height))
    if rng.random() < recipe.jpeg:
        done, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(20, 80))])
        assert done
        decoded = cv2.imdecode(data, cv2.IMREAD_COLOR)  # encoder and decoder swap channels alike
        assert decoded is not None
        image = decoded
    return image


def _tones(image: np.ndarray, recipe: AugmentRecipe, rng: np.random.Generator) -> np.ndarray:
    """Gamma, contrast, brightness, colour cast and saturation as one table for each channel and one mix."""
    levels = np.arange(256, dtype=np.float32) / 255
    table = np.repeat(levels[:, None], 3, axis=1)
    if rng.random() < recipe.exposure:
        table = table ** math.exp(rng.uniform(-0.7, 0.7))
        table = (table - 0.5) * rng.uniform(0.6, 1.4) + 0.5 + rng.uniform(-0.2, 0.2)
    if rng.random() < recipe.white_balance:
        table = table * np.exp(rng.uniform(-0.2, 0.2, 3)).astype(np.float32)
        mix = rng.uniform(0.4, 1.5)  # saturation
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        image = cv2.addWeighted(image, mix, cv2.cvtColor(grey, cv2.COLOR_GRAY2RGB), 1 - mix, 0)
    lut = (np.clip(table, 0, 1) * 255 + 0.5).astype(np.uint8)
    return cv2.LUT(image, lut.reshape(1, 256, 3))


def _shade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A linear fall-off of light in a random direction, as from a window at one side."""
    height, width = image.shape[:2]
    direction = rng.uniform(0, 2 * math.pi)
    across = np.linspace(-1, 1, width, dtype=np.float32) * math.cos(direction)
    down = np.linspace(-1, 1, height, dtype=np.float32) * math.sin(direction)
    gain = np.clip(1 + rng.uniform(0.1, 0.6) * (across[None, :] + down[:, None]), 0.15, 1.6)
    return cv2.multiply(image, cv2.merge([gain] * 3), dtype=cv2.CV_8U)


def _blur(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Defocus, or motion along a random direction."""
    if rng.random() < 0.5:
        return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.5, 2.0))
    length = int(rng.integers(3, 12))
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1 / length
    centre = ((length - 1) / 2, (length - 1) / 2)
    kernel = cv2.warpAffine(kernel, cv2.getRotationMatrix2D(centre, rng.uniform(0, 180), 1), (length, length))
    total = float(kernel.sum())
    return cv2.filter2D(image, -1, kernel / total) if total > 0 else image
