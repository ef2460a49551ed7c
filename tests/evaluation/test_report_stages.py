from __future__ import annotations

import io
import json

import numpy as np
import pytest
from rich.console import Console

from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport, PictureScore
from edge_deeplab.evaluation.stages import Stage, StageReport, class_stage_table, notes, stage_table


def scored(person: float) -> EvaluationReport:
    return EvaluationReport(
        pictures=(
            PictureScore(
                name="one", size_hw=(8, 8), person_iou=person, mean_iou=person, trimap_iou=None, boundary_f=person
            ),
        )
    )


def classes(mean: float) -> ClassReport:
    return ClassReport(
        pictures=1, labels=("road", "sky"), mean_iou=mean, pixel_accuracy=0.9, iou=(mean, None),
        confusion=np.eye(2, dtype=np.int64),
    )  # fmt: skip


def text(report: StageReport, *, width: int = 120) -> str:
    console = Console(file=io.StringIO(), width=width)
    console.print(stage_table(report, title="val"))
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_gate_is_missed_by_what_a_stage_loses_against_the_first() -> None:
    report = StageReport(
        stages=(
            Stage(name="float", kind="keras", report=scored(0.9)),
            Stage(name="calibrated only", report=scored(0.891), gate=0.01),
            Stage(name="tuned", report=scored(0.95), gate=0.003),
            Stage(name="int8 file", report=scored(0.896), gate=0.003),
        )
    )
    assert [report.is_held(stage) for stage in report.stages] == [None, True, True, False]
    assert report.loss(report.stages[2]) == pytest.approx(-0.05)
    assert report.missed() == ["int8 file loses 0.0040 person IoU, may lose 0.003"]
    shown = text(report)
    assert "MISSED" in shown and "+0.0040" in shown and "0.0030" in shown


def test_a_loss_of_exactly_the_gate_is_held() -> None:
    report = StageReport(
        stages=(Stage(name="float", report=scored(1.0)), Stage(name="x", report=scored(0.5), gate=0.5))
    )
    assert report.missed() == []


def test_a_stage_left_out_says_why_and_misses_nothing() -> None:
    report = StageReport(
        stages=(Stage(name="float", report=scored(0.9)), Stage(name="tuned", gate=0.003, missing="no .qat was given"))
    )
    assert report.missed() == []
    assert notes(report) == ["tuned: no .qat was given"]
    assert "left out" in text(report)


def test_a_stage_that_could_not_be_made_misses_its_gate() -> None:
    stage = Stage(name="int8 file", gate=0.01, missing="layer x has no int8 form", is_failed=True)
    report = StageReport(stages=(Stage(name="float", report=scored(0.9)), stage))
    assert report.missed() == ["int8 file could not be made (layer x has no int8 form)"]
    assert "not made" in text(report)


def test_many_classes_are_gated_by_mean_iou_and_shown_class_by_class() -> None:
    report = StageReport(
        stages=(Stage(name="float", report=classes(0.7)), Stage(name="int8", report=classes(0.6), gate=0.01))
    )
    assert report.missed() == ["int8 loses 0.1000 mean IoU, may lose 0.01"]
    console = Console(file=io.StringIO(), width=80)
    console.print(class_stage_table(report))
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert lines[1].split() == ["road", "0.7000", "0.6000"]
    assert lines[2].split() == ["sky", "-", "-"]


def test_json_has_every_stage_with_its_gate_and_verdict() -> None:
    report = StageReport(
        stages=(
            Stage(name="float", kind="keras", report=scored(0.9)),
            Stage(name="int8", report=scored(0.89), gate=0.003, facts={"size_bytes": 5}),
            Stage(name="tuned", missing="no .qat was given"),
        )
    )
    read = json.loads(json.dumps(report.to_dict()))
    assert [row["held"] for row in read] == [None, False, None]
    assert read[1]["loss"] == pytest.approx(0.01) and read[1]["size_bytes"] == 5
    assert read[2]["missing"] == "no .qat was given" and "person_iou" not in read[2]


def test_the_first_stage_must_be_scored() -> None:
    with pytest.raises(ValueError, match="float network"):
        StageReport(stages=(Stage(name="float", missing="none"),))


def test_the_table_fits_eighty_columns() -> None:
    report = StageReport(
        stages=(
            Stage(name="float", report=scored(0.9)),
            Stage(name="reference kernels", report=scored(0.89), gate=0.003),
        )
    )
    assert "reference kernels  0.8900  0.8900" in text(report, width=80)
