"""The class overlay from source to file, with the real engine."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from edge_deeplab.compositing.options import OverlayOptions
from edge_deeplab.compositing.overlay import ClassOverlay
from edge_deeplab.demo_apps.controls import LiveSettings
from edge_deeplab.demo_apps.options import LiveOptions, WebcamOptions
from edge_deeplab.demo_apps.webcam import OverlayEffect, run_webcam
from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.labels import colour_map
from edge_deeplab.manifest import Manifest
from edge_deeplab.runtime.segmenter import Segmenter
from edge_deeplab.video.frames import Frame

PLAIN = OverlayOptions(opacity=1.0, shows_legend=False)


def test_classes_are_drawn_and_the_background_is_left(
    tmp_path: Path, bright_model: Path, bright_person: np.ndarray
) -> None:
    write_image(tmp_path / "in.png", bright_person)
    live = LiveOptions(source=str(tmp_path / "in.png"), output=str(tmp_path / "out.png"))
    report = run_webcam(WebcamOptions(model=str(bright_model), live=live, overlay=PLAIN))
    picture = read_image(tmp_path / "out.png")
    assert (picture[80:120, 140:180] == colour_map(2)[1]).all()
    np.testing.assert_array_equal(picture[:30], bright_person[:30])
    assert "process/overlay" in report.pipeline.stages


def test_a_model_of_someone_else_runs_with_the_facts_given(
    tmp_path: Path, bright_model: Path, bright_person: np.ndarray
) -> None:
    write_image(tmp_path / "in.png", bright_person)
    labels = ("dark", "bright")  # the first class is no background here, so it is drawn too
    manifest = Manifest(name="other", labels=labels, person_class=None, size_hw=(64, 64))
    live = LiveOptions(source=str(tmp_path / "in.png"), output=str(tmp_path / "out.png"))
    run_webcam(WebcamOptions(model=str(bright_model), live=live, overlay=PLAIN), manifest=manifest)
    assert (read_image(tmp_path / "out.png")[:30] == colour_map(2)[0]).all()


def test_the_rate_is_drawn_when_asked_for(tmp_path: Path, bright_model: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name in ("a", "b"):
        write_image(folder / f"{name}.png", np.zeros((120, 160, 3), np.uint8))
    live = LiveOptions(source=str(folder), output=f"{tmp_path}/out/", shows_fps=True)
    run_webcam(WebcamOptions(model=str(bright_model), live=live, overlay=PLAIN))
    first, second = (read_image(tmp_path / "out" / f"{name}.png") for name in ("a", "b"))
    assert not first.any(), "one frame has no rate"
    assert second[90:].any() and not second[:60].any()


def test_a_processor_budget_makes_frames_rarer_and_is_told(bright_model: Path) -> None:
    """Driven by hand until the first pause is asked for, whatever the machine."""
    with Segmenter(bright_model) as segmenter:
        effect = OverlayEffect(segmenter, ClassOverlay(segmenter.labels), LiveSettings(), max_cpu=1.0)
        frame = np.zeros((480, 640, 3), np.uint8)
        for index in range(1_000_000):
            effect.apply(Frame(index, index / 30, frame))
            if effect.least_interval_s() > 0:
                break
    assert "at most" in effect.status and set(effect.quality_shares) == {"full"}
