"""A person before a blurred or another background: the program behind `edge-deeplab blur`.

report = run_portrait(PortraitOptions(live=LiveOptions(source="talk.mp4", output="out.mp4"), background="navy"))
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from edge_deeplab.compositing.background import MovingBackground, colour_or_picture, parse_colour
from edge_deeplab.compositing.compositor import PortraitCompositor
from edge_deeplab.compositing.options import Background
from edge_deeplab.demo_apps.controls import BackgroundChoice, LiveSettings, Settings, portrait_controls
from edge_deeplab.demo_apps.live import Effect, LiveReport, run_live
from edge_deeplab.demo_apps.looping import LoopingVideo
from edge_deeplab.demo_apps.options import BLUR, SMALL_MODELS, USUAL_BACKGROUNDS, PortraitOptions
from edge_deeplab.demo_apps.portrait_effect import PortraitEffect
from edge_deeplab.errors import UsageError
from edge_deeplab.imaging.decode import IMAGE_SUFFIXES
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame, Source
from edge_deeplab.video.pipeline import Progress, Stage
from edge_deeplab.video.source import SourceOptions


def run_portrait(
    options: PortraitOptions,
    *,
    manifest: Manifest | None = None,
    stop: threading.Event | None = None,
    on_progress: Callable[[Progress], None] | None = None,
    source_options: SourceOptions | None = None,
    on_open: Callable[[Source], None] | None = None,
    watch: Callable[[Frame, np.ndarray, np.ndarray], None] | None = None,
    say: Callable[[str], None] | None = None,
) -> LiveReport:
    """Runs until the source ends, a signal comes or the window is closed; other arguments as run_live's.

    Args:
        manifest: of a model that carries none.
        watch: called with each frame as it came, its alpha and the picture made of it; not to be changed or kept.

    Raises: ModelError, InputError, OutputError, DeviceError, UsageError.
    """
    with ExitStack() as opened:
        choices = _background_choices(options, opened)
        live = options.live
        segmenter = opened.enter_context(Segmenter(
            options.model, threads=live.threads, manifest=manifest, precision=live.precision, trims_ends=True
        ))  # fmt: skip
        small = _open_small_model(options, opened)
        compositing = dataclasses.replace(options.compositing, background=choices[0].background)
        settings = LiveSettings(Settings(compositing=compositing))
        portrait = PortraitEffect(
            segmenter, PortraitCompositor(compositing), small=small, settings=settings, quality=options.quality
        )
        opened.enter_context(portrait)

        def begin(source: Source) -> None:
            portrait.begin(source)
            if on_open is not None:
                on_open(source)

        effect: Effect = portrait if watch is None else _Watched(portrait, watch)
        return run_live(
            options.live, segmenter, effect, settings=settings, controls=portrait_controls(choices), stop=stop,
            on_progress=on_progress, source_options=source_options, on_open=begin, say=say,
        )  # fmt: skip


class _Watched:
    """An effect that shows what it got and what it made to someone."""

    def __init__(self, effect: PortraitEffect, watch: Callable[[Frame, np.ndarray, np.ndarray], None]) -> None:
        self._effect, self._watch = effect, watch

    @property
    def stages_before(self) -> tuple[Stage, ...]:
        return self._effect.stages_before

    @property
    def stage_ms(self) -> dict[str, float]:
        return self._effect.stage_ms

    @property
    def status(self) -> str:
        return self._effect.status

    @property
    def quality_shares(self) -> dict[str, float]:
        return self._effect.quality_shares

    def least_interval_s(self) -> float:
        return self._effect.least_interval_s()

    def apply(self, frame: Frame) -> np.ndarray:
        before = dataclasses.replace(frame, bgr=frame.bgr.copy())
        picture = self._effect.apply(frame)
        self._watch(before, self._effect.alpha, picture)
        return picture


def _open_small_model(options: PortraitOptions, opened: ExitStack) -> Segmenter | None:
    """The quicker model, where something is to be held and there is one.

    Raises: UsageError when one is named and nothing is to be held.
    """
    quality = options.quality
    if quality.target_fps is None and quality.max_cpu is None:
        if quality.small_model is not None:
            raise UsageError(
                "a small model is only used to hold a rate or a budget", came=quality.small_model,
                next_step="give --target-fps or --max-cpu too, or take it as --model",
            )  # fmt: skip
        return None
    name = quality.small_model or SMALL_MODELS.get(options.model)
    return (
        None if name is None else opened.enter_context(Segmenter(name, threads=options.live.threads, trims_ends=True))
    )


def _background_choices(options: PortraitOptions, opened: ExitStack) -> list[BackgroundChoice]:
    """The backgrounds that a key goes through, the first one shown first; to a single one the usual ones are added."""
    names = [options.background, *options.more_backgrounds]
    if len(names) == 1:
        names += [name for name in USUAL_BACKGROUNDS if name != names[0]]
    return [BackgroundChoice(name, None if name == BLUR else _open_background(name, opened)) for name in names]


def _open_background(text: str, opened: ExitStack) -> Background:
    path = Path(text)
    if parse_colour(text) is None and path.is_file() and path.suffix.lower() not in IMAGE_SUFFIXES:
        return MovingBackground(opened.enter_context(LoopingVideo(path)).picture_at)
    return colour_or_picture(text)
