"""`evaluate`, `calibrate` and `train` on data sets in their owners' layouts: classes, void, curves, other strides."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest

from edge_deeplab.calibration.artifact import CalibrationSet
from edge_deeplab.cli.foreign_facts import LABEL_SETS
from edge_deeplab.cli.main import main
from edge_deeplab.data.catalogue import CATALOGUE
from edge_deeplab.recipe import parse_recipe
from edge_deeplab.training.run import TrainRun
from tests.data_copies import make_loveda, make_voc

SIZE_HW = (24, 32)
CLASSES = 7
FACTS = ("--labels", "loveda", "--input-range", "0", "1", "--activation", "softmax")


@pytest.fixture
def loveda(tmp_path: Path) -> Path:
    """LoveDA whose pictures show their label as a grey level, 10 for each class; the void is bright."""
    root = tmp_path / "loveda"
    make_loveda(root)
    for mask in root.rglob("masks_png/*.png"):
        stored = cv2.imread(str(mask), cv2.IMREAD_UNCHANGED)
        grey = np.where(stored == 0, 250, stored * 10).astype(np.uint8)
        cv2.imwrite(str(mask.parents[1] / "images_png" / mask.name), np.repeat(grey[..., np.newaxis], 3, axis=2))
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Says the class whose grey level is nearest, but takes class 6 (level 70) for class 5."""
    keras = pytest.importorskip("keras")
    image = keras.Input((*SIZE_HW, 3))
    layer = keras.layers.Conv2D(CLASSES, 1)
    network = keras.Model(image, layer(image))
    # the largest of 2 c x - c^2 over c is the c nearest to x
    levels = np.array([10, 20, 30, 40, 50, 60, 1e4], np.float32) / 255
    kernel = np.zeros((1, 1, 3, CLASSES), np.float32)
    kernel[0, 0, 0] = 2 * levels * 1e3
    layer.set_weights([kernel, -(levels**2) * 1e3])
    path = tmp_path_factory.mktemp("model") / "grey.keras"
    network.save(path)
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    code = main([*map(str, arguments)])
    out, error = capsys.readouterr()
    return code, out, error


