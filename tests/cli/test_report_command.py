from __future__ import annotations

import json
import os
import signal
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from small_networks import SIZE_HW, liven, small_config, smooth_images, write_calibration, write_model

from edge_deeplab.cli.foreign_facts import ForeignFacts
from edge_deeplab.cli.main import main
from edge_deeplab.cli.predictors import open_predictor
from edge_deeplab.manifest import Manifest
from edge_deeplab.models.deeplab import build_deeplab
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import save_model
from edge_deeplab.runtime.bundled import bundled_model

STAGES = ["float", "float32 file", "float16 file", "calibrated only", "tuned", "int8 file", "reference kernels"]
LOOSE = ["--max-float-loss", "1", "--max-ptq-loss", "1", "--max-qat-loss", "1"]
PICTURES = 3


FACTS = ["--labels", "portrait", "--input-range", "-1", "1", "--activation", "softmax"]


def write_theirs(path: Path) -> Path:
    """A network of someone else in a few layers, its bias set so that about half of all pixels are the person."""
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    L = K.layers
    image = K.Input((*SIZE_HW, 3))
    x = L.Conv2D(8, 3, strides=2, padding="same", activation="relu", name="stem")(image)
    x = L.Conv2D(8, 1, name="expand", activation="relu")(L.DepthwiseConv2D(3, padding="same", name="spatial")(x))
    x = L.UpSampling2D(2, interpolation="bilinear", name="larger")(x)
    model = K.Model(image, L.Conv2D(2, 1, name="logits")(x))
    logits = np.asarray(model.predict_on_batch(smooth_images(4) * 2 - 1))
    kernel, bias = model.get_layer("logits").get_weights()
    bias[1] -= np.median(logits[..., 1] - logits[..., 0])
    model.get_layer("logits").set_weights([kernel, bias])
    model.save(path)
    return path


def write_own_pairs(root: Path, model: Path) -> Path:
    """Pictures, and as masks what the float network itself says of them: whatever differs from it loses."""
    facts = ForeignFacts(labels="portrait", input_range=(-1.0, 1.0), activation="softmax")
    predictor = open_predictor(str(model), facts)
    for folder in ("images", "masks"):
        (root / folder).mkdir(parents=True)
    for index, image in enumerate(smooth_images(PICTURES, seed=1)):
        pixels = np.round(image * 255).astype(np.uint8)
        cv2.imwrite(str(root / "images" / f"{index}.png"), pixels[..., ::-1])
        cv2.imwrite(str(root / "masks" / f"{index}.png"), (predictor.matte(pixels) > 0.5).astype(np.uint8) * 255)
    return root


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    write_model(folder / "small.keras")
    write_theirs(folder / "theirs.keras")
    write_calibration(folder / "small.calib")
    write_calibration(folder / "other.calib", size_hw=(32, 32), count=2)
    write_own_pairs(folder / "pairs", folder / "theirs.keras")
    return folder


