"""The scorer of portrait programs: perfect ones score perfectly, worse ones worse, and each figure where it belongs."""

from __future__ import annotations

import io
import json

import cv2
import numpy as np
import pytest
from rich.console import Console

from edge_deeplab.evaluation.halo import blend
from edge_deeplab.evaluation.portrait import (
    FIGURES,
    GROUPS,
    ClipScorer,
    Made,
    PortraitReport,
    Truth,
    format_figure,
    legend,
    portrait_table,
)
from edge_deeplab.evaluation.temporal import picture_flow

SIZE_HW = (90, 120)
FRAMES = 5


def person(index: int, radius_px: float = 25.0) -> np.ndarray:
    rows, columns = np.mgrid[: SIZE_HW[0], : SIZE_HW[1]]
    off = np.hypot(rows - 45, columns - 50 - 2 * index)
    return np.clip((radius_px - off) / 5 + 0.5, 0, 1).astype(np.float32)


FOREGROUND = np.full((*SIZE_HW, 3), (40, 60, 220), np.uint8)
BEHIND = cv2.GaussianBlur(np.random.default_rng(0).integers(0, 256, (*SIZE_HW, 3)).astype(np.uint8), (0, 0), 3)


def score(
    radius_px: float = 25.0, *, stills_every: int = 1, flickers: float = 0.0, has_truth: bool = True
) -> ClipScorer:
    scorer = ClipScorer("clip", stills_every=stills_every)
    frames = [blend(person(index), FOREGROUND, BEHIND) for index in range(FRAMES)]
    for index in range(FRAMES):
        alpha = np.clip(person(index, radius_px) - flickers * (index % 2), 0, 1)
        truth = Truth(alpha=person(index), foreground_bgr=FOREGROUND, background_bgr=BEHIND)
        flow = picture_flow(frames[index - 1], frames[index]) if index else None
        made = Made(alpha=alpha, picture_bgr=blend(alpha, FOREGROUND, BEHIND))
        scorer.add(made, truth if has_truth else None, flow=flow)
    return scorer


def test_a_perfect_program_scores_perfectly() -> None:
    report = PortraitReport.of([score()])
    for name in ("sad", "mse", "gradient", "connectivity", "dtssd", "halo", "halo_2000", "rim", "rim_2000"):
        assert report.mean(name) == 0, name
    assert report.mean("trimap_iou") == report.mean("boundary_f") == 1
    assert set(report.frames[0].values) | set(report.frames[1].values) == set(FIGURES)


def test_further_off_is_worse_in_every_figure_of_the_matte() -> None:
    reports = [PortraitReport.of([score(radius)]) for radius in (25, 27, 30)]
    for name in ("sad", "mse", "gradient", "connectivity", "trimap_iou", "boundary_f", "halo", "rim"):
        values = [report.mean(name) for report in reports]
        assert None not in values
        ordered = sorted(values, reverse=FIGURES[name].is_better_high)  # type: ignore[type-var]
        assert values == ordered and values[0] != values[2], name


def test_flicker_raises_the_figures_over_time() -> None:
    steady, flickering = (PortraitReport.of([score(flickers=share)]) for share in (0.0, 0.2))
    for name in ("dtssd", "flicker", "change"):
        assert steady.mean(name) < flickering.mean(name), name  # type: ignore[operator]


def test_over_time_begins_with_the_second_frame_and_stills_are_every_nth() -> None:
    scorer = score(stills_every=2)
    assert [("sad" in frame.values, "dtssd" in frame.values) for frame in scorer.frames] == [
        (True, False), (False, True), (True, True), (False, True), (True, True)
    ]  # fmt: skip


def test_without_a_truth_only_steadiness_has_a_value() -> None:
    report = PortraitReport.of([score(has_truth=False)])
    assert {name for name in FIGURES if report.mean(name) is not None} == {
        "flicker", "steady_iou", "change", "adjacent_iou"
    }  # fmt: skip
    assert report.extremes("sad") is None


def test_programs_may_write_over_their_arrays() -> None:
    """The compositor's alpha is one array, valid until the next call."""
    kept, scorer = np.empty(SIZE_HW, np.float32), ClipScorer("clip")
    for index in range(3):
        np.copyto(kept, person(index))
        scorer.add(Made(alpha=kept), Truth(alpha=person(index)))
    assert scorer.frames[2].values["dtssd"] == 0 < scorer.frames[2].values["change"]


def test_worst_and_best_frames_are_found_for_either_direction() -> None:
    scorer = ClipScorer("clip")
    for index, radius in enumerate((27, 25, 31)):
        scorer.add(Made(alpha=person(0, radius)), Truth(alpha=person(0)))
        assert scorer.frames[-1].index == index
    report = PortraitReport.of([scorer])
    for name in ("sad", "trimap_iou"):
        found = report.extremes(name)
        assert found is not None
        assert (found[0].index, found[1].index) == (2, 1)


def test_the_table_marks_the_best_and_leaves_out_what_nobody_has() -> None:
    reports = {"ours": PortraitReport.of([score(26)]), "theirs": PortraitReport.of([score(29)])}
    console = Console(width=200, record=True, force_terminal=True, color_system="truecolor", file=io.StringIO())
    console.print(portrait_table(reports, figures=["sad", "trimap_iou"]))
    text = console.export_text(styles=True)
    for name in ("sad", "trimap_iou"):
        ours, theirs = (format_figure(name, report.mean(name)) for report in reports.values())
        assert f"\x1b[1m{ours}" in text and theirs in text and f"\x1b[1m{theirs}" not in text
    bare = {"ours": PortraitReport.of([score(has_truth=False)])}
    assert [column.header for column in portrait_table(bare).columns] == ["", "flicker", "steady", "change", "adjacent"]


def test_every_figure_is_in_one_group_and_has_a_legend() -> None:
    assert [name for names in GROUPS.values() for name in names] == list(FIGURES)
    assert "trimap: IoU within 2 % of the diagonal of the edge; more is better" in legend(["sad", "trimap_iou"])


def test_the_document_holds_every_frame() -> None:
    document = json.loads(json.dumps(PortraitReport.of([score()]).to_dict()))
    assert (document["clips"], document["frames"], len(document["per_frame"])) == (1, FRAMES, FRAMES)
    assert document["per_frame"][3]["values"]["dtssd"] == 0


def test_no_stills_at_all_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ClipScorer("clip", stills_every=0)
