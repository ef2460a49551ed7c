"""What every sink promises, wherever it writes."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import DeviceError, OutputError
from edge_deeplab.video.frames import Sink
from edge_deeplab.video.sink import SinkOptions, open_sink
from edge_deeplab.video.source import open_source

FILES = {
    "pyav mp4": ("out.mp4", "pyav"),
    "pyav mkv": ("out.mkv", "pyav"),
    "pyav webm": ("out.webm", "pyav"),
    "opencv mp4": ("out.mp4", "opencv"),
    "opencv mkv": ("out.mkv", "opencv"),
    "image": ("out.png", "auto"),
    "folder": ("out/", "auto"),
}


class Broken(Exception):  # noqa: N818
    pass


@pytest.fixture(params=[*FILES, "null", "window"])
def sink(request, tmp_path, monkeypatch):
    if request.param == "window":
        monkeypatch.setenv("DISPLAY", ":0")
        for name in ("namedWindow", "resizeWindow", "imshow", "destroyWindow"):
            monkeypatch.setattr(cv2, name, lambda *_: None, raising=False)
        monkeypatch.setattr(cv2, "waitKeyEx", lambda delay_ms: -1, raising=False)
        monkeypatch.setattr(cv2, "getWindowProperty", lambda *_: 1.0, raising=False)
    name, encoder = FILES.get(request.param, (request.param, "auto"))
    spec = name if request.param in ("null", "window") else f"{tmp_path}/{name}"
    return open_sink(spec, SinkOptions(encoder=encoder))


@pytest.fixture(params=list(FILES))
def file_sink(request, tmp_path):
    """Opens a sink on out.* in tmp_path; gives the opener and the place."""
    name, encoder = FILES[request.param]

    def opened(*, overwrite: bool = False):
        return open_sink(f"{tmp_path}/{name}", SinkOptions(encoder=encoder, overwrite=overwrite))

    return opened, tmp_path / name


def a_frame(value: int = 100) -> np.ndarray:
    return np.full((48, 64, 3), value, np.uint8)


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_it_keeps_the_protocol(sink) -> None:
    with sink:
        assert isinstance(sink, Sink)
        assert "\n" not in sink.describe() and sink.describe()
        sink.write(a_frame(), 0.0)
        sink.finish()


def test_what_is_no_frame_is_refused(sink) -> None:
    for wrong in (a_frame().astype(np.float32), a_frame()[..., 0], np.zeros((48, 64, 4), np.uint8)):
        with pytest.raises(OutputError, match="not a frame"):
            sink.write(wrong, 0.0)
    sink.discard()


def test_closing_and_discarding_again_is_harmless(sink) -> None:
    sink.write(a_frame(), 0.0)
    sink.close()
    sink.close()
    sink.discard()
    with pytest.raises(OutputError, match="closed"):
        sink.write(a_frame(), 1.0)


def test_a_frame_is_not_changed_by_writing(sink) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    before = frame.copy()
    with sink:
        sink.write(frame, 0.0)
    assert np.array_equal(frame, before)


def test_an_output_has_its_name_only_when_it_is_whole(file_sink, tmp_path) -> None:
    opened, place = file_sink
    with opened() as sink:
        sink.write(a_frame(), 0.0)
        assert not place.exists()
    assert names_in(tmp_path) == [place.name]


def test_an_error_leaves_nothing(file_sink, tmp_path) -> None:
    opened, _ = file_sink
    with pytest.raises(Broken), opened() as sink:
        sink.write(a_frame(), 0.0)
        raise Broken
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("reason", [KeyboardInterrupt, SystemExit, DeviceError("camera went away")])
def test_an_interruption_keeps_what_was_recorded(file_sink, tmp_path, reason) -> None:
    opened, place = file_sink
    with pytest.raises((KeyboardInterrupt, SystemExit, DeviceError)), opened() as sink:
        sink.write(a_frame(), 0.0)
        raise reason
    assert names_in(tmp_path) == [place.name]


def test_without_a_frame_nothing_is_left_and_the_user_is_told(file_sink, tmp_path) -> None:
    opened, _ = file_sink
    with opened() as sink:
        pass
    assert names_in(tmp_path) == []
    assert "no frame came" in sink.notes[-1]


def test_what_is_there_is_kept_unless_overwrite_is_said(file_sink, tmp_path) -> None:
    opened, place = file_sink
    with opened() as sink:
        sink.write(a_frame(10), 0.0)
    before = content(place)
    with pytest.raises(OutputError, match=r"is there already.*--force"):
        opened()
    assert content(place) == before
    with opened(overwrite=True) as sink:
        sink.write(a_frame(200), 0.0)
    assert content(place) != before
    assert names_in(tmp_path) == [place.name]


def test_what_appeared_meanwhile_is_not_overwritten(file_sink, tmp_path) -> None:
    opened, place = file_sink
    sink = opened()
    sink.write(a_frame(), 0.0)
    if place.suffix:
        place.write_text("someone else's")
    else:
        place.mkdir()
        (place / "frame_000000.png").write_text("someone else's")
    with pytest.raises(OutputError, match="what was made lies in"):
        sink.close()
    assert b"someone else's" in content(place)
    assert len(names_in(tmp_path)) == 2


def test_a_missing_folder_is_one_line(file_sink, tmp_path) -> None:
    opened, _ = file_sink
    tmp_path.rmdir()
    with pytest.raises(OutputError, match="does not exist") as caught:
        opened()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["pyav mp4", "opencv mp4"])
def test_a_video_fits_frames_of_other_sizes_into_the_first_ones(name, tmp_path) -> None:
    file, encoder = FILES[name]
    with open_sink(f"{tmp_path}/{file}", SinkOptions(encoder=encoder)) as sink:
        for index, frame in enumerate((a_frame(), a_frame(200)[:, :32], a_frame(200)[:24])):
            sink.write(frame, index / 30)
    assert sum("fitted into 64x48" in note for note in sink.notes) == 1
    with open_source(f"{tmp_path}/{file}") as source:
        whole, narrow, flat = (frame.bgr.mean(axis=2) for frame in source)
    assert whole.shape == narrow.shape == flat.shape == (48, 64)
    assert narrow[:, 20:44].min() > 150 and max(narrow[:, :12].max(), narrow[:, 52:].max()) < 60
    assert flat[16:32].min() > 150 and max(flat[:8].max(), flat[40:].max()) < 60


def content(place: Path) -> bytes:
    files = sorted(place.iterdir()) if place.is_dir() else [place]
    return b"".join(file.read_bytes() for file in files)
