"""`edge-deeplab evaluate --portrait`: the made set and folders of mattes through the real command, and its refusals.

The model knows a person by being bright, and so do the pictures: what a row must say is known beforehand.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from handmade_tflite import bright_segmenter

from edge_deeplab.cli.main import main
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.manifest import Manifest, append_manifest

SIZE_HW = (160, 120)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bright") / "bright.tflite"
    path.write_bytes(bright_segmenter((64, 64), io="uint8").to_bytes())
    append_manifest(path, Manifest(name="bright", labels=PORTRAIT, person_class=1, size_hw=(64, 64)))
    return path


def person(across: float = 0.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    head = 26 - np.hypot(rows - 60, columns - 60 - across)
    body = np.minimum(40 - np.abs(columns - 60 - across), rows - 78)
    return np.clip(np.maximum(head, body) / 1.5 + 0.5, 0, 1)


def picture(alpha: np.ndarray, seed: int = 0) -> np.ndarray:
    behind = cv2.GaussianBlur(np.random.default_rng(seed).normal(size=(*SIZE_HW, 3)), (0, 0), 5)
    front = np.array((250, 250, 250)) + 5 * behind / behind.std()
    behind = 40 + 15 * behind / behind.std()
    return np.clip(alpha[..., None] * front + (1 - alpha[..., None]) * behind, 0, 255).astype(np.uint8)


def write(root: Path, part: str, alphas: list[np.ndarray], second: str) -> Path:
    folder = root / part
    for name in ("images", second):
        (folder / name).mkdir(parents=True)
    for index, alpha in enumerate(alphas):
        cv2.imwrite(str(folder / "images" / f"{index}.png"), picture(alpha))
        stored = np.rint(255 * alpha) if second == "alphas" else 255 * (alpha > 0.5)
        cv2.imwrite(str(folder / second / f"{index}.png"), stored.astype(np.uint8))
    return folder


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """stills/ and clips/one, clips/two with alphas; pairs/ with masks; places/ without people."""
    root = tmp_path_factory.mktemp("mattes")
    write(root, "stills", [person(), person(8), person(-8)], "alphas")
    write(root, "clips/one", [person(2 * index) for index in range(3)], "alphas")
    write(root, "clips/two", [person(-2 * index) for index in range(2)], "alphas")
    write(root, "pairs", [person(4 * index) for index in range(3)], "masks")
    (root / "places").mkdir()
    for index in range(3):
        cv2.imwrite(str(root / "places" / f"{index}.png"), picture(np.zeros(SIZE_HW), seed=index + 1))
    return root


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["evaluate", *map(str, arguments)])
    out, error = capsys.readouterr()
    return code, out, error


def document(capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, Any]:
    code, out, error = run(capsys, *arguments, "--portrait", "--json", "-")
    assert code == 0, error
    found: dict[str, Any] = json.loads(out)
    return found


def test_stills_have_the_figures_of_mattes_and_none_over_time(
    data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(capsys, model, "--data", data / "stills")
    assert list(found["rows"]) == ["bright.tflite", "bright.tflite, composed"]
    alone, composed = found["rows"].values()
    for row in (alone, composed):
        assert (row["clips"], row["frames"]) == (3, 3)
        assert row["dtssd"] is row["flicker"] is row["halo"] is None
        assert 0 < row["mse"] < 0.05 and row["sad"] > 0 and row["boundary_f"] > 0.9
    assert composed["gradient"] != alone["gradient"]


def test_clips_have_figures_over_time_too(data: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(capsys, model, "--data", data / "clips")
    row = found["rows"]["bright.tflite, composed"]
    assert (found["shows"], row["clips"], row["frames"]) == ("2 clips, 5 frames", 2, 5)
    assert row["dtssd"] > 0 and row["flicker"] > 0
    assert [("dtssd" in frame["values"]) for frame in row["per_frame"]] == [False, True, True, False, True]


def test_a_made_set_has_every_figure_and_is_the_same_every_time(
    data: Path, model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (model, "--data", data / "pairs", "--backgrounds", data / "places", "--scenes", 2, "--frames", 3,
             "--scene-size", "160x120")  # fmt: skip
    found = document(capsys, *asked)
    assert found["shows"] == "2 made scenes of 3 frames, 160x120, seed 0"
    composed = found["rows"]["bright.tflite, composed"]
    assert all(composed[name] is not None for name in found["figures"])
    assert found["rows"]["bright.tflite"]["halo"] is None  # a matte alone is no picture
    assert document(capsys, *asked) == found
    assert document(capsys, *asked, "--seed", 1)["rows"] != found["rows"]


def test_the_table_has_two_rows_a_model_and_the_file_is_not_lost(
    data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "figures.json"
    asked = (model, "--portrait", "--data", data / "stills", "--limit", 2, "--json", target)
    code, out, _ = run(capsys, *asked)
    assert code == 0
    assert out.splitlines()[0] == "stills: 2 pictures"
    rows = [line for line in out.splitlines() if line.startswith("bright.tflite")]
    assert [line.startswith("bright.tflite, composed ") for line in rows] == [
        False,
        True,
    ]  # one table: no time, no halo
    assert "  SAD: sum of absolute differences of alpha, in thousands of pixels; less is better" in out
    assert json.loads(target.read_text())["rows"]["bright.tflite"]["frames"] == 2
    code, _, error = run(capsys, *asked)
    assert (code, "exists already" in error) == (1, True)


def test_bad_requests_are_one_line(data: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lonely = write(tmp_path, "lonely", [person(), person(3)], "alphas")
    (lonely / "alphas" / "1.png").unlink()
    other = write(tmp_path, "other", [person()], "alphas")
    cv2.imwrite(str(other / "alphas" / "0.png"), np.zeros((9, 9), np.uint8))
    sizes = write(tmp_path, "sizes/one", [person(), person()], "alphas").parent
    for part in ("images", "alphas"):
        path = sizes / "one" / part / "1.png"
        cv2.imwrite(str(path), cv2.imread(str(path), cv2.IMREAD_UNCHANGED)[:-10])
    pairs, places = ("--data", data / "pairs"), ("--backgrounds", data / "places")
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (1, "holds no alpha mattes; came images, masks", ("--portrait", *pairs)),
        (1, "no such folder", ("--portrait", "--data", tmp_path / "nowhere")),
        (1, "1 pictures without a matte: 1", ("--portrait", "--data", lonely)),
        (1, "another size than its picture; came 9x9; allowed: 120x160", ("--portrait", "--data", other)),
        (1, "frames of one clip differ in size", ("--portrait", "--data", sizes)),
        (1, "too few backgrounds; came 3", ("--portrait", *pairs, *places, "--scenes", 4)),
        (2, "--backgrounds: is for --portrait", (*pairs, *places)),
        (2, "--scenes: is of made scenes", ("--portrait", "--data", data / "stills", "--scenes", 2)),
        (2, "--scene-size: is of made scenes", (*pairs, "--scene-size", "64x64")),
        (2, "'64' is no size", ("--portrait", *pairs, *places, "--scene-size", "64")),
        (2, "size_wh: out of range", ("--portrait", *pairs, *places, "--scene-size", "8x8")),
        (2, "--limit: is of pictures with mattes", ("--portrait", *pairs, *places, "--limit", 2)),
        (2, "--flip: does not go with --portrait", ("--portrait", "--data", data / "stills", "--flip")),
        (2, "--min-person-iou: does not go with --portrait", ("--portrait", *pairs, "--min-person-iou", 0.5)),
    ]
    for code, words, arguments in cases:
        came, out, error = run(capsys, model, *arguments)
        lines = [line for line in error.splitlines() if line.startswith("edge-deeplab: error:")]
        assert (came, out, len(lines), words in lines[0]) == (code, "", 1, True), error
