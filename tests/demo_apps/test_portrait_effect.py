"""The three ways of a frame through the effect give the same pictures where nothing is given up."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.controls import LiveSettings, Settings
from edge_deeplab.demo_apps.options import LiveOptions, PortraitOptions, QualityOptions
from edge_deeplab.demo_apps.portrait import run_portrait
from edge_deeplab.demo_apps.portrait_effect import PortraitEffect
from edge_deeplab.errors import ModelError, UsageError
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, MediaFacts
from edge_deeplab.video.pipeline import Stage, run_pipeline
from edge_deeplab.video.sink import NullSink
from edge_deeplab.video.source import SourceOptions

COUNT = 12


@pytest.fixture
def segmenter(bright_model: Path) -> Iterator[Segmenter]:
    with Segmenter(bright_model) as segmenter:
        yield segmenter


class Views:
    """A source of the picture moving to the right; live it gives a frame when the one before was written."""

    def __init__(self, picture_rgb: np.ndarray, *, is_live: bool) -> None:
        self.is_live, self.fps, self.frame_count = is_live, Fraction(1, 100), COUNT  # time enough for every matte
        self.size_wh = (picture_rgb.shape[1], picture_rgb.shape[0])
        self.media, self.notes, self.trouble, self.dropped = MediaFacts(), list[str](), "", 0
        self.was_written = threading.Semaphore(1)
        self._picture = picture_rgb[..., ::-1]

    def describe(self) -> str:
        return "views"

    def __iter__(self) -> Iterator[Frame]:
        for index in range(COUNT):
            if self.is_live:
                assert self.was_written.acquire(timeout=10)
            yield Frame(index, index / 30, np.ascontiguousarray(np.roll(self._picture, 7 * index, axis=1)))

    def close(self) -> None: ...


class KeepingSink(NullSink):
    def __init__(self, source: Views) -> None:
        super().__init__()
        self.pictures: list[np.ndarray] = []
        self._source = source

    def write(self, frame_bgr, time_s, name="") -> None:
        self.pictures.append(frame_bgr.copy())
        self._source.was_written.release()


def pictures(segmenter: Segmenter, picture_rgb: np.ndarray, *, is_live: bool = False, begins: bool = True, **asked):
    """What an effect makes of the moving picture, and the report."""
    source = Views(picture_rgb, is_live=is_live)
    sink = KeepingSink(source)
    with PortraitEffect(segmenter, PortraitCompositor(), quality=QualityOptions(**asked)) as effect:
        if begins:
            effect.begin(source)
        stages = (*effect.stages_before, Stage("process", effect.apply, lambda: effect.stage_ms))
        report = run_pipeline(source, stages, sink)
    return sink.pictures, report


@pytest.mark.parametrize("asked", [{}, {"delays_frame": True}])
@pytest.mark.parametrize("is_live", [False, True])
def test_every_way_makes_the_same_pictures(segmenter, bright_person, is_live, asked) -> None:
    in_turn, _ = pictures(segmenter, bright_person, begins=False)
    made, report = pictures(segmenter, bright_person, is_live=is_live, **asked)
    assert len(made) == COUNT
    assert all(np.array_equal(one, other) for one, other in zip(made, in_turn))
    is_staged = not is_live or "delays_frame" in asked
    assert ("infer/invoke" in report.stages) == is_staged and ("process/invoke" in report.stages) != is_staged
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("video-")]


@pytest.mark.parametrize("is_live", [False, True])
def test_mask_every_asks_the_model_as_often_and_keeps_close(segmenter, bright_person, is_live) -> None:
    exact, _ = pictures(segmenter, bright_person)
    made, report = pictures(segmenter, bright_person, is_live=is_live, mask_every=3)
    stage = "process" if is_live else "infer"
    invoked = report.stages[f"{stage}/invoke"]
    assert invoked.count + invoked.warmup_count == COUNT / 3
    off = [np.abs(one.astype(int) - other).mean() for one, other in zip(made, exact)]
    still = [np.abs(exact[index // 3 * 3].astype(int) - exact[index]).mean() for index in range(COUNT)]
    assert max(off) < 0.3 * max(still)


def test_settings_hold_from_the_next_frame_on(segmenter, bright_person) -> None:
    settings = LiveSettings(Settings(compositing=CompositingOptions(strength=0.0)))
    frame = np.ascontiguousarray(bright_person[..., ::-1])
    with PortraitEffect(segmenter, PortraitCompositor(), settings=settings) as effect:
        as_it_came = effect.apply(Frame(0, 0.0, frame.copy())).copy()
        settings.update(lambda now: now.with_compositing(strength=1.0))
        blurred = effect.apply(Frame(1, 0.0, frame.copy()))
    assert np.array_equal(as_it_came, frame) and not np.array_equal(blurred, frame)


def test_pictures_of_other_names_have_nothing_to_do_with_one_another(segmenter, bright_person) -> None:
    frames = [np.ascontiguousarray(np.roll(bright_person[..., ::-1], 15 * index, axis=1)) for index in range(3)]

    def made(names: str) -> list[np.ndarray]:
        with PortraitEffect(segmenter, PortraitCompositor(), quality=QualityOptions(mask_every=4)) as effect:
            return [
                effect.apply(Frame(index, 0.0, frame.copy(), name)).copy()
                for index, (frame, name) in enumerate(zip(frames, names))
            ]

    alone = [made("a" * 3)[0], *(made_alone(segmenter, frame) for frame in frames[1:])]
    assert all(np.array_equal(one, other) for one, other in zip(made("abc"), alone))
    assert not all(np.array_equal(one, other) for one, other in zip(made("aaa"), alone))


def made_alone(segmenter: Segmenter, frame: np.ndarray) -> np.ndarray:
    with PortraitEffect(segmenter, PortraitCompositor()) as effect:
        return effect.apply(Frame(0, 0.0, frame.copy()))


def run(model: Path, picture: np.ndarray, **asked):
    return run_portrait(
        PortraitOptions(
            model=str(model), quality=QualityOptions(**asked),
            live=LiveOptions(source="synthetic", output="null", threads=1),
        ),
        source_options=SourceOptions(picture=picture, synthetic_frames=40, size_wh=(160, 90)),
    )  # fmt: skip


def test_the_report_says_what_was_given_up(bright_model: Path, bright_person: np.ndarray) -> None:
    impossible = run(bright_model, np.kron(bright_person, np.ones((4, 4, 1), np.uint8)), target_fps=240.0)
    assert sum(impossible.quality.values()) == pytest.approx(1.0)
    assert impossible.to_dict()["quality"] == impossible.quality
    assert run(bright_model, bright_person).quality == {}


def test_a_small_model_is_opened_only_for_something_to_hold(bright_model: Path, bright_person: np.ndarray) -> None:
    with pytest.raises(UsageError, match="--target-fps or --max-cpu"):
        run(bright_model, bright_person, small_model=str(bright_model))
    with pytest.raises(ModelError, match="no such model"):
        run(bright_model, bright_person, target_fps=30.0, small_model="portriat-192")
    assert run(bright_model, bright_person, target_fps=1.0, small_model=str(bright_model)).quality == {"full": 1.0}
