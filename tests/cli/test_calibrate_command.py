"""`edge-deeplab calibrate`: what it writes, what it says, and what it refuses in one line."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.calibration.artifact import CalibrationSet
from edge_deeplab.calibration.recipe import SamplingRecipe
from edge_deeplab.cli.calibrate_command import SUFFIX
from edge_deeplab.cli.main import main


def scene(index: int) -> np.ndarray:
    coarse = np.random.default_rng(index).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((10, 10, 1), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(12):
        place = tmp_path / "photos" / ("deep" if index % 2 else "")
        place.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(place / f"{index:02}.png"), scene(index)[..., ::-1])
    return tmp_path / "photos"


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "talk.avi"
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 10, (80, 60))
    for index in range(4):
        for _ in range(5):
            writer.write(scene(100 + index)[..., ::-1].copy())
    writer.release()
    return path


def fails(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = main(["calibrate", *map(str, arguments)])
    out, error = capsys.readouterr()
    assert out == ""
    assert error.count("\n") == 1
    assert "Traceback" not in error
    return code, error


def test_a_folder_becomes_samples_at_the_size_asked(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder.parent / "set.calib"
    assert main(["calibrate", str(folder), "-o", str(output), "--count", "5", "--size", "32x48", "--seed", "3"]) == 0
    made = CalibrationSet.load(output)
    assert made.samples.shape == (5, 32, 48, 3)
    assert made.facts["seed"] == 3
    assert made.facts["sources"] == [{"name": "photos", "seen": 12, "samples": 5}]
    assert any(record["name"].startswith("deep/") for record in made.facts["samples"])
    assert str(folder.parent) not in json.dumps(made.facts)
    text = capsys.readouterr().out
    assert "5 samples of 32x48" in text
    assert made.sha256 in text
    assert sorted(path.name for path in folder.parent.iterdir()) == ["photos", "set.calib"]


def test_colours_arrive_as_rgb(folder: Path) -> None:
    output = folder.parent / "set.calib"
    assert main(["calibrate", str(folder), "-o", str(output), "--size", "60x80"]) == 0
    made = CalibrationSet.load(output)
    by_name = {record["name"]: image for record, image in zip(made.facts["samples"], made.samples, strict=True)}
    np.testing.assert_array_equal(by_name["00.png"], scene(0))


def test_of_a_pairs_folder_the_masks_are_no_samples(folder: Path) -> None:
    pairs = folder.parent / "pairs"
    for part, pixel in (("images", 0), ("masks", 1)):
        (pairs / part).mkdir(parents=True)
        cv2.imwrite(str(pairs / part / "one.png"), scene(pixel))
    output = folder.parent / "set.calib"
    assert main(["calibrate", str(pairs), "-o", str(output)]) == 0
    assert [record["name"] for record in CalibrationSet.load(output).facts["samples"]] == ["one.png"]


def test_frames_of_a_video_and_a_folder_together(folder: Path, video: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder.parent / "set.calib"
    assert main(["calibrate", str(video), str(folder), "-o", str(output), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts == CalibrationSet.load(output).facts
    assert facts["sources"] == [
        {"name": "talk.avi", "seen": 20, "samples": 4},
        {"name": "photos", "seen": 12, "samples": 12},
    ]
    assert facts["near_duplicates"] == 16
    assert [record["name"] for record in facts["samples"]][:2] == ["frame 0", "frame 5"]
    pixels = CalibrationSet.load(output).samples[0].astype(int)
    expected = cv2.resize(scene(100), (256, 256)).astype(int)
    assert np.abs(pixels - expected).mean() < 12  # JPEG's loss; swapped colours would be 60 and more


def test_the_same_command_writes_the_same_bytes(folder: Path) -> None:
    outputs = [folder.parent / f"{name}.calib" for name in "ab"]
    for output in outputs:
        assert main(["calibrate", str(folder), "-o", str(output), "--count", "6"]) == 0
    assert outputs[0].read_bytes() == outputs[1].read_bytes()


def test_fewer_distinct_pictures_than_asked_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", str(folder), "-o", str(folder.parent / "set.calib"), "--limit", "4"]) == 0
    text = capsys.readouterr().out
    assert "4 samples" in text
    assert "200 were asked for: there are no more distinct pictures" in text


def test_bad_requests_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "set.calib"
    empty = tmp_path / "empty"
    empty.mkdir()
    cases: list[tuple[int, str, list[object]]] = [
        (1, "no such source", [tmp_path / "nowhere", "-o", output]),
        (1, "holds no pictures", [empty, "-o", output]),
        (2, "another kind of file", [folder, "-o", tmp_path / "set.zip"]),
        (1, "no folder", [folder, "-o", tmp_path / "no" / "set.calib"]),
        (2, "given twice", [folder, folder, "-o", output]),
        (2, "is no size", [folder, "-o", output, "--size", "12by"]),
        (2, "size_hw: out of range", [folder, "-o", output, "--size", "8x8"]),
        (2, "--count", [folder, "-o", output, "--count", "0"]),
        (2, "--count", [folder, "-o", output, "--count", "100000"]),
    ]
    for code, words, arguments in cases:
        came, line = fails(capsys, *arguments)
        assert (came, words in line) == (code, True), line
    output.write_bytes(b"something else")
    came, line = fails(capsys, folder, "-o", output)
    assert came == 1
    assert "exists already" in line
    assert output.read_bytes() == b"something else"


@pytest.mark.parametrize("cut", [0, 100])
def test_a_broken_picture_is_named_and_nothing_is_written(
    folder: Path, cut: int, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = folder / "00.png"
    broken.write_bytes(broken.read_bytes()[:cut])
    output = folder.parent / "set.calib"
    code, line = fails(capsys, folder, "-o", output)
    assert code == 1
    assert "00.png" in line
    assert sorted(path.name for path in folder.parent.iterdir()) == ["photos"]


def test_defaults_are_the_recipes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["calibrate", "--help"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    recipe = SamplingRecipe()
    for words in (
        f"default: {recipe.count};",
        "default: {}x{}".format(*recipe.size_hw),
        f"default: {recipe.coverage};",
    ):
        assert words in text
    output = folder.parent / f"set{SUFFIX}"
    assert main(["calibrate", str(folder), "-o", str(output)]) == 0
    facts = CalibrationSet.load(output).facts
    assert (facts["asked"], tuple(facts["size_hw"]), facts["seed"], facts["fit"], facts["coverage"]) == (
        recipe.count, recipe.size_hw, recipe.seed, recipe.fit, recipe.coverage
    )  # fmt: skip