@pytest.fixture
def made_in(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Works in `folder`, with a place of its own for temporary files. AutoGraph leaves its own there until the end."""
    import tempfile

    monkeypatch.chdir(folder)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


def report(*arguments: str) -> int:
    return main(["report", "theirs.keras", "--data", "pairs", *FACTS, *arguments])


class _Page(HTMLParser):
    """Counts open tags, so that a page that is not closed is seen."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.text: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text.append(data)


def test_every_stage_layer_and_calibrator_is_reported_and_nothing_left_behind(
    made_in: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report(
        "--calibration", "small.calib", *LOOSE, "--layers", "--worst", "2", "--layer-pictures", "2",
        "--compare-calibrators", "--json", "all.json", "--html", "all.html",
    ) == 0, capsys.readouterr().err  # fmt: skip
    said = capsys.readouterr()
    document = json.loads((folder / "all.json").read_text())
    stages = {row["stage"]: row for row in document["stages"]}
    assert list(stages) == STAGES
    assert stages["float"]["person_iou"] == 1.0  # its own answers are the truth here
    assert stages["float32 file"]["loss"] < 0.01
    assert 0.0 < stages["int8 file"]["loss"] < 0.5
    assert stages["int8 file"]["gate"] == 1.0 and stages["int8 file"]["held"] is True
    assert stages["reference kernels"]["kernels"] == "reference"
    assert "no tuned network was given" in stages["tuned"]["missing"]
    assert [row["stage"] for row in document["calibrators"]] == [
        "float", "min-max", "percentile", "mse", "entropy", "TFLite's own PTQ",
    ]  # fmt: skip
    assert all("person_iou" in row for row in document["calibrators"])
    layers = document["layers"]
    assert layers["pictures"] == 2 and len(layers["worst"]) == 2
    assert [layer["name"] for layer in layers["layers"]] == ["quantize_input", "stem", "spatial", "expand", "logits"]
    assert all("person_iou" in one["figures"] for one in layers["together"])
    for text in (*STAGES, "min-max", *layers["worst"], "left out, tuned: no tuned network"):
        assert text in said.out
    assert f"int8 file: {PICTURES}/{PICTURES} pictures" in said.err
    page = _Page()
    page.feed((folder / "all.html").read_text())
    assert page.open == []
    assert {"int8 file", "entropy", "spatial"} <= set(page.text)
    assert not list(made_in.glob("edge-deeplab-*"))


def test_a_network_of_ours_is_measured_layer_by_layer_with_the_cost_of_wider_ones(
    made_in: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skipped = [part for name in ("float32", "float16", "reference", "int8") for part in ("--skip", name)]
    arguments = ["--calibration", "small.calib", *LOOSE, *skipped, "--layers", "--worst", "2", "--layer-pictures", "1"]
    assert main(["report", "small.keras", "--data", "pairs", *arguments, "--json", "ours.json"]) == 0
    layers = json.loads((folder / "ours.json").read_text())["layers"]
    assert {"stem_act", "decoder_concat", "logits"} <= {layer["name"] for layer in layers["layers"]}
    together = {one["form"]: one for one in layers["together"]}
    assert together["float16"]["cost"]["partitions"] == 1
    assert together["int16x8"]["cost"]["outside"] >= 2 + together["int16x8"]["cost"]["conversions"]
    said = capsys.readouterr().out
    assert "delegate partition" in said and "these 2 layers in int16x8" in said
    assert not list(made_in.glob("edge-deeplab-*"))


def test_a_stage_that_loses_too_much_is_named_and_the_code_is_3(
    made_in: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--calibration", "small.calib", "--calibrator", "percentile:60", "--steps", "0", "-o", "bad.qat"]
    assert main(["tune", "theirs.keras", *FACTS, *arguments]) == 0
    skipped = [part for name in ("float32", "float16", "ptq", "reference") for part in ("--skip", name)]
    code = report("--tuned", "bad.qat", *skipped, "--json", "missed.json")
    said = capsys.readouterr()
    assert code == 3
    error = said.err.strip().splitlines()[-1]
    assert "gate missed: tuned loses 0." in error and "; int8 file loses 0." in error and "may lose 0.003" in error
    assert "MISSED" in said.out and "left out, calibrated only: --skip" in said.out
    document = json.loads((folder / "missed.json").read_text())
    assert [row["held"] for row in document["stages"]] == [None, None, None, None, False, False, None]
    assert len(document["missed"]) == 2
    assert not list(made_in.glob("edge-deeplab-*"))


def test_without_samples_the_int8_rows_say_so(made_in: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report("--limit", "1", "--skip", "float16", "--max-float-loss", "1", "--layers") == 0
    said = capsys.readouterr().out
    for name in ("calibrated only", "int8 file", "reference kernels"):
        assert f"left out, {name}: no samples were given (--calibration FILE.calib)" in said
    assert "no layers to measure: no samples were given" in said


def test_an_interrupt_leaves_no_folder(
    made_in: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from edge_deeplab.cli import report_scoring

    before = report_scoring.Scorer.__call__

    def interrupted(self: Any, name: str, predictor: Any) -> Any:
        if name == "float32 file":  # the file is there now
            assert any(made_in.rglob("*.tflite"))
            raise KeyboardInterrupt
        return before(self, name, predictor)

    monkeypatch.setattr(report_scoring.Scorer, "__call__", interrupted)
    assert report("--limit", "1") == 130
    assert not list(made_in.glob("edge-deeplab-*"))


def test_sigterm_ends_a_report_as_an_exception_does() -> None:
    from edge_deeplab.cli.report_scoring import ended_by_sigterm

    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended, ended_by_sigterm():
        os.kill(os.getpid(), signal.SIGTERM)
    assert ended.value.code == 143
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["report", "small.qat", "--data", "pairs"], 2, "--tuned small.qat"),
        (["report", "small.tflite", "--data", "pairs"], 2, "begins with the float network"),
        (["report", "small.keras", "--data", "nowhere"], 1, "nowhere"),
        (["report", "small.keras", "--data", "pairs", "--tuned", "small.keras"], 2, ".qat file"),
        (["report", "small.keras", "--data", "pairs", "--tflite", "missing.tflite"], 1, "no such file"),
        (["report", "small.keras", "--data", "pairs", "--calibration", "other.calib"], 1, "32x32"),
        (["report", "small.keras", "--data", "pairs", "--compare-calibrators"], 2, "no samples"),
        (["report", "small.keras", "--data", "pairs", "--calibrator", "mse"], 2, "no samples"),
        (["report", "small.keras", "--data", "pairs", "--labels", "voc"], 2, "leave the options out"),
        (["report", "small.keras", "--data", "pairs", "--skip", "float"], 2, "float32"),
        (["report", "small.keras", "--data", "pairs", "--json", "small.calib"], 1, "--force"),
        (["report", "small.keras", "--data", "pairs", "--html", "none/page.html"], 1, "no folder none"),
        (["report", "small.keras", "--data", "pairs", "--max-ptq-loss", "2"], 2, "--max-ptq-loss"),
        (["report", "missing.keras", "--data", "pairs"], 1, "missing.keras"),
    ],
)
def test_bad_input_is_one_line_before_any_work(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str],
    code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    before = sorted(path.name for path in folder.iterdir())
    assert main(arguments) == code
    error = capsys.readouterr().err.strip().splitlines()
    assert len(error) == 1 and said in error[0], error
    assert sorted(path.name for path in folder.iterdir()) == before


def test_a_file_of_another_network_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(folder)
    assert main(["report", "small.keras", "--data", "pairs", "--tflite", str(bundled_model("portrait"))]) == 1
    assert "has another input size than small.keras; came 224x224; allowed: 64x64" in capsys.readouterr().err


def test_many_classes_are_scored_by_mean_iou_per_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    K = keras_namespace("keras")
    K.utils.set_random_seed(0)
    config = small_config(classes=3)
    labels = ("sky", "road", "tree")
    manifest = Manifest(
        name="three", labels=labels, person_class=None, size_hw=config.size_hw, architecture=config.to_dict()
    )
    save_model(tmp_path / "three.keras", liven(build_deeplab(K, config)), manifest)
    for folder in ("images", "masks"):
        (tmp_path / "pairs" / folder).mkdir(parents=True)
    for index, image in enumerate(smooth_images(2, seed=3)):
        cv2.imwrite(str(tmp_path / "pairs/images" / f"{index}.png"), np.round(image * 255).astype(np.uint8))
        cv2.imwrite(str(tmp_path / "pairs/masks" / f"{index}.png"), (image[..., 0] * 2.99).astype(np.uint8))
    monkeypatch.chdir(tmp_path)
    arguments = ["report", "three.keras", "--data", "pairs", "--skip", "float16", "--max-float-loss", "1"]
    assert main([*arguments, "--json", "three.json"]) == 0
    said = capsys.readouterr().out
    assert "accuracy" in said
    assert all(f"\n{label}" in said for label in labels)
    stages = json.loads((tmp_path / "three.json").read_text())["stages"]
    assert set(stages[0]["iou"]) == set(labels) and "confusion" not in stages[0]


def test_a_saved_model_takes_tflites_own_calibrator_under_the_same_gates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import tensorflow as tf
    import tf_keras
    from small_networks import write_pairs

    layers = tf_keras.layers
    image = tf_keras.Input((*SIZE_HW, 3))
    bare = tf_keras.Model(image, layers.Conv2D(2, 1)(layers.Conv2D(8, 3, padding="same", activation="relu")(image)))
    served = tf.function(lambda image: tf.nn.softmax(bare(image, training=False)), autograph=False)
    module = tf.Module()
    module.model = bare
    signature = served.get_concrete_function(tf.TensorSpec((1, *SIZE_HW, 3), tf.float32))
    tf.saved_model.save(module, str(tmp_path / "saved"), signatures=signature)
    write_calibration(tmp_path / "small.calib")
    write_pairs(tmp_path / "pairs", count=2)
    monkeypatch.chdir(tmp_path)
    facts = ["--labels", "portrait", "--input-range", "0", "1", "--activation", "none"]
    arguments = ["--data", "pairs", "--calibration", "small.calib", *facts, *LOOSE, "--skip", "float16", "--layers"]
    assert main(["report", "saved", *arguments, "--json", "saved.json"]) == 0, capsys.readouterr().err
    stages = {row["stage"]: row for row in json.loads((tmp_path / "saved.json").read_text())["stages"]}
    assert "no layers to fake-quantize" in stages["calibrated only"]["missing"]
    assert stages["int8 file"]["kind"] == "tflite int8" and stages["int8 file"]["person_iou"] is not None
    assert "no layers to measure: a SavedModel has no layers" in capsys.readouterr().out


def test_what_the_command_repeats_is_what_the_rooms_behind_it_say() -> None:
    from edge_deeplab.cli import report_command, report_stages

    gates = report_stages.Gates()
    assert tuple(report_stages.STAGES) == report_command.SKIPPABLE
    assert (
        gates.float_file, gates.ptq, gates.qat,
    ) == (report_command.FLOAT_GATE, report_command.PTQ_GATE, report_command.QAT_GATE)  # fmt: skip


def test_the_bundled_network_holds_its_gates_on_real_portraits(
    shared: Path, tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pictures = shared / "data/portraits"
    monkeypatch.chdir(tmp_path)
    sampling = ["--count", "24", "--limit", "60", "--size", "224x224"]
    assert main(["calibrate", str(pictures / "train"), "--output", "some.calib", *sampling]) == 0
    model, tflite = (
        repository / "edge_deeplab/assets/portrait.keras",
        repository / "edge_deeplab/assets/portrait.tflite",
    )
    assert main(
        ["report", str(model), "--data", str(pictures / "val"), "--limit", "8", "--calibration", "some.calib",
         "--tflite", str(tflite), "--skip", "float16", "--json", "real.json"]
    ) == 0, capsys.readouterr().err  # fmt: skip
    stages = {row["stage"]: row for row in json.loads((tmp_path / "real.json").read_text())["stages"]}
    assert all(row["person_iou"] > 0.8 for row in stages.values() if not row["missing"])
    assert stages["int8 file"]["gate"] == 0.003  # the bundled file says of itself that it is tuned
