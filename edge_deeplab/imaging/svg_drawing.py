"""Drawing by hand as SVG text: scales with round ticks, axes, bars, points, lines, legends. Knows numbers, no subject.

    drawing = Drawing("Time by kind", height=120)
    drawing.bar(0, 4, 200, 18, 0, "tooltip")
    inline = drawing.svg()           # for a page that styles its classes
    Path("chart.svg").write_text(drawing.file())

Not matplotlib: a device install has numpy, click and rich, the text stays one that a diff shows, and colours follow the
reader's light or dark theme, through the page's CSS variables or, in a file of its own, STYLE. Every drawing has
a title that a screen reader says, and every mark a tooltip.
"""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

WIDTH = 860
PALETTE = 8  # colours f0 to f7 (filled) and s0 to s7 (stroked) of the page's style

# Okabe and Ito's palette, made for all kinds of colour vision, and its lighter version for dark grounds.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#b0649a", "#c28f00", "#3f9fd6", "#7a6a00", "#6b7280")
COLOURS_ON_DARK = ("#4aa3df", "#f0883e", "#35c49a", "#d991c2", "#e3b341", "#8fd0f5", "#c4b454", "#9aa3af")
STYLE = (
    "svg{font:12px system-ui,sans-serif;background:#fff}text{fill:#1c2127}.tick{fill:#5b6470}"
    ".label{fill:#5b6470;font-weight:600}.heading{font-size:15px;font-weight:600}.grid{stroke:#e3e6ea}"
    ".axis{stroke:#5b6470}polyline{fill:none;stroke-width:2}"
    + "".join(f".f{at}{{fill:{colour}}}.s{at}{{stroke:{colour}}}" for at, colour in enumerate(COLOURS))
    + "@media(prefers-color-scheme:dark){svg{background:#14171b}text{fill:#e7eaee}.tick,.label{fill:#a2abb7}"
    ".grid{stroke:#2c3138}.axis{stroke:#a2abb7}"
    + "".join(f".f{at}{{fill:{colour}}}.s{at}{{stroke:{colour}}}" for at, colour in enumerate(COLOURS_ON_DARK))
    + "}"
)


@dataclass
class Scale:
    """Numbers to pixels, linear or logarithmic.

    Args:
        low, high: the numbers at both ends; start, end: their pixels.
    """

    low: float
    high: float
    start: float
    end: float
    is_log: bool = False

    def __call__(self, value: float) -> float:
        """The pixel of a number; numbers beyond the ends are held there."""
        low, high, value = (math.log10(v) if self.is_log else v for v in (self.low, self.high, self._held(value)))
        part = (value - low) / (high - low) if high > low else 0.0
        return self.start + part * (self.end - self.start)

    def _held(self, value: float) -> float:
        return min(max(value, self.low), self.high)

    def ticks(self, about: int = 6) -> list[float]:
        """Round numbers within the range: 1, 2, 5 times powers of ten, powers of ten alone where it is logarithmic."""
        if self.is_log:
            powers = range(math.ceil(math.log10(self.low) - 1e-9), math.floor(math.log10(self.high) + 1e-9) + 1)
            return [10.0**power for power in powers]
        step = nice_step((self.high - self.low) / about)
        first = math.ceil(self.low / step - 1e-9)
        return [index * step for index in range(first, math.floor(self.high / step + 1e-9) + 1)]


def nice_step(rough: float) -> float:
    """The next of 1, 2, 5 times a power of ten that is not below `rough`."""
    if rough <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    return next((factor * power for factor in (1, 2, 5) if factor * power >= rough * (1 - 1e-9)), 10 * power)


def text_width(words: str) -> float:
    """About how wide words of 12 px are, in px; fonts differ, so this is on the wide side."""
    return sum(8.6 if letter.isupper() or letter in "_%mw" else 7.0 for letter in words)


def number(value: float) -> str:
    """A number for an axis: as short as it can be."""
    return f"{value:g}" if abs(value) < 1e5 else f"{value:.0e}"


