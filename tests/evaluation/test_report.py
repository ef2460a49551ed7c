from __future__ import annotations

import io

import numpy as np
from rich.console import Console
from rich.table import Table

from edge_deeplab.evaluation.report import Row, class_table, per_class_table, person_table
from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport, PictureMean, PictureScore


def text_of(table: Table) -> str:
    stream = io.StringIO()
    Console(file=stream, width=80).print(table)
    return stream.getvalue()


def report(trimap: float | None) -> EvaluationReport:
    scores = (
        PictureScore(name="a", size_hw=(4, 4), person_iou=0.5, mean_iou=0.25, trimap_iou=trimap, boundary_f=1.0),
        PictureScore(name="b", size_hw=(4, 4), person_iou=1.0, mean_iou=0.75, trimap_iou=None, boundary_f=0.0),
    )
    return EvaluationReport(pictures=scores)


def test_one_row_per_model_with_the_means_in_eighty_columns() -> None:
    rows = [
        Row(name="portrait.tflite", kind="tflite int8", size_hw=(256, 192), report=report(0.125)),
        Row(name="portrait.keras", kind="keras", size_hw=(64, 64), report=report(None)),
    ]
    lines = text_of(person_table(rows)).splitlines()
    assert lines[0].split("  ")[0] == "model"
    assert lines[1].split() == ["portrait.tflite", "tflite", "int8", "256x192", "0.7500", "0.5000", "0.1250", "0.5000"]
    assert lines[2].split() == ["portrait.keras", "keras", "64x64", "0.7500", "0.5000", "-", "0.5000"]
    assert max(map(len, lines)) <= 80


def test_classes_show_every_label_and_a_dash_for_the_unseen() -> None:
    one = ClassReport(
        pictures=2, labels=("sky", "road"), mean_iou=0.5, pixel_accuracy=0.75, iou=(0.5, None), confusion=np.eye(2),
        per_picture=(PictureMean(name="street", mean_iou=0.25), PictureMean(name="all void", mean_iou=None)),
    )  # fmt: skip
    rows = [Row(name="street", kind="keras", size_hw=(32, 32), report=one)]
    assert text_of(class_table(rows)).splitlines()[1].split() == [
        "street", "keras", "32x32", "0.5000", "0.2500", "0.7500", "1", "of", "2"
    ]  # fmt: skip
    assert [line.split() for line in text_of(per_class_table(rows)).splitlines()[1:]] == [
        ["sky", "0.5000"], ["road", "-"]
    ]  # fmt: skip
