"""Made scenes: the truth holds exactly, the same seed gives the same bits, people move as they are said to."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.data.composites import MOTIONS, MovingComposite, make_scenes
from edge_deeplab.data.cutouts import Cutout
from edge_deeplab.data.pairs import PairsFolder, list_images
from edge_deeplab.data.scene_options import SceneOptions
from edge_deeplab.errors import DataError, RecipeError

SMALL = SceneOptions(size_wh=(128, 96), frames=6)
BARE = SceneOptions(size_wh=(128, 96), frames=6, noise=0, jpeg_quality=0, shutter=0)


def cutout(is_bust: bool = True) -> Cutout:
    rows, columns = np.mgrid[:120, :80]
    alpha = np.clip((30 - np.hypot(rows - 32, columns - 40)) / 1.5 + 0.5, 0, 1)
    alpha = np.maximum(alpha, np.clip(np.minimum(36 - np.abs(columns - 40), rows - 56) / 1.5 + 0.5, 0, 1))
    colours = np.random.default_rng(0).integers(120, 256, (120, 80, 3)).astype(np.float32)
    return Cutout("one", colours, alpha.astype(np.float32), is_bust)


def background() -> np.ndarray:
    noise = np.random.default_rng(1).normal(size=(90, 110, 3))
    return np.clip(70 + 120 * cv2.GaussianBlur(noise, (0, 0), 2), 0, 120).astype(np.uint8)


def scene(motion: str = "sway", options: SceneOptions = BARE, seed: int = 0) -> MovingComposite:
    return MovingComposite(cutout(), background(), motion=motion, options=options, seed=seed)  # type: ignore[arg-type]


@pytest.mark.parametrize("motion", MOTIONS)
def test_a_frame_is_the_blend_of_its_truth(motion: str) -> None:
    for options in (BARE, SceneOptions(size_wh=(128, 96), frames=6, noise=0, jpeg_quality=0, shutter=0.9)):
        for frame in scene(motion, options):
            assert frame.bgr.shape == frame.foreground_bgr.shape == frame.clean_bgr.shape == (96, 128, 3)
            assert frame.alpha.dtype == np.float32 and 0 <= frame.alpha.min() <= frame.alpha.max() <= 1
            weight = frame.alpha[..., np.newaxis]
            blend = weight * frame.foreground_bgr + (1 - weight) * frame.clean_bgr
            # the colours were rounded to 8 bits, then the blend
            assert np.abs(frame.bgr - blend).max() <= 1.01
            np.testing.assert_array_equal(frame.bgr[frame.alpha == 0], frame.clean_bgr[frame.alpha == 0])


def test_the_same_seed_gives_the_same_bits_in_any_order() -> None:
    one, other = list(scene("walk", SMALL)), scene("walk", SMALL)
    for index in (5, 0, 3):
        frame = other.frame(index)
        np.testing.assert_array_equal(one[index].bgr, frame.bgr)
        np.testing.assert_array_equal(one[index].alpha, frame.alpha)
    assert (one[0].bgr != scene("walk", SMALL, seed=1).frame(0).bgr).any()


def test_noise_and_jpeg_touch_the_frame_alone() -> None:
    bare = scene().frame(2)
    noisy = scene(options=SceneOptions(size_wh=(128, 96), frames=6, noise=4, jpeg_quality=0, shutter=0)).frame(2)
    packed = scene(options=SceneOptions(size_wh=(128, 96), frames=6, noise=0, jpeg_quality=60, shutter=0)).frame(2)
    for frame in (noisy, packed):
        np.testing.assert_array_equal(frame.alpha, bare.alpha)
        np.testing.assert_array_equal(frame.clean_bgr, bare.clean_bgr)
    middling = (bare.bgr > 20) & (bare.bgr < 235)  # at the ends noise is clipped
    assert (noisy.bgr.astype(float) - bare.bgr)[middling].std() == pytest.approx(4, abs=0.2)
    assert 0 < np.abs(packed.bgr.astype(float) - bare.bgr).mean() < 10


def test_each_motion_is_what_it_says() -> None:
    def reach(motion: str) -> tuple[float, float, float]:
        one = scene(motion, SceneOptions(size_wh=(128, 96), frames=90))
        poses = np.stack([one.pose(index / 30) for index in range(90)])
        sizes, turns = np.hypot(poses[:, 0, 0], poses[:, 1, 0]), np.degrees(np.arctan2(poses[:, 1, 0], poses[:, 0, 0]))
        return float(np.ptp(poses[:, 0, 2])) / 128, float(np.ptp(sizes)), float(np.ptp(turns))

    across, size, turn = zip(*(reach(motion) for motion in ("rest", "sway", "lean", "walk")), strict=True)
    assert across[0] < 0.01 < 0.05 < across[1] < 0.2 < across[3]
    assert size[0] < 0.01 and size[2] > 0.1
    assert turn[0] < 1 and turn[1] > 2 and turn[2] > 6
    still, moved = scene("rest"), scene("camera", SceneOptions(size_wh=(128, 96), frames=30, noise=0, jpeg_quality=0))
    np.testing.assert_array_equal(still.frame(0).clean_bgr, still.frame(5).clean_bgr)
    assert (moved.frame(0).clean_bgr != moved.frame(12).clean_bgr).any()


def test_a_bust_reaches_the_lower_border_on_every_path() -> None:
    for motion in MOTIONS:
        for frame in scene(motion, SceneOptions(size_wh=(128, 96), frames=40)):
            last, above = frame.alpha[-1], frame.alpha[-6]
            # whoever is seen a few rows up is seen in the last row: no path shows the layer's lower end
            assert last.sum() >= 0.9 * above.sum(), motion


def test_the_shutter_makes_an_edge_as_wide_as_the_way() -> None:
    sharp = scene("walk", BARE)
    open_all = SceneOptions(size_wh=(128, 96), frames=6, noise=0, jpeg_quality=0, shutter=1.0)
    soft = lambda frame: int(((frame.alpha > 0.02) & (frame.alpha < 0.98)).sum())  # noqa: E731
    assert soft(scene("walk", open_all).frame(2)) > 1.2 * soft(sharp.frame(2))


@pytest.fixture
def pairs_folder(tmp_path: Path) -> Path:
    """Three people that can be cut out, and one that cannot (touching the top)."""
    one = cutout()
    for part in ("images", "masks", "places"):
        (tmp_path / part).mkdir()
    for index in range(4):
        alpha = np.zeros((160, 120), np.float32)
        alpha[40:, 20:100] = one.alpha
        if index == 3:
            alpha[:60, 40:70] = 1
        behind = cv2.resize(background(), (120, 160))
        front = np.array([230, 180 - 20 * index, 150])
        image = alpha[..., None] * front + (1 - alpha[..., None]) * cv2.GaussianBlur(behind, (0, 0), 3)
        cv2.imwrite(str(tmp_path / "images" / f"{index}.png"), image)
        cv2.imwrite(str(tmp_path / "masks" / f"{index}.png"), (alpha > 0.5) * np.uint8(255))
        cv2.imwrite(str(tmp_path / "places" / f"{index}.png"), background())
    return tmp_path


def test_scenes_are_of_different_people_and_those_that_fit(pairs_folder: Path) -> None:
    pairs, places = PairsFolder(pairs_folder).pairs, list_images(pairs_folder / "places")
    made = list(make_scenes(pairs, places, count=3, options=SMALL, seed=4))
    assert sorted(one.name for one in made) == ["0", "1", "2"]
    assert [one.motion for one in made] == list(MOTIONS[:3])
    again = list(make_scenes(pairs, places, count=3, options=SMALL, seed=4))
    for one, other in zip(made, again, strict=True):
        np.testing.assert_array_equal(one.frame(1).bgr, other.frame(1).bgr)


def test_too_few_people_or_places_are_named(pairs_folder: Path) -> None:
    pairs, places = PairsFolder(pairs_folder).pairs, list_images(pairs_folder / "places")
    with pytest.raises(DataError, match="too few people can be cut out; came 3 of 4 pictures"):
        list(make_scenes(pairs, places, count=4, options=SMALL))
    with pytest.raises(DataError, match="too few backgrounds; came 4"):
        list(make_scenes(pairs, places, count=5, options=SMALL))


def test_options_out_of_range_are_refused() -> None:
    with pytest.raises(RecipeError, match="jpeg_quality"):
        SceneOptions(jpeg_quality=101)
    with pytest.raises(RecipeError, match="size_wh"):
        SceneOptions(size_wh=(8, 8))
