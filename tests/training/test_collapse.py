"""A network that says one class everywhere is told of in one line, with what may be the matter."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from edge_deeplab.cli.train_command import Reporter
from edge_deeplab.data.pairs import PairsFolder
from edge_deeplab.training.collapse import collapse_warning, collapsed_class
from edge_deeplab.training.loop import EpochEvent
from edge_deeplab.training.validation import load_validation, score

LABELS = ("background", "person")


def counts(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("predicted", "truth", "expected"),
    [
        ((1000, 0), (600, 400), 0),
        ((0, 1000), (600, 400), 1),
        ((995, 5), (600, 400), 0),  # 5 of 400 are less than 2 %
        ((990, 10), (600, 400), None),
        ((9_990, 10), (9_900, 100), None),  # rare, and a tenth of it found
        ((10_000, 0), (9_900, 100), 0),
        ((1000, 0), (1000, 0), None),  # there is nothing else to say
        ((0, 0), (600, 400), None),
        ((0, 500, 0), (200, 200, 100), 1),
        ((0, 400, 100), (200, 200, 100), None),
    ],
)
def test_collapse_is_judged_by_what_is_truly_there(
    predicted: tuple[int, ...], truth: tuple[int, ...], expected: int | None
) -> None:
    assert collapsed_class(counts(*predicted), counts(*truth)) == expected


def test_line_names_the_class_the_shares_and_likely_causes() -> None:
    line = collapse_warning("val", counts(1000, 0), counts(600, 400), LABELS, epoch=5)
    assert line is not None
    assert "\n" not in line
    assert line.startswith(
        "val: the network says 'background' on 100.0% of the pixels, of which 60.0% are; likely causes"
    )
    for cause in ("edge-deeplab doctor", "loss.class_weights", "learning_rate", "batch_size"):
        assert cause in line
    assert collapse_warning("val", counts(600, 400), counts(600, 400), LABELS, epoch=5) is None


def test_first_epochs_are_said_to_be_usual() -> None:
    early, late = (collapse_warning("v", counts(9, 0), counts(6, 3), LABELS, epoch=epoch) or "" for epoch in (1, 2))
    assert "usual in the first epoch or two" in early
    assert "usual" not in late


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
    mask = np.zeros((16, 16), np.uint8)
    mask[4:12, 4:12] = 1
    mask[0] = 255
    cv2.imwrite(str(tmp_path / "images/a.png"), np.zeros((16, 16, 3), np.uint8))
    cv2.imwrite(str(tmp_path / "masks/a.png"), mask)
    return tmp_path


@pytest.mark.parametrize("classes", [2, 3])
def test_validation_counts_what_was_said_and_what_is_true(classes: int, folder: Path) -> None:
    data = load_validation("val", PairsFolder(folder).pairs, size_hw=(16, 16), classes=classes)

    def says_background(images: np.ndarray) -> np.ndarray:
        logits = np.zeros((*images.shape[:3], classes), np.float32)
        logits[..., 0] = 1
        return logits

    scored = score(data, says_background, classes=classes)
    assert scored.predicted.tolist() == [240, 0, 0][:classes]  # the first row is void
    assert scored.truth.tolist() == [176, 64, 0][:classes]
    assert scored.value == pytest.approx(0.0 if classes == 2 else 176 / 240 / 2)


def test_line_reaches_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    Reporter()(EpochEvent(
        epoch=3, epochs=9, loss=0.5, scores={"val": 0.0}, is_best=False, duration_s=1.0, warnings=("val: one class",)
    ))  # fmt: skip
    assert capsys.readouterr().err.splitlines()[-1] == "edge-deeplab: warning: val: one class"


def test_trainer_tells_of_a_network_that_says_background_everywhere(
    discs: Path, recipe_text: str, tmp_path: Path
) -> None:
    pytest.importorskip("keras")
    from edge_deeplab.recipe import parse_recipe
    from edge_deeplab.training.loop import Trainer
    from edge_deeplab.training.run import TrainRun
    from edge_deeplab.training.validation import load_validation

    run = parse_recipe(recipe_text.replace("ema = 0.8", "ema = 0.0"), TrainRun, variables={"DATA": discs})
    events: list[object] = []
    trainer = Trainer(run, tmp_path / "run", on_event=events.append)
    trainer._begin_folder()
    stage = run.stages[0]
    trainer._open_stage(stage, None)
    kernel, bias = trainer.model.get_layer("logits").get_weights()
    trainer.model.get_layer("logits").set_weights([0 * kernel, np.array([1, -1], bias.dtype)])
    sets = [
        load_validation(name, pairs, size_hw=stage.size_hw, classes=2)
        for name, pairs in trainer.validation_pairs.items()
    ]
    trainer._finish_epoch(4, stage, 1.0, sets, 0.0)
    [event] = events
    assert isinstance(event, EpochEvent)
    [line] = event.warnings
    assert line.startswith("val: the network says 'background' on 100.0% of the pixels")
    assert json.loads((tmp_path / "run/metrics.jsonl").read_text())["warnings"] == [line]
