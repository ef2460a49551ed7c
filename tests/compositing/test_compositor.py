"""The whole of compositing: what must hold of the finished picture, whatever the frame."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge_deeplab.compositing.background import ColourBackground, MovingBackground
from edge_deeplab.compositing.compositor import PortraitCompositor, Pyramid
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.errors import UsageError

RED, GREEN = (0, 0, 255), (0, 255, 0)
EVERYTHING_OFF = CompositingOptions(strength=0.0, smoothing=0.0, refines_edges=False)


def disc(height: int, width: int, *, centre: float = 0.5, radius: float = 0.3) -> np.ndarray:
    """(height, width) float32: 1 in a disc, with an edge of about two pixels."""
    y, x = np.mgrid[:height, :width].astype(np.float32)
    distance = np.hypot((y + 0.5) / height - 0.5, (x + 0.5) / width - centre)
    return np.clip((radius - distance) * height / 2 + 0.5, 0, 1).astype(np.float32)


def person_scene(height: int = 360, width: int = 640) -> tuple[np.ndarray, np.ndarray]:
    """A red person on a green background and the true matte at the frame's size."""
    truth = disc(height, width)
    frame = np.empty((height, width, 3), np.uint8)
    frame[:] = GREEN
    frame[truth > 0.5] = RED
    return frame, truth


