"""All figures of a portrait program over clips: mattes, edges, halo, steadiness; knows neither models nor compositing.

The caller runs the program and hands over what it made, frame by frame:

    scorer = ClipScorer("walk")
    for true in scene:
        scorer.add(Made(alpha=..., picture_bgr=...), Truth(alpha=true.alpha), flow=flows[true.index])
    report = PortraitReport(frames=tuple(scorer.frames))
    report.mean("sad"), report.extremes("halo")
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edge_deeplab.evaluation.boundary import boundary_f, edge_distance, mask_edge, trimap_iou
from edge_deeplab.evaluation.halo import blend, halo, rim
from edge_deeplab.evaluation.matting import matting_errors
from edge_deeplab.evaluation.temporal import PERSON, Flow, dtssd, steadiness

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How a figure is printed.

    Attributes:
        title: of its column.
        scale: what it is multiplied with.
        digits: after the point.
        is_better_high: whether more is better.
        help: one line.
    """

    title: str
    scale: float = 1.0
    digits: int = 2
    is_better_high: bool = False
    help: str = ""


FIGURES: dict[str, Figure] = {
    "sad": Figure(title="SAD", help="sum of absolute differences of alpha, in thousands of pixels"),
    "mse": Figure(title="MSE", scale=1000, help="mean squared difference of alpha, in thousandths"),
    "gradient": Figure(title="grad", help="difference of the mattes' gradients, in thousands"),
    "connectivity": Figure(title="conn", help="what hangs on to the person or not, wrongly, in thousands"),
    "trimap_iou": Figure(
        title="trimap", digits=4, is_better_high=True, help="IoU within 2 % of the diagonal of the edge"
    ),
    "boundary_f": Figure(title="boundary F", digits=4, is_better_high=True, help="edge pixels at their place"),
    "dtssd": Figure(title="dtSSD", help="wrong change from frame to frame, per cent of alpha"),
    "flicker": Figure(title="flicker", scale=1000, help="change of alpha along the picture's motion, in thousandths"),
    "steady_iou": Figure(title="steady", digits=4, is_better_high=True, help="IoU of neighbours along the motion"),
    "change": Figure(title="change", scale=1000, help="change of alpha from frame to frame, in thousandths"),
    "adjacent_iou": Figure(title="adjacent", digits=4, is_better_high=True, help="IoU of neighbours, pixel by pixel"),
    "halo": Figure(title="halo", help="colour difference (CIE76) in the ring outside the person"),
    "halo_2000": Figure(title="halo 2000", help="the same by CIEDE2000"),
    "rim": Figure(title="rim", help="colour difference (CIE76) in the person's soft edge from a perfect composite"),
    "rim_2000": Figure(title="rim 2000", help="the same by CIEDE2000"),
}
"""Every figure of a frame, in the order of tables. Those of two frames stand with the later one."""


GROUPS: dict[str, tuple[str, ...]] = {
    "mattes": ("sad", "mse", "gradient", "connectivity", "trimap_iou", "boundary_f"),
    "over time": ("dtssd", "flicker", "steady_iou", "change", "adjacent_iou"),
    "pictures": ("halo", "halo_2000", "rim", "rim_2000"),
}
"""FIGURES by what they are of, for tables that fit a terminal."""


@dataclass(frozen=True, kw_only=True)
class Made:
    """What a program made of a frame.

    Attributes:
        alpha: (H, W) float32 in 0..1, what it took for the person.
        picture_bgr: (H, W, 3) uint8, its picture; None where mattes alone are scored.
    """

    alpha: np.ndarray
    picture_bgr: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class Truth:
    """What is true of a frame.

    Attributes:
        alpha: (H, W) float32 in 0..1.
        foreground_bgr: (H, W, 3) uint8, the person's own colours; None where they are not known.
        background_bgr: (H, W, 3) uint8, what stands behind the person in a perfect picture of this program: its own
            blur of the clean background, or the new background; None where it is not known.
    """

    alpha: np.ndarray
    foreground_bgr: np.ndarray | None = None
    background_bgr: np.ndarray | None = None


@dataclass(frozen=True, kw_only=True)
class FrameScore:
    """The figures of a frame.

    Attributes:
        values: by the names of FIGURES, as computed, not scaled; a figure that has no value here is left out.
    """

    clip: str
    index: int
    values: Mapping[str, float]


class ClipScorer:
    """Scores the frames of one clip in their order, and holds the last one for the figures over time.

    Args:
        clip: its name.
        stills_every: the figures of single frames are taken of every so many frames, beginning with the first; those
            over time of all.
    """

    def __init__(self, clip: str, *, stills_every: int = 1) -> None:
        if stills_every < 1:
            raise ValueError(f"stills_every must be at least 1; came {stills_every}")
        self.clip, self.stills_every = clip, stills_every
        self.frames: list[FrameScore] = []
        self._before: tuple[np.ndarray, np.ndarray | None] | None = None

    def add(self, made: Made, truth: Truth | None = None, *, flow: Flow | None = None) -> FrameScore:
        """The figures of the next frame.

        Args:
            made: of the program.
            truth: None where there is none: then only steadiness has a value.
            flow: from the frame before to this one (temporal.picture_flow); None leaves out what goes along it.
        """
        index, values = len(self.frames), dict[str, float]()
        alpha = made.alpha.copy()  # programs write over theirs
        true_alpha = None if truth is None else truth.alpha.copy()
        if truth is not None and index % self.stills_every == 0:
            values |= matte_figures(alpha, truth.alpha)
            values |= picture_figures(made, truth)
        if self._before is not None:
            values |= self._over_time(*self._before, alpha, true_alpha, flow)
        self._before = (alpha, true_alpha)
        self.frames.append(FrameScore(clip=self.clip, index=index, values=values))
        return self.frames[-1]

    @staticmethod
    def _over_time(
        before: np.ndarray, true_before: np.ndarray | None, alpha: np.ndarray, true_alpha: np.ndarray | None,
        flow: Flow | None,
    ) -> dict[str, float]:  # fmt: skip
        plain = steadiness(before, alpha)
        values = {"adjacent_iou": plain.iou, "change": plain.difference}
        if flow is not None:
            along = steadiness(before, alpha, flow=flow)
            values |= {"steady_iou": along.iou, "flicker": along.difference}
        if true_before is not None and true_alpha is not None:
            values["dtssd"] = dtssd(before, alpha, true_before, true_alpha)
        return values


