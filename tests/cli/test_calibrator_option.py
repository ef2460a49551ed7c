from __future__ import annotations

from pathlib import Path

import pytest
from small_networks import write_calibration, write_model

from edge_deeplab.calibration.calibrators import METAVAR as CALIBRATORS
from edge_deeplab.cli.calibrator_option import METAVAR
from edge_deeplab.cli.main import main
from edge_deeplab.manifest import read_manifest
from edge_deeplab.recipe import load_recipe
from edge_deeplab.training.tune_recipe import TuneRun


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calibrator")
    write_model(folder / "small.keras")
    write_calibration(folder / "small.calib")
    return folder


def test_the_option_names_the_calibrators_there_are() -> None:
    assert METAVAR == CALIBRATORS


def test_a_tuned_network_says_its_calibrator(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    arguments = ["--calibration", "small.calib", "--calibrator", "percentile:99", "--steps", "0", "-o", "p.qat"]
    assert main(["tune", "small.keras", *arguments]) == 0
    assert "ranges set from 8 samples, percentile:99" in capsys.readouterr().err
    manifest = read_manifest(folder / "p.qat")
    assert manifest is not None
    assert manifest.provenance["tuning"]["calibration"]["calibrator"] == "percentile:99"
    assert load_recipe(folder / "p.tune.toml", TuneRun).tune.calibrator == "percentile:99"


def test_convert_writes_its_calibrator_into_the_manifest(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    arguments = ["--to", "int8", "--calibration", "small.calib", "--calibrator", "mse", "-o", "mse.tflite"]
    assert main(["convert", "small.keras", *arguments]) == 0
    assert "mse.tflite: int8" in capsys.readouterr().out
    manifest = read_manifest(folder / "mse.tflite")
    assert manifest is not None
    assert manifest.provenance["conversion"]["calibration"]["calibrator"] == "mse"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["convert", "small.keras", "-o", "x.tflite", "--calibrator", "mes"], 2, "did you mean mse"),
        (["convert", "small.qat", "-o", "x.tflite", "--calibrator", "mse"], 2, "ranges are set already"),
        (["convert", "small.keras", "-o", "x.tflite", "--to", "float16", "--calibrator", "mse"], 2, "no ranges"),
        (["tune", "small.keras", "--calibration", "small.calib", "--calibrator", "percentile:x"], 2, "no number"),
        (["tune", "small.keras", "--calibration", "small.calib", "--set", "tune.calibrator=kl"], 2, "min-max"),
    ],
)
def test_a_calibrator_that_does_not_fit_is_refused_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert main(arguments) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and said in error[0], error
    assert sorted(path.name for path in folder.iterdir()) == before