def small_matte(truth: np.ndarray, side: int = 128) -> np.ndarray:
    return cv2.resize(truth, (side, side), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("strength", [0.05, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("refines_edges", [True, False])
def test_colours_of_the_person_never_enter_the_blur(strength: float, refines_edges: bool) -> None:
    frame, truth = person_scene()
    options = CompositingOptions(strength=strength, refines_edges=refines_edges)
    picture = PortraitCompositor(options).compose(frame, small_matte(truth))
    away = cv2.dilate((truth > 0).astype(np.uint8), np.ones((17, 17), np.uint8)) == 0  # beyond the soft edge: 8 px
    assert picture[away][:, 2].max() <= 1, "red in the background"
    assert picture[away][:, 1].min() >= 254, "the background's green was lost"


@pytest.mark.parametrize(
    "options", [CompositingOptions(), CompositingOptions(background=ColourBackground((255, 0, 0)))]
)
def test_the_person_stays_untouched(options: CompositingOptions) -> None:
    frame, truth = person_scene()
    picture = PortraitCompositor(options).compose(frame, small_matte(truth))
    inside = cv2.erode((truth == 1).astype(np.uint8), np.ones((17, 17), np.uint8)) == 1
    np.testing.assert_array_equal(picture[inside], frame[inside])


def test_no_rim_of_the_old_background_stays_before_another_one() -> None:
    """The edge's pixels are mixed with the very alpha that compositing will find, so the person's part is known."""
    matte = small_matte(cv2.GaussianBlur(disc(360, 640), (0, 0), 4))
    plain = {"smoothing": 0.0, "refines_edges": False}  # alpha then depends on the matte alone
    empty = np.zeros((360, 640, 3), np.uint8)
    first = PortraitCompositor(CompositingOptions(**plain))  # type: ignore[arg-type]
    first.compose(empty, matte)
    share = first.alpha[..., None] / 255.0
    frame = np.rint(share * 30 + (1 - share) * np.full(empty.shape, 250)).astype(np.uint8)
    expected = share * 30 + (1 - share) * np.array(RED)

    def worst(cleans_edges: bool) -> float:
        options = CompositingOptions(background=ColourBackground(RED), cleans_edges=cleans_edges, **plain)  # type: ignore[arg-type]
        return float(np.abs(PortraitCompositor(options).compose(frame, matte) - expected).max())

    assert worst(True) <= 3  # the background's colour is known to a level, and each product is rounded
    assert worst(False) > 30


@given(value=st.integers(0, 255), strength=st.floats(0.01, 1.0), seed=st.integers(0, 9))
@settings(max_examples=25, deadline=None)
def test_a_constant_picture_stays_constant(value: int, strength: float, seed: int) -> None:
    matte = cv2.GaussianBlur(np.random.default_rng(seed).random((48, 64)).astype(np.float32), (0, 0), 4)
    matte = cv2.normalize(matte, None, 0.0, 1.0, cv2.NORM_MINMAX)
    frame = np.full((180, 320, 3), value, np.uint8)
    picture = PortraitCompositor(CompositingOptions(strength=strength)).compose(frame, matte)
    # One level for the blur's rounding, one for the blend's.
    assert int(np.abs(picture.astype(int) - value).max()) <= 2


def test_a_matte_of_ones_returns_the_frame_and_of_zeros_nothing_of_its_detail() -> None:
    frame = np.random.default_rng(0).integers(0, 256, (240, 320, 3), np.uint8)
    everything = PortraitCompositor().compose(frame, np.ones((64, 64), np.float32))
    nothing = PortraitCompositor().compose(frame, np.zeros((64, 64), np.float32))
    np.testing.assert_array_equal(everything, frame)
    assert nothing.std() < 0.2 * frame.std()
    behind = PortraitCompositor(CompositingOptions(background=ColourBackground((1, 2, 3))))
    assert (behind.compose(frame, np.zeros((64, 64), np.float32)) == (1, 2, 3)).all()


def test_every_stage_off_returns_the_frame() -> None:
    frame, truth = person_scene()
    np.testing.assert_array_equal(PortraitCompositor(EVERYTHING_OFF).compose(frame, small_matte(truth)), frame)


@pytest.mark.parametrize(
    "shape", [(1, 1), (1, 640), (480, 1), (2, 3), (37, 53), (481, 641), (721, 1281), (1920, 1080), (2160, 3840)]
)
def test_any_frame_shape_gives_a_picture_of_that_shape(shape: tuple[int, int]) -> None:
    frame = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    compositor = PortraitCompositor()
    for _ in range(2):
        picture = compositor.compose(frame, disc(32, 48))
        assert picture.shape == frame.shape and picture.dtype == np.uint8
        assert compositor.alpha.shape == shape


@pytest.mark.parametrize("matte_shape", [(1, 1), (1, 7), (256, 144), (513, 513)])
def test_any_matte_shape_covers_the_whole_frame(matte_shape: tuple[int, int]) -> None:
    frame = np.full((90, 160, 3), 77, np.uint8)
    compositor = PortraitCompositor()
    compositor.compose(frame, np.ones(matte_shape, np.float32))
    assert compositor.alpha.min() == 255


def test_frames_and_mattes_may_change_size_between_calls() -> None:
    compositor = PortraitCompositor()
    for shape, side in (((90, 160), 32), ((180, 320), 32), ((90, 160), 64)):
        picture = compositor.compose(np.zeros((*shape, 3), np.uint8), np.zeros((side, side), np.float32))
        assert picture.shape[:2] == shape


def test_the_result_may_be_written_over_the_frame() -> None:
    frame, truth = person_scene()
    for options in (CompositingOptions(), CompositingOptions(background=ColourBackground((9, 9, 9))), EVERYTHING_OFF):
        expected = PortraitCompositor(options).compose(frame.copy(), small_matte(truth))
        own = frame.copy()
        assert PortraitCompositor(options).compose(own, small_matte(truth), out=own) is own
        np.testing.assert_array_equal(own, expected)


def test_inputs_are_not_changed_without_being_asked() -> None:
    frame, truth = person_scene()
    matte = small_matte(truth)
    before = frame.copy(), matte.copy()
    compositor = PortraitCompositor()
    for _ in range(3):
        compositor.compose(frame, matte)
    np.testing.assert_array_equal(frame, before[0])
    np.testing.assert_array_equal(matte, before[1])


def test_a_result_is_not_overwritten_by_the_next_call() -> None:
    frame, truth = person_scene()
    compositor = PortraitCompositor()
    first = compositor.compose(frame, small_matte(truth))
    kept = first.copy()
    compositor.compose(255 - frame, 1 - small_matte(truth))
    np.testing.assert_array_equal(first, kept)


def test_a_moving_background_is_asked_for_the_time_of_the_frame() -> None:
    asked: list[float] = []

    def picture_at(time_s: float) -> np.ndarray:
        asked.append(time_s)
        return np.full((4, 4, 3), int(time_s * 10), np.uint8)

    compositor = PortraitCompositor(CompositingOptions(background=MovingBackground(picture_at)))
    frame = np.zeros((16, 16, 3), np.uint8)
    results = [compositor.compose(frame, np.zeros((8, 8), np.float32), time_s=t)[0, 0, 0] for t in (0.0, 1.0, 2.5)]
    assert asked == [0.0, 1.0, 2.5] and [int(value) for value in results] == [0, 10, 25]


def test_stage_times_of_the_last_call_are_told() -> None:
    compositor = PortraitCompositor()
    compositor.compose(*_scene_and_matte())
    assert list(compositor.stage_ms) == ["shrink", "islands", "smooth", "upsample", "background", "blend"]
    assert all(value >= 0 for value in compositor.stage_ms.values())


@pytest.mark.parametrize(
    ("frame", "matte"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32)),
        (np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.float32), np.zeros((4, 4), np.float32)),
        (np.zeros((4, 4, 3), np.uint8), np.zeros((4, 4), np.uint8)),
        (np.zeros((0, 4, 3), np.uint8), np.zeros((4, 4), np.float32)),
    ],
)
def test_wrong_arrays_are_refused(frame: np.ndarray, matte: np.ndarray) -> None:
    with pytest.raises(ValueError, match="must be"):
        PortraitCompositor().compose(frame, matte)


