"""What a user's words for a source mean, and the still pictures among them."""

from __future__ import annotations

from fractions import Fraction
from itertools import islice

import cv2
import numpy as np
import pytest

from edge_deeplab.errors import InputError, MissingExtraError, UsageError
from edge_deeplab.video import container
from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.opencv_file import OpencvVideoSource
from edge_deeplab.video.source import SourceOptions, open_source
from edge_deeplab.video.stills import FolderSource, ImageSource
from edge_deeplab.video.synthetic import SyntheticSource


@pytest.fixture
def pictures(tmp_path):
    """Three pictures of different sizes, out of order, with something else between them."""
    for value, name in enumerate(("c.jpg", "a.png", "b.png")):
        cv2.imwrite(str(tmp_path / name), np.full((20 + value, 30, 3), 50 * value, np.uint8))
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "deeper").mkdir()
    return tmp_path


def test_each_word_opens_its_kind(clips, pictures) -> None:
    opened = {
        "synthetic": SyntheticSource,
        str(pictures): FolderSource,
        f"{pictures}/a.png": ImageSource,
        f"{clips}/plain.mp4": PyavVideoSource,
    }
    for spec, kind in opened.items():
        with open_source(spec, SourceOptions(picture=np.zeros((48, 64, 3), np.uint8))) as made:
            assert type(made) is kind


def test_without_pyav_opencv_reads_and_asking_for_pyav_names_the_extra(clips, monkeypatch) -> None:
    monkeypatch.setattr(container, "has_pyav", lambda: False)
    assert isinstance(open_source(f"{clips}/plain.mp4"), OpencvVideoSource)
    with pytest.raises(MissingExtraError, match=r"edge-deeplab\[media\]"):
        open_source(f"{clips}/plain.mp4", SourceOptions(decoder="pyav"))


def test_a_folder_comes_in_the_order_of_its_names(pictures) -> None:
    frames = list(open_source(str(pictures), SourceOptions(fps=Fraction(10))))
    assert [frame.name for frame in frames] == ["a", "b", "c"]
    assert [frame.bgr.shape[0] for frame in frames] == [21, 22, 20]
    assert [frame.time_s for frame in frames] == [0.0, 0.1, 0.2]


def test_colours_of_a_picture_are_bgr(tmp_path) -> None:
    bgr = np.zeros((8, 8, 3), np.uint8)
    bgr[:] = (200, 100, 20)
    cv2.imwrite(str(tmp_path / "a.png"), bgr)
    assert np.array_equal(next(iter(open_source(f"{tmp_path}/a.png"))).bgr, bgr)


def test_a_held_picture_repeats_at_its_rate(pictures) -> None:
    with open_source(f"{pictures}/a.png", SourceOptions(holds_still=True, fps=Fraction(100))) as held:
        assert held.is_live
        assert [frame.time_s for frame in islice(held, 4)] == [0.0, 0.01, 0.02, 0.03]


def test_a_broken_picture_in_a_folder_is_named(pictures) -> None:
    (pictures / "b.png").write_bytes(b"no picture at all")
    with pytest.raises(InputError, match=r"b\.png") as caught:
        list(open_source(str(pictures)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "said"),
    [("missing.mp4", r"no such source.*camera.*synthetic"), ("empty", "holds no picture"), ("words.txt", "no video")],
)
def test_what_is_no_source_is_one_line(spec, said, tmp_path, capfd) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words.txt").write_text("words")
    with pytest.raises(InputError, match=said) as caught:
        open_source(f"{tmp_path}/{spec}")
    assert "\n" not in str(caught.value) and spec in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("wrong", [{"size_wh": (0, 5)}, {"fps": Fraction(-1)}, {"decoder": "ffmpeg"}])
def test_options_out_of_range_are_usage_errors(wrong) -> None:
    with pytest.raises(UsageError):
        SourceOptions(**wrong)
