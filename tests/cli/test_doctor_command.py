"""`edge-deeplab doctor`: what it prints, its exit codes, and its refusals in one line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.cli.main import main
from tests.data_copies import MAKERS, make_voc, write_mask, write_picture


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main(["doctor", *map(str, arguments)])
    out, error = capsys.readouterr()
    assert "Traceback" not in error
    return code, out, error


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for index in range(3):
        write_picture(tmp_path / f"data/images/{index}.png", index, (48, 64))
        write_mask(tmp_path / f"data/masks/{index}.png", (0, 255), (48, 64))
    return tmp_path / "data"


def test_a_healthy_folder_is_0(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, error = run(capsys, folder)
    assert (code, error) == (0, "")
    assert "data: 3 pairs, 64x48, 0.0% ignored" in out
    assert "loss.class_weights = [1.00, 1.00]" in out
    assert "nothing was found" in out


def test_what_would_break_a_training_is_3_with_the_next_step(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_mask(folder / "masks/1.png", (0, 255), (48, 63))
    code, out, error = run(capsys, folder, "--sheets", tmp_path / "look", "--json", tmp_path / "all.json")
    assert code == 3
    assert "error  1 mask of another size than the picture" in out
    assert "1: picture 64x48, mask 63x48" in out
    assert "next: resize masks to their pictures without interpolation" in out
    assert error.splitlines()[-1] == (
        "edge-deeplab: error: this would break a training: 1 mask of another size than the picture"
    )
    assert (tmp_path / "look/index.html").is_file()
    assert (tmp_path / "look/size-mismatch.png").is_file()
    document = json.loads((tmp_path / "all.json").read_text())
    assert [one["code"] for one in document["findings"]] == ["size-mismatch"]
    assert document["findings"][0]["pairs"] == ["data: 1"]
    assert document["splits"]["data"]["pairs"] == 3
    assert str(tmp_path) not in json.dumps(document)


def test_json_alone_on_stdout(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, folder, "--json", "-")
    assert code == 0
    assert json.loads(out)["class_weights"]["median_frequency"] == [1.0, 1.0]


def test_both_splits_of_a_set_are_examined_and_one_where_it_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_voc(tmp_path / "voc")
    _, out, _ = run(capsys, tmp_path / "voc", "--json", "-")
    assert list(json.loads(out)["splits"]) == ["voc train", "voc val"]
    _, out, _ = run(capsys, f"voc:{tmp_path / 'voc'}@train_aug", "--json", "-")
    assert list(json.loads(out)["splits"]) == ["voc train_aug"]
    (tmp_path / "voc/ImageSets/Segmentation/val.txt").unlink()
    _, out, _ = run(capsys, tmp_path / "voc", "--json", "-")
    assert list(json.loads(out)["splits"]) == ["voc train"]


def test_list_names_every_set(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines() if not line.startswith(" ")] == list(MAKERS)


def test_bad_requests_are_one_line(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_voc(tmp_path / "voc")
    (tmp_path / "old").mkdir()
    (tmp_path / "old/index.html").touch()
    cases: list[tuple[int, str, list[object]]] = [
        (2, "which data?", []),
        (1, "no such folder", [tmp_path / "nowhere"]),
        (1, "unknown data set 'vok'", [f"vok:{folder}"]),
        (1, "voc: no split 'vall'", [f"{tmp_path / 'voc'}@vall"]),
        (2, "--classes: voc has 21 of its own", [tmp_path / "voc", "--classes", "3"]),
        (1, "two splits of one name", [folder, folder]),
        (1, "exists already", [folder, "--sheets", tmp_path / "old"]),
        (1, "cannot be written", [folder, "--json", tmp_path / "nowhere/a.json"]),
    ]
    for code, words, arguments in cases:
        came, out, error = run(capsys, *arguments)
        assert (came, out, error.count("\n")) == (code, "", 1), error
        assert words in error


def test_hostile_lists_lead_nowhere(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A list's names are names: no path in it is followed out of the set's folders."""
    make_voc(tmp_path / "voc")
    write_picture(tmp_path / "secret.jpg")
    names = tmp_path / "voc/ImageSets/Segmentation/train.txt"
    names.write_text("../../secret\n/etc/passwd\n2007_000001\n")
    _, out, _ = run(capsys, f"{tmp_path / 'voc'}@train", "--json", "-")
    document = json.loads(out)
    assert document["splits"]["voc train"]["pairs"] == 1
    assert document["findings"][0]["pairs"] == ["voc train: secret", "voc train: passwd"]
    assert np.isfinite(document["class_weights"]["enet"]).all()
