from __future__ import annotations

from pathlib import Path

import pytest
from small_networks import write_calibration, write_model, write_pairs

from edge_deeplab.cli.main import main
from edge_deeplab.manifest import read_manifest
from edge_deeplab.recipe import load_recipe
from edge_deeplab.training.tune_recipe import TuneRun


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_model(folder / "small.keras")
    write_calibration(folder / "small.calib")
    write_calibration(folder / "other.calib", size_hw=(32, 32), count=2)
    write_pairs(folder / "pairs")
    return folder


def test_tune_trains_writes_its_recipe_and_converts(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(
        ["tune", "small.keras", "--calibration", "small.calib", "--steps", "3", "--data", "pairs", "--set",
         "tune.batch_size=4", "--set", "tune.live_batch_norm=0.0"]
    ) == 0  # fmt: skip
    said = capsys.readouterr()
    assert "small.qat: 3 steps" in said.out
    assert "step 3/3" in said.err
    manifest = read_manifest(folder / "small.qat")
    assert manifest is not None
    assert manifest.provenance["tuning"]["steps"] == 3
    assert manifest.provenance["tuning"]["data"] == ["pairs"]
    run = load_recipe(folder / "small.tune.toml", TuneRun)
    assert (run.tune.steps, run.tune.batch_size, run.data.train) == (3, 4, ("pairs",))
    assert not list(folder.glob("*.checkpoint"))
    assert main(["convert", "small.qat", "-o", "small.tflite", "--to", "int8"]) == 0
    assert "against the fake-quantized network" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["small.keras", "--calibration", "small.calib", "--steps", "5", "-o", "x.qat"], 2, "--data"),
        (["small.keras", "--calibration", "missing.calib", "--steps", "0", "-o", "x.qat"], 1, "missing.calib"),
        (["small.keras", "--calibration", "other.calib", "--steps", "0", "-o", "x.qat"], 1, "32x32"),
        (["small.keras", "--calibration", "small.calib", "-o", "x.tflite"], 2, "NAME.qat"),
        (["small.keras", "--calibration", "small.calib", "--set", "tune.stepz=3", "-o", "x.qat"], 2, "stepz"),
        (["small.keras", "--calibration", "small.calib", "--steps", "-1"], 2, "steps"),
        (["pairs/x.qat", "--calibration", "small.calib", "-o", "x.qat"], 2, "tuned already"),
        (["small.keras", "--calibration", "small.calib", "--data", "nowhere", "-o", "x.qat"], 1, "nowhere"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert main(["tune", *arguments]) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert said in error[-1]
    assert [line for line in error if line.startswith("edge-deeplab: error")] == error[-1:]
    assert sorted(path.name for path in folder.iterdir()) == before