@dataclass
class Drawing:
    """An SVG that grows mark by mark.

    Args:
        title: what a screen reader says, and what the chart is.
    """

    title: str
    height: float
    width: float = WIDTH
    marks: list[str] = field(default_factory=list)

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str) -> None:
        """A straight line of a CSS class."""
        self.marks.append(f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{kind}"/>')

    def text(self, x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> None:
        """Words at a point; anchor is start, middle or end."""
        chosen = f' class="{kind}"' if kind else ""
        self.marks.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{chosen}>{html.escape(words)}</text>')

    def bar(self, x: float, y: float, width: float, height: float, colour: int, tip: str) -> None:
        """A rectangle of a colour of the palette with a tooltip."""
        self.marks.append(
            f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 0.5):.1f}" height="{height:.1f}" '
            f'class="f{colour % PALETTE}"><title>{html.escape(tip)}</title></rect>'
        )

    def dot(self, x: float, y: float, radius: float, colour: int, tip: str) -> None:
        """A point of a colour of the palette with a tooltip."""
        self.marks.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" class="f{colour % PALETTE}">'
            f"<title>{html.escape(tip)}</title></circle>"
        )

    def path(self, points: Iterable[tuple[float, float]], kind: str) -> None:
        """A line through points."""
        through = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        self.marks.append(f'<polyline points="{through}" class="{kind}"/>')

    def x_axis(self, scale: Scale, bottom: float, top: float, label: str) -> None:
        """Ticks and their grid along the bottom, with the axis's name below."""
        for tick in scale.ticks():
            x = scale(tick)
            self.line(x, top, x, bottom, "grid")
            self.text(x, bottom + 16, number(tick), "tick", "middle")
        self.text((scale.start + scale.end) / 2, bottom + 34, label, "label", "middle")

    def y_axis(self, scale: Scale, left: float, right: float, label: str) -> None:
        """Ticks and their grid along the left, with the axis's name above."""
        for tick in scale.ticks(5):
            y = scale(tick)
            self.line(left, y, right, y, "grid")
            self.text(left - 6, y + 4, number(tick), "tick", "end")
        self.text(left - 6, min(scale.start, scale.end) - 10, label, "label")

    def legend(self, names: Sequence[tuple[str, int]], x: float, y: float) -> None:
        """Names beside squares of their colours, in a row."""
        for name, colour in names:
            self.bar(x, y - 9, 10, 10, colour, name)
            self.text(x + 15, y, name, "tick")
            x += 15 + text_width(name) + 16

    def svg(self) -> str:
        """The finished text."""
        title = html.escape(self.title)
        return (
            f'<svg viewBox="0 0 {self.width:.0f} {self.height:.0f}" role="img" aria-label="{title}">'
            f"<title>{title}</title>{''.join(self.marks)}</svg>"
        )

    def file(self) -> str:
        """The finished text of an .svg file, which brings its own style."""
        opening = f'<svg xmlns="http://www.w3.org/2000/svg" width="{self.width:.0f}" height="{self.height:.0f}"'
        return self.svg().replace("<svg", opening, 1).replace("</title>", f"</title><style>{STYLE}</style>", 1) + "\n"


def curves(
    series: Sequence[tuple[str, Sequence[tuple[float, float]]]], *, title: str, x_label: str, y_label: str
) -> str:
    """Lines through points, (name, [(x, y)]), as the text of an .svg file; a tooltip on every point.

    The y axis spans the points, not from 0: such curves are read for their distance.
    """
    height, left, right, top, bottom = 430.0, 58.0, WIDTH - 12.0, 84.0, 378.0
    drawing = Drawing(title, height)
    drawing.marks.append(f'<text x="{left:.0f}" y="22" class="heading">{html.escape(title)}</text>')
    drawing.legend([(name, index) for index, (name, _) in enumerate(series)], left, 48)
    points = [point for _, line in series for point in line]
    xs = Scale(0.0, max((x for x, _ in points), default=1.0), left, right - 8)
    values = [y for _, y in points] or [0.0, 1.0]
    step = nice_step((max(values) - min(values)) / 5 or 0.1)
    ys = Scale(math.floor(min(values) / step) * step, math.ceil(max(values) / step) * step, bottom, top)
    drawing.y_axis(ys, left, right, y_label)
    drawing.x_axis(xs, bottom, top, x_label)
    for colour, (name, line) in enumerate(series):
        drawing.path([(xs(x), ys(y)) for x, y in line], f"s{colour % PALETTE}")
        for x, y in line:
            drawing.dot(xs(x), ys(y), 3.2, colour, f"{name}: {number(y)} at {number(x)}")
    drawing.line(left, bottom, right, bottom, "axis")
    return drawing.file()
