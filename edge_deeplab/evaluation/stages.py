"""One network on its way from float to int8, scored at every stage on the same pictures, each stage with its gate.

    report = StageReport(stages=(Stage(name="float", kind="keras", report=scored), ...))
    report.missed()          # which stages lost more than they may, in words

The first stage is the float network; a loss is its figure minus a stage's. Nothing is run here, and no file is known.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edge_deeplab.evaluation.runner import FIGURES, ClassReport, EvaluationReport

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One row.

    Attributes:
        name: of the stage, e.g. "int8 file".
        kind: what ran, e.g. "tflite int8".
        report: its figures; None where it could not be scored.
        gate: the most it may lose against the float network; None for that one itself.
        missing: why there are no figures.
        is_failed: it should have been there, and could not be made.
        facts: more about it, for JSON: file, bytes, sha256, how its ranges came.
    """

    name: str
    kind: str = ""
    report: EvaluationReport | ClassReport | None = None
    gate: float | None = None
    missing: str = ""
    is_failed: bool = False
    facts: dict[str, Any] = dataclasses.field(default_factory=dict)

    @property
    def score(self) -> float | None:
        """The gated figure: person IoU, or mean IoU of many classes."""
        if isinstance(self.report, EvaluationReport):
            return self.report.person_iou
        return None if self.report is None else self.report.mean_iou


@dataclass(frozen=True, kw_only=True)
class StageReport:
    """Every stage; the first is the float network, and has figures."""

    stages: tuple[Stage, ...]

    def __post_init__(self) -> None:
        if not self.stages or self.stages[0].score is None:
            raise ValueError("the first stage must be the float network, scored")

    @property
    def figure(self) -> str:
        """What the gates hold, in words."""
        return "person IoU" if isinstance(self.stages[0].report, EvaluationReport) else "mean IoU"

    def loss(self, stage: Stage) -> float | None:
        """How much less than the float network a stage has; negative where it has more."""
        first = self.stages[0].score
        return None if stage.score is None or first is None else first - stage.score

    def is_held(self, stage: Stage) -> bool | None:
        """Whether a stage holds its gate; None where it has none or was not scored for a good reason."""
        loss = self.loss(stage)
        if stage.is_failed:
            return False
        return None if loss is None or stage.gate is None else loss <= stage.gate

    def missed(self) -> list[str]:
        """Every gate missed, as "int8 file loses 0.0123 person IoU, may lose 0.003"."""
        said = []
        for stage in self.stages:
            if self.is_held(stage) is not False:
                continue
            if stage.is_failed:
                said.append(f"{stage.name} could not be made ({stage.missing})")
            else:
                said.append(f"{stage.name} loses {self.loss(stage):.4f} {self.figure}, may lose {stage.gate:g}")
        return said

    def to_dict(self) -> list[dict[str, Any]]:
        """Every stage as plain values, figures of single pictures and the confusion matrix left out."""
        return [
            {
                "stage": stage.name,
                "kind": stage.kind,
                **_figures(stage),
                "loss": self.loss(stage),
                "gate": stage.gate,
                "held": self.is_held(stage),
                "missing": stage.missing or None,
                **stage.facts,
            }
            for stage in self.stages
        ]


def _figures(stage: Stage) -> dict[str, Any]:
    if isinstance(stage.report, EvaluationReport):
        return stage.report.summary()
    if stage.report is None:
        return {}
    return {key: value for key, value in stage.report.to_dict().items() if key not in ("confusion", "per_picture")}


def stage_table(report: StageReport, *, title: str | None = None) -> Table:
    """Figures, loss and gate of every stage; a stage without figures says why in the lines under the table."""
    from rich.table import Table

    is_person = report.figure == "person IoU"
    names = ("person\nIoU", "mean\nIoU", "trimap\nIoU", "boundary\nF") if is_person else ("mean\nIoU", "accuracy")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.add_column("stage", overflow="fold")
    is_gated = any(stage.gate is not None for stage in report.stages)
    for name in (*names, "loss", *(("may\nlose",) if is_gated else ())):
        table.add_column(name, justify="right", no_wrap=True)
    if is_gated:
        table.add_column("")
    for stage in report.stages:
        verdict = _verdict(report, stage)
        table.add_row(stage.name, *_cells(stage, len(names)), *(verdict if is_gated else verdict[:1]))
    return table


def _cells(stage: Stage, count: int) -> list[str]:
    if isinstance(stage.report, EvaluationReport):
        values = [stage.report.mean(figure) for figure in FIGURES]
    elif stage.report is None:
        values = [None] * count
    else:
        values = [stage.report.mean_iou, stage.report.pixel_accuracy]
    return ["-" if value is None else f"{value:.4f}" for value in values]


def _verdict(report: StageReport, stage: Stage) -> tuple[str, str, str]:
    loss, held = report.loss(stage), report.is_held(stage)
    is_first = stage is report.stages[0]
    said = "not made" if stage.is_failed else {True: "held", False: "MISSED", None: ""}[held]
    return (
        "" if is_first or loss is None else f"{round(loss, 4) + 0.0:+.4f}",  # no "-0.0000"
        "" if stage.gate is None else f"{stage.gate:.4f}",
        "left out" if stage.missing and not stage.is_failed else said,
    )


def class_stage_table(report: StageReport) -> Table:
    """IoU of every class, one column per scored stage. For reports of many classes."""
    from rich.table import Table

    scored = [stage for stage in report.stages if isinstance(stage.report, ClassReport)]
    table = Table("class", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for stage in scored:
        table.add_column(stage.name, justify="right", overflow="fold")
    reports = [stage.report for stage in scored if isinstance(stage.report, ClassReport)]
    for index, label in enumerate(reports[0].labels):
        values = [one.iou[index] for one in reports]
        table.add_row(label, *("-" if value is None else f"{value:.4f}" for value in values))
    return table


def notes(report: StageReport) -> list[str]:
    """One line for every stage without figures: which, and why."""
    return [f"{stage.name}: {stage.missing}" for stage in report.stages if stage.missing]
