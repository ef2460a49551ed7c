from __future__ import annotations

import json
from pathlib import Path

import keras
import pytest
from small_networks import write_calibration, write_model

from edge_deeplab.cli import convert_command, tune_command
from edge_deeplab.cli.main import main
from edge_deeplab.manifest import read_manifest


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("convert")
    write_model(folder / "small.keras")
    write_calibration(folder / "small.calib")
    image = keras.Input((16, 16, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    theirs = keras.Model(image, keras.layers.Conv2D(2, 1, activation="softmax")(x))
    theirs.save(folder / "theirs.keras")
    theirs.export(folder / "saved", verbose=False)
    write_calibration(folder / "theirs.calib", size_hw=(16, 16))
    return folder


FACTS = ["--labels", "background,person", "--input-range", "-1", "1"]


def test_our_model_becomes_every_format(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(
        ["convert", str(folder / "small.keras"), "-o", str(folder / "out.tflite"), "--json", "--calibration",
         str(folder / "small.calib"), "--to", "float32,float16", "--to", "dynamic,int8"]
    ) == 0  # fmt: skip
    reports = {report["format"]: report for report in json.loads(capsys.readouterr().out)}
    assert list(reports) == ["float32", "float16", "dynamic", "int8"]
    assert reports["float32"]["against_float"]["signal_to_noise_db"] > 80
    assert reports["int8"]["against_quantized"]["signal_to_noise_db"] > 15
    assert reports["int8"]["left_out"] == []
    for report in reports.values():
        manifest = read_manifest(Path(report["path"]))
        assert manifest is not None
        assert manifest.provenance["conversion"]["format"] == report["format"]
    manifest = read_manifest(folder / "out.tflite")
    assert manifest is not None
    assert manifest.provenance["conversion"]["calibration"]["samples"] == 8
    assert str(folder) not in manifest.to_json()


def test_a_keras_model_of_someone_else_becomes_int8(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "theirs.tflite"
    assert main(
        ["convert", str(folder / "theirs.keras"), "-o", str(output), "--calibration", str(folder / "theirs.calib"),
         "--person-class", "person", *FACTS]
    ) == 0  # fmt: skip
    manifest = read_manifest(output)
    assert manifest is not None
    assert (manifest.labels, manifest.input_range, manifest.person_class) == (("background", "person"), (-1.0, 1.0), 1)
    assert manifest.activation == "softmax"  # taken off the int8 file, for XNNPACK has none
    twin = read_manifest(folder / "theirs.float16.tflite")
    assert twin is not None
    assert twin.activation == "none"


def test_a_saved_model_is_labelled_as_the_converters_own(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "saved.tflite"
    assert main(
        ["convert", str(folder / "saved"), "-o", str(output), "--to", "int8", "--calibration",
         str(folder / "theirs.calib"), "--activation", "none", *FACTS]
    ) == 0  # fmt: skip
    manifest = read_manifest(output)
    assert manifest is not None
    assert "TFLite's own calibrator" in manifest.provenance["conversion"]["quantization"]
    assert "own calibrator" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["small.keras", "-o", "x.tflite"], 2, "--calibration"),
        (["small.keras", "-o", "x.onnx", "--to", "float16"], 2, "NAME.tflite"),
        (["small.keras", "-o", "x.tflite", "--to", "int4"], 2, "int4"),
        (["missing.keras", "-o", "x.tflite", "--to", "float16"], 1, "missing.keras"),
        (["small.keras", "-o", "nowhere/x.tflite", "--to", "float16"], 1, "no such folder"),
        (["theirs.keras", "-o", "x.tflite", "--to", "float16"], 1, "--labels, --input-range"),
        (["small.keras", "-o", "x.tflite", "--calibration", "theirs.calib"], 1, "64x64"),
        (["small.keras", "-o", "x.tflite", "--calibration", "small.keras"], 1, "calibration"),
        (["small.calib", "-o", "x.tflite", "--to", "float16"], 1, "cannot be converted"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int,
    said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert main(["convert", *arguments]) == code
    error = capsys.readouterr().err
    assert said in error
    assert len(error.strip().splitlines()) == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_an_existing_file_is_kept_without_force(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    kept = folder / "kept.tflite"
    kept.write_bytes(b"mine")
    assert main(["convert", str(folder / "small.keras"), "-o", str(kept), "--calibration", "none.calib"]) == 1
    assert "exists already" in capsys.readouterr().err
    assert kept.read_bytes() == b"mine"


def test_help_repeats_what_the_rooms_hold() -> None:
    from edge_deeplab.converters.int8 import IO_TYPES
    from edge_deeplab.converters.paths import FORMATS
    from edge_deeplab.quantization.store import SUFFIX

    assert convert_command.FORMATS == FORMATS
    assert set(convert_command.IO_TYPES) == set(IO_TYPES)
    assert tune_command.SUFFIX == SUFFIX
