"""Figures of several models as one table: for the terminal, and for a model card.

    table = person_table([Row(name="portrait", kind="tflite int8", size_hw=(256, 256), report=report)])

Tables are made here and printed by the command line; rich is imported when one is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Generic, TypeVar

from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport

if TYPE_CHECKING:
    from rich.table import Table

R = TypeVar("R", EvaluationReport, ClassReport)


@dataclass(frozen=True, kw_only=True)
class Row(Generic[R]):
    """One model's line.

    Attributes:
        kind: what the file is, e.g. "tflite int8".
        size_hw: of the model's input, pixels.
    """

    name: str
    kind: str
    size_hw: tuple[int, int]
    report: R


def person_table(rows: Sequence[Row[EvaluationReport]], *, title: str | None = None) -> Table:
    """Person IoU, mean IoU, trimap IoU and boundary F, one row per model; 80 columns hold a name of 15 letters."""
    table = _table(("person IoU", "mean IoU", "trimap IoU", "boundary F"), title)
    for row in rows:
        report = row.report
        figures = (report.person_iou, report.mean_iou, report.trimap_iou, report.boundary_f)
        table.add_row(*_about(row), *map(_figure, figures))
    return table


def class_table(rows: Sequence[Row[ClassReport]], *, title: str | None = None) -> Table:
    """Mean IoU over all pixels, mean of the pictures' own, and pixel accuracy; one row per model."""
    table = _table(("mean IoU", "of pictures", "accuracy", "classes seen"), title)
    for row in rows:
        seen = sum(value is not None for value in row.report.iou)
        table.add_row(
            *_about(row), _figure(row.report.mean_iou), _figure(row.report.picture_mean_iou),
            _figure(row.report.pixel_accuracy), f"{seen} of {len(row.report.labels)}",
        )  # fmt: skip
    return table


def per_class_table(rows: Sequence[Row[ClassReport]]) -> Table:
    """IoU of every class, one column per model; the models share their labels."""
    table = _table(tuple(row.name for row in rows), None, first=("class",))
    for index, label in enumerate(rows[0].report.labels):
        table.add_row(label, *(_figure(row.report.iou[index]) for row in rows))
    return table


def _table(figures: tuple[str, ...], title: str | None, first: tuple[str, ...] = ("model", "kind", "input")) -> Table:
    from rich.table import Table

    table = Table(*first, box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.columns[0].overflow = "fold"  # a name cut short names nothing
    for name in figures:
        table.add_column(name, justify="right")
    return table


def _about(row: Row[R]) -> tuple[str, str, str]:
    return row.name, row.kind, "{}x{}".format(*row.size_hw)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"