@pytest.mark.parametrize(
    "change", [{"strength": 1.1}, {"smoothing": 1.0}, {"edge_softness": -0.1}, {"edge_level": 0.0}]
)
def test_options_out_of_range_are_refused_by_name(change: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=next(iter(change))):
        CompositingOptions(**change)  # type: ignore[arg-type]


def test_pyramid_of_common_frames_divides_evenly() -> None:
    for frame_wh in ((640, 480), (1280, 720), (1920, 1080), (2560, 1440), (3840, 2160)):
        pyramid = Pyramid.of(frame_wh)
        assert frame_wh[0] % pyramid.edge_wh[0] == 0 and pyramid.edge_wh[0] % pyramid.low_wh[0] == 0


def test_a_smaller_working_side_keeps_the_past_and_draws_the_same_edge() -> None:
    frame, matte = _scene_and_matte()
    compositor, smaller = PortraitCompositor(), CompositingOptions(working_side=160)
    fine = compositor.compose(frame, matte)
    edge = compositor.alpha.copy()
    compositor.options = smaller
    coarse = compositor.compose(frame, matte)
    assert Pyramid.of((640, 360), 160).low_wh == (160, 90)
    assert np.abs(coarse.astype(int) - fine).max() <= 40, "only where alpha is undecided may two pictures differ"
    undecided = cv2.dilate(((edge > 0) & (edge < 255)).astype(np.uint8), np.ones((17, 17), np.uint8)) == 1
    np.testing.assert_array_equal(coarse[~undecided], fine[~undecided])


def _scene_and_matte() -> tuple[np.ndarray, np.ndarray]:
    frame, truth = person_scene()
    return frame, small_matte(truth)


def test_a_person_who_moves_fast_leaves_no_trail_in_the_picture() -> None:
    compositor = PortraitCompositor(CompositingOptions(smoothing=0.9))
    for step in range(10):
        truth = disc(360, 640, centre=0.25 + 0.05 * step, radius=0.15)
        frame = np.empty((360, 640, 3), np.uint8)
        frame[:] = GREEN
        frame[truth > 0.5] = RED
        picture = compositor.compose(frame, small_matte(truth))
        away = cv2.dilate((truth > 0).astype(np.uint8), np.ones((25, 25), np.uint8)) == 0
        assert picture[away][:, 2].max() <= 1, f"red where the person was, step {step}"
        inside = cv2.erode((truth == 1).astype(np.uint8), np.ones((25, 25), np.uint8)) == 1
        assert compositor.alpha[inside].min() == 255, f"the person is late, step {step}"


def test_options_changed_between_frames_act_at_once_and_keep_the_past() -> None:
    frame, truth = person_scene()
    mattes = [small_matte(np.roll(truth, shift, axis=1)) for shift in (0, 3, 6)]
    weak, strong = CompositingOptions(strength=0.2), CompositingOptions(strength=0.9)
    changed, constant = PortraitCompositor(weak), PortraitCompositor(strong)
    for matte in mattes[:2]:
        changed.compose(frame, matte)
        constant.compose(frame, matte)
    changed.options = strong
    np.testing.assert_array_equal(changed.compose(frame, mattes[2]), constant.compose(frame, mattes[2]))
    assert changed.options is strong


@pytest.mark.parametrize("size_wh", [(640, 360), (1280, 720), (1283, 721)])
def test_a_picture_shrunk_beforehand_gives_the_same(size_wh: tuple[int, int]) -> None:
    frame, truth = person_scene(size_wh[1], size_wh[0])
    frame = cv2.GaussianBlur(frame, (0, 0), 2)
    expected = PortraitCompositor().compose(frame, small_matte(truth))
    compositor = PortraitCompositor()
    edge_bgr = compositor.shrink(frame)
    assert max(edge_bgr.shape[:2]) <= 800
    np.testing.assert_array_equal(compositor.compose(frame, small_matte(truth), edge_bgr=edge_bgr), expected)
    with pytest.raises(ValueError, match="shrink"):
        compositor.compose(frame, small_matte(truth), edge_bgr=edge_bgr[1:])
