"""The demonstration: a video, a contact sheet, a report."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.demo_apps.demo import CELL_WIDTH, GAP, ContactSheet, camera_line, run_demo
from edge_deeplab.demo_apps.options import DemoOptions
from edge_deeplab.errors import ModelError, OutputError
from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.video.cameras import Camera
from edge_deeplab.video.frames import Frame
from edge_deeplab.video.source import open_source


@pytest.fixture
def options(tmp_path: Path, bright_model: Path) -> DemoOptions:
    return DemoOptions(folder=tmp_path / "demo", model=str(bright_model), size_wh=(320, 180), frames=9, sheet_rows=3)


def test_the_demo_writes_a_video_a_sheet_and_a_report(options: DemoOptions) -> None:
    pytest.importorskip("skimage", reason="needs scikit-image's picture: pip install 'edge-deeplab[demo]'")
    result = run_demo(options)
    with open_source(str(result.video)) as source:
        assert source.size_wh == (320, 180) and sum(1 for _ in source) == 9
    cell_height = 180 * CELL_WIDTH // 320
    assert read_image(result.sheet).shape == (3 * (cell_height + 2 * GAP), 3 * (CELL_WIDTH + 2 * GAP), 3)
    assert result.report.pipeline.frames == 9
    with pytest.raises(OutputError, match="exists already"):
        run_demo(options)


def test_a_picture_of_ones_own_gives_one_row(options: DemoOptions, tmp_path: Path, bright_person: np.ndarray) -> None:
    write_image(tmp_path / "me.png", bright_person)
    result = run_demo(dataclasses.replace(options, source=str(tmp_path / "me.png")))
    assert read_image(result.sheet).shape[0] == 180 * CELL_WIDTH // 320 + 2 * GAP


def test_a_failed_demo_leaves_no_folder(options: DemoOptions, tmp_path: Path) -> None:
    with pytest.raises(ModelError):
        run_demo(dataclasses.replace(options, model="no-such-model"))
    assert list(tmp_path.iterdir()) == []


def test_the_sheet_shows_the_frames_asked_for_in_their_order() -> None:
    sheet = ContactSheet()
    sheet.choose((1, 3))
    for index in range(5):
        level = np.full((90, 160, 3), 10 * index, np.uint8)
        sheet.watch(Frame(index, index / 30, level), np.full((90, 160), 255, np.uint8), level + 100)
    picture = sheet.picture()
    row_height = 90 * CELL_WIDTH // 160 + 2 * GAP
    assert picture.shape[0] == 2 * row_height
    middle = np.s_[20:40, 20:40]
    for row, index in enumerate((1, 3)):
        cells = picture[row * row_height : (row + 1) * row_height]
        assert (cells[middle] == 10 * index).all()
        assert (cells[:, CELL_WIDTH + 2 * GAP :][middle] == 255).all()
        assert (cells[:, 2 * (CELL_WIDTH + 2 * GAP) :][middle] == 10 * index + 100).all()


def test_pictures_of_several_shapes_share_a_sheet() -> None:
    sheet = ContactSheet()
    sheet.choose((0, 1))
    for index, shape in enumerate(((90, 160), (1, 300))):
        picture = np.zeros((*shape, 3), np.uint8)
        sheet.watch(Frame(index, 0.0, picture), np.zeros(shape, np.uint8), picture)
    assert sheet.picture().ndim == 3


def test_the_camera_line_names_the_command() -> None:
    assert "edge-deeplab blur --source 2" in camera_line((Camera(index=2, path="/dev/video2", name="Webcam"),))
    assert "edge-deeplab blur --source 0" in camera_line(())