@dataclass(frozen=True, kw_only=True)
class PortraitReport:
    """The figures of a program over clips: each the mean over the frames that have it."""

    frames: tuple[FrameScore, ...]

    @classmethod
    def of(cls, scorers: Iterable[ClipScorer]) -> PortraitReport:
        """All frames of all clips."""
        return cls(frames=tuple(frame for scorer in scorers for frame in scorer.frames))

    def mean(self, figure: str) -> float | None:
        """The mean of one of FIGURES; None when no frame has it."""
        values = [frame.values[figure] for frame in self.frames if figure in frame.values]
        return float(np.mean(values)) if values else None

    def extremes(self, figure: str) -> tuple[FrameScore, FrameScore] | None:
        """The frame with the worst and the one with the best value; None when no frame has it."""
        have = [frame for frame in self.frames if figure in frame.values]
        if not have:
            return None
        ordered = sorted(have, key=lambda frame: frame.values[figure], reverse=not FIGURES[figure].is_better_high)
        return ordered[0], ordered[-1]

    def summary(self) -> dict[str, Any]:
        """The counts and the means, not scaled, for JSON; None where no frame has a figure."""
        clips = {frame.clip for frame in self.frames}
        return {"clips": len(clips), "frames": len(self.frames), **{name: self.mean(name) for name in FIGURES}}

    def to_dict(self) -> dict[str, Any]:
        """`summary()` and, under "per_frame", every frame's figures."""
        return {**self.summary(), "per_frame": [dataclasses.asdict(frame) for frame in self.frames]}


def matte_figures(alpha: np.ndarray, true_alpha: np.ndarray) -> dict[str, float]:
    """SAD, MSE, gradient, connectivity, and of the person above PERSON trimap IoU and boundary F."""
    values = dataclasses.asdict(matting_errors(alpha, true_alpha))
    person, true_person = alpha > PERSON, true_alpha > PERSON
    distance = edge_distance(mask_edge(true_person))
    trimap = trimap_iou(person, true_person, distance=distance)
    if trimap is not None:
        values["trimap_iou"] = trimap
    values["boundary_f"] = boundary_f(person, true_person, distance=distance)
    return values


def picture_figures(made: Made, truth: Truth) -> dict[str, float]:
    """Halo and rim, where the program made a picture and the colours of person and background are known."""
    values: dict[str, float] = {}
    if made.picture_bgr is None or truth.background_bgr is None:
        return values
    shine = halo(made.picture_bgr, truth.background_bgr, truth.alpha)
    if shine is not None:
        values |= {"halo": shine.mean, "halo_2000": shine.mean_2000}
    if truth.foreground_bgr is not None:
        perfect = blend(truth.alpha, truth.foreground_bgr, truth.background_bgr)
        edge = rim(made.picture_bgr, perfect, truth.alpha)
        if edge is not None:
            values |= {"rim": edge.mean, "rim_2000": edge.mean_2000}
    return values


def portrait_table(
    reports: Mapping[str, PortraitReport], *, figures: Iterable[str] | None = None, title: str | None = None
) -> Table:
    """One row a program, one column a figure; the best of each column is bold.

    figures: names of FIGURES; None takes those that any program has.
    """
    from rich.table import Table

    names = [name for name in FIGURES if any(report.mean(name) is not None for report in reports.values())]
    names = [name for name in (figures or names) if name in names]
    table = Table("", box=None, padding=(0, 1, 0, 0), pad_edge=False, title=title, title_justify="left")
    table.columns[0].overflow = "fold"
    for name in names:
        table.add_column(FIGURES[name].title, justify="right", no_wrap=True)
    best = {}
    for name in names:
        values = [value for report in reports.values() if (value := report.mean(name)) is not None]
        best[name] = format_figure(name, (max if FIGURES[name].is_better_high else min)(values))
    for row, report in reports.items():
        cells = [format_figure(name, report.mean(name)) for name in names]
        table.add_row(row, *(f"[bold]{cell}[/]" if cell == best[name] else cell for name, cell in zip(names, cells)))
    return table


def legend(figures: Iterable[str]) -> str:
    """What the columns mean, a line each."""
    lines = []
    for name in figures:
        figure = FIGURES[name]
        lines.append(f"  {figure.title}: {figure.help}; {'more' if figure.is_better_high else 'less'} is better")
    return "\n".join(lines)


def format_figure(name: str, value: float | None) -> str:
    """A figure as tables show it; "-" for None."""
    figure = FIGURES[name]
    return "-" if value is None else f"{figure.scale * value:.{figure.digits}f}"
