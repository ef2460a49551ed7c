"""Portrait blur from source to file, with the real engine."""

from __future__ import annotations

import os
import signal
import threading
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.compositing.options import CompositingOptions
from edge_deeplab.demo_apps.options import LiveOptions, PortraitOptions
from edge_deeplab.demo_apps.portrait import run_portrait
from edge_deeplab.errors import InputError, ModelError, OutputError, UsageError
from edge_deeplab.imaging.decode import read_image, write_image
from edge_deeplab.video.frames import Frame
from edge_deeplab.video.source import SourceOptions, open_source


def options(model: Path, source: Path | str, output: Path | str | None, **changes: object) -> PortraitOptions:
    live = LiveOptions(source=str(source), output=None if output is None else str(output), threads=1)
    return PortraitOptions(model=str(model), live=live, **changes)  # type: ignore[arg-type]


@pytest.fixture
def photo(tmp_path: Path, bright_person: np.ndarray) -> Path:
    write_image(tmp_path / "photo.png", bright_person)
    return tmp_path / "photo.png"


def test_a_picture_keeps_its_person_and_loses_its_stripes(tmp_path: Path, photo: Path, bright_model: Path) -> None:
    report = run_portrait(options(bright_model, photo, tmp_path / "out.png"))
    before, after = read_image(photo), read_image(tmp_path / "out.png")
    assert report.pipeline.frames == 1 and report.frame_wh == (320, 180)
    assert (after[80:120, 140:180] == 255).all()
    far = np.s_[:30, :]
    assert after[far].astype(float).std(axis=1).mean() < 0.3 * before[far].astype(float).std(axis=1).mean()
    assert after[far].max() < 100, "the white person leaked into the background"


@pytest.mark.parametrize("background", ["red", "#ff0000", "picture"])
def test_other_backgrounds_replace_the_frame(tmp_path: Path, photo: Path, bright_model: Path, background: str) -> None:
    if background == "picture":
        background = str(tmp_path / "room.png")
        write_image(Path(background), np.full((40, 90, 3), (255, 0, 0), np.uint8))
    run_portrait(options(bright_model, photo, tmp_path / "out.png", background=background))
    after = read_image(tmp_path / "out.png")
    assert (after[:30] == (255, 0, 0)).all() and (after[80:120, 140:180] == 255).all()


def test_a_video_stands_behind_a_video_and_loops(tmp_path: Path, bright_model: Path, bright_person: np.ndarray) -> None:
    make_grays(tmp_path / "behind.mkv", (0, 80, 160))
    seen: list[int] = []

    def watch(frame: Frame, alpha: np.ndarray, picture: np.ndarray) -> None:
        seen.append(int(picture[2, 2].mean()))

    run_portrait(
        options(bright_model, "synthetic", "null", background=str(tmp_path / "behind.mkv")), watch=watch,
        source_options=SourceOptions(picture=bright_person, synthetic_frames=7, size_wh=(160, 90)),
    )  # fmt: skip
    tolerance = 6  # a lossy codec
    assert np.abs(np.array(seen) - (0, 80, 160, 0, 80, 160, 0)).max() <= tolerance


def test_every_frame_of_a_file_is_written_in_its_place(tmp_path: Path, bright_model: Path) -> None:
    make_grays(tmp_path / "in.mkv", tuple(range(0, 120, 10)))
    nothing = CompositingOptions(strength=0.0)
    report = run_portrait(options(bright_model, tmp_path / "in.mkv", tmp_path / "out.mkv", compositing=nothing))
    with open_source(str(tmp_path / "out.mkv")) as source:
        grays = [int(frame.bgr.mean()) for frame in source]
    assert report.pipeline.frames == 12 and report.pipeline.dropped == 0
    assert np.abs(np.array(grays) - np.arange(0, 120, 10)).max() <= 6  # two lossy codings


def test_a_folder_of_pictures_of_several_sizes_keeps_names_and_sizes(tmp_path: Path, bright_model: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    shapes = {"a": (30, 40), "b": (1, 50), "c": (60, 1)}
    for name, shape in shapes.items():
        write_image(folder / f"{name}.png", np.full((*shape, 3), 30, np.uint8))
    run_portrait(options(bright_model, folder, f"{tmp_path}/out/"))
    written = {path.stem: read_image(path).shape[:2] for path in (tmp_path / "out").iterdir()}
    assert written == shapes


def test_a_signal_leaves_a_playable_video(tmp_path: Path, bright_model: Path, bright_person: np.ndarray) -> None:
    counted = threading.Event()

    def watch(frame: Frame, alpha: np.ndarray, picture: np.ndarray) -> None:
        if frame.index == 8 and not counted.is_set():
            counted.set()
            os.kill(os.getpid(), signal.SIGTERM)

    report = run_portrait(
        options(bright_model, "synthetic", tmp_path / "out.mp4"), watch=watch,
        source_options=SourceOptions(picture=bright_person, synthetic_frames=100_000, size_wh=(160, 90)),
    )  # fmt: skip
    assert report.pipeline.was_stopped
    video = cv2.VideoCapture(str(tmp_path / "out.mp4"))
    assert video.read()[0]


def test_the_report_names_stages_and_model(tmp_path: Path, bright_model: Path, bright_person: np.ndarray) -> None:
    report = run_portrait(
        options(bright_model, "synthetic", "null"),
        source_options=SourceOptions(picture=bright_person, synthetic_frames=12, size_wh=(160, 90)),
    )
    assert [name for name, _ in report.stage_rows()] == [
        "capture", "infer/prepare", "infer/invoke", "infer/decode", "infer", "process/shrink", "process/islands",
        "process/smooth",
        "process/upsample", "process/background", "process/blend", "process", "write",
    ]  # fmt: skip
    assert report.model["name"] == "bright" and report.to_dict()["pipeline"]["frames"] == 12


@pytest.mark.parametrize(
    ("source", "output", "background", "error"),
    [
        ("missing.png", "null", "blur", InputError),
        ("photo.png", "null", "no-such-thing", UsageError),
        ("photo.png", "photo.png", "blur", OutputError),
        ("photo.png", "missing/out.png", "blur", OutputError),
    ],
)
def test_bad_input_is_one_of_our_errors_and_leaves_nothing(
    tmp_path: Path, photo: Path, bright_model: Path, monkeypatch: pytest.MonkeyPatch,
    source: str, output: str, background: str, error: type[Exception],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    before = photo.read_bytes()
    with pytest.raises(error):
        run_portrait(options(bright_model, source, output, background=background))
    assert [path.name for path in tmp_path.iterdir()] == ["photo.png"] and photo.read_bytes() == before


def test_an_output_over_its_own_source_is_refused_even_when_forced(photo: Path, bright_model: Path) -> None:
    live = LiveOptions(source=str(photo), output=str(photo), overwrites=True)
    with pytest.raises(OutputError, match="source itself"):
        run_portrait(PortraitOptions(model=str(bright_model), live=live))


def test_without_a_screen_an_output_is_asked_for(
    photo: Path, bright_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(OutputError, match="--output"):
        run_portrait(options(bright_model, photo, None))


def test_an_unknown_model_is_a_model_error(photo: Path) -> None:
    with pytest.raises(ModelError, match="no such model"):
        run_portrait(options(Path("portriat"), photo, "null"))


def make_grays(path: Path, levels: tuple[int, ...]) -> None:
    """A clip of plain gray frames, 30 a second."""
    from edge_deeplab.video.sink import open_sink

    with open_sink(str(path)) as sink:
        for index, level in enumerate(levels):
            sink.write(np.full((48, 64, 3), level, np.uint8), index / 30)
        sink.finish()