def test_figures_leave_void_out_and_are_those_of_the_whole_set(
    model: Path, loveda: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stripes of void, 0, 6 and 3, each a quarter: 6 is taken for 5, so 0 and 3 have IoU 1, 5 and 6 have 0."""
    curve, figures = tmp_path / "curve.svg", tmp_path / "figures.json"
    code, out, error = run(
        capsys, "evaluate", model, "--data", loveda, *FACTS, "--trimap-curve", curve, "--json", figures
    )
    assert code == 0, error
    assert "loveda val: 2 pictures" in out
    document = json.loads(figures.read_text())
    assert (document["data_set"], document["score"]) == ("loveda", "classes")
    [row] = document["models"]
    iou = {name: value for name, value in row["iou"].items() if value is not None}
    assert iou == {"background": 1.0, "water": 1.0, "forest": 0.0, "agricultural": 0.0}
    assert row["mean_iou"] == row["picture_mean_iou"] == pytest.approx(0.5)
    assert row["pixel_accuracy"] == pytest.approx(2 / 3)
    assert [one["name"] for one in row["per_picture"]] == ["Rural/0", "Urban/1366"]
    assert row["trimap_curve"][-1] == [40, pytest.approx(0.5)]
    root = ElementTree.parse(curve).getroot()
    assert "grey.keras" in ElementTree.tostring(root, encoding="unicode")


def test_one_split_of_one_kind_of_scene(model: Path, loveda: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "evaluate", model, "--data", f"loveda:{loveda}@train_rural", *FACTS)
    assert code == 0
    assert "loveda train_rural: 1 pictures" in out


def test_what_does_not_go_together_is_one_line(
    model: Path, loveda: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_voc(tmp_path / "voc")
    (tmp_path / "old.svg").touch()
    evaluate = ("evaluate", model, "--data")
    cases: list[tuple[int, str, tuple[object, ...]]] = [
        (1, "voc has 21 classes; came 7 of grey.keras", (*evaluate, tmp_path / "voc", *FACTS)),
        (2, "--score person: loveda has 7 classes", (*evaluate, loveda, *FACTS, "--score", "person")),
        (2, "--trimap-curve", (*evaluate, loveda, *FACTS, "--trimap-curve", tmp_path / "a.png")),
        (1, "exists already", (*evaluate, loveda, *FACTS, "--trimap-curve", tmp_path / "old.svg")),
        (2, "--output-stride: grey.keras cannot be built anew", (*evaluate, loveda, *FACTS, "--output-stride", "8")),
        (1, "no split 'test'", (*evaluate, f"{loveda}@test", *FACTS)),
    ]
    for code, words, arguments in cases:
        came, out, error = run(capsys, *arguments)
        lines = [line for line in error.splitlines() if line.startswith("edge-deeplab: error:")]
        assert (came, out, len(lines)) == (code, "", 1), error
        assert words in lines[0]


def test_another_output_stride_is_said_in_the_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorflow")
    from tests.small_networks import write_model, write_pairs

    model, pairs = write_model(tmp_path / "small.keras"), write_pairs(tmp_path / "pairs", count=1)
    code, out, error = run(capsys, "evaluate", model, "--data", pairs, "--output-stride", "8")
    assert code == 0, error
    assert "keras, stride 8" in out


def test_calibration_takes_the_training_pictures_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_voc(tmp_path / "voc")
    sizes = ("--count", "4", "--size", "24x32")
    for spec, name, files in (
        (tmp_path / "voc", "voc train", ["2007_000001.jpg"]),
        (f"voc:{tmp_path / 'voc'}@val", "voc val", ["2007_000002.jpg"]),
    ):
        code, _, error = run(capsys, "calibrate", spec, "-o", tmp_path / f"{name}.calib", *sizes)
        assert code == 0, error
        facts = CalibrationSet.load(tmp_path / f"{name}.calib").facts
        assert [source["name"] for source in facts["sources"]] == [name]
        assert [sample["name"] for sample in facts["samples"]] == files


RECIPE = """
name = "street"
labels = ["camvid"]
[data]
train = ["camvid:${DATA}@train"]
validation = ["${DATA}@val"]
[model]
classes = 11
[[stages]]
size_hw = [32, 32]
epochs = 1
batch_size = 4
"""


def test_a_recipe_names_a_set_its_splits_and_its_classes(shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("keras")
    from edge_deeplab.errors import DataError
    from edge_deeplab.training.loop import Trainer

    recipe = parse_recipe(RECIPE, TrainRun, variables={"DATA": shared / "data/camvid"})
    assert recipe.labels == CATALOGUE["camvid"].labels
    trainer = Trainer(recipe, tmp_path / "run")
    assert trainer.trained_on == {"camvid train": 367}
    assert {name: len(pairs) for name, pairs in trainer.validation_pairs.items()} == {"camvid val": 101}
    short = RECIPE.replace("[model]", "validation_limit = 10\n[model]")
    few = Trainer(parse_recipe(short, TrainRun, variables={"DATA": shared / "data/camvid"}), tmp_path / "run")
    assert [len(pairs) for pairs in few.validation_pairs.values()] == [10]
    voc = RECIPE.replace("camvid:${DATA}@train", f"{shared / 'data/voc2012_small'}@train")
    with pytest.raises(DataError, match="voc has 21 classes; came 11 of the recipe's labels"):
        Trainer(parse_recipe(voc, TrainRun, variables={"DATA": shared / "data/camvid"}), tmp_path / "run")


def test_tuning_refuses_a_set_of_other_classes_whose_labels_it_needs(tmp_path: Path) -> None:
    from edge_deeplab.errors import DataError
    from edge_deeplab.training.tune_data import read_pairs

    make_voc(tmp_path)
    text = (f"{tmp_path}@train_aug",)
    assert len(read_pairs(text, labels_needed=True, classes=21)) == 2
    assert len(read_pairs(text, labels_needed=False, classes=2)) == 2
    with pytest.raises(DataError, match="voc has 21 classes; came 2 of the model; set tune"):
        read_pairs(text, labels_needed=True, classes=2)


def test_every_set_is_a_set_of_labels_too() -> None:
    assert set(LABEL_SETS) == {"portrait", *(name for name, one in CATALOGUE.items() if one.labels)}
