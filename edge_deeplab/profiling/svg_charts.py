"""Charts as SVG text: bars, strips of points, histograms, rooflines. They know numbers and names, not models.

    svg = bars([("CONV_2D", 1.7, "1.70 ms, 46 %")], title="Time by kind")

Drawn with imaging/svg_drawing.py, whose text the page takes up and colours by its own style (html_style.py); the page
puts the same numbers in a table beside every chart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge_deeplab.imaging.svg_drawing import PALETTE, WIDTH, Drawing, Scale, text_width


def bars(rows: Sequence[tuple[str, float, str]], *, title: str, colours: Sequence[int] | None = None) -> str:
    """Horizontal bars, one a row: (name, value, words beside the bar)."""
    left = min(max((text_width(name) for name, _, _ in rows), default=0) + 16, WIDTH * 0.4)
    room = max((text_width(words) for _, _, words in rows), default=0) + 12
    drawing = Drawing(title, height=26 * len(rows) + 6)
    scale = Scale(0.0, max((value for _, value, _ in rows), default=0.0) or 1.0, left, WIDTH - room)
    for index, (name, value, words) in enumerate(rows):
        y = 26 * index + 4
        drawing.text(left - 8, y + 14, name, "tick", "end")
        drawing.bar(left, y, scale(value) - left, 18, colours[index] if colours else 0, f"{name}: {words}")
        drawing.text(scale(value) + 6, y + 14, words, "tick")
    return drawing.svg()


def columns(
    rows: Sequence[tuple[float, int, str]], *, title: str, y_label: str, x_label: str, legend: Sequence[tuple[str, int]]
) -> str:
    """Vertical bars in their order: (value, colour, tooltip)."""
    height, left, top, bottom = 300, 52, 46, 250
    drawing = Drawing(title, height)
    drawing.legend(legend, left, 14)
    ys = Scale(0.0, max((value for value, _, _ in rows), default=0.0) * 1.05 or 1.0, bottom, top)
    drawing.y_axis(ys, left, WIDTH - 8, y_label)
    step = (WIDTH - 8 - left) / max(len(rows), 1)
    for index, (value, colour, tip) in enumerate(rows):
        y = ys(value)
        drawing.bar(left + index * step + step * 0.1, y, step * 0.8, bottom - y, colour, tip)
    drawing.line(left, bottom, WIDTH - 8, bottom, "axis")
    drawing.text((left + WIDTH) / 2, bottom + 28, x_label, "label", "middle")
    return drawing.svg()


def timeline(series: Sequence[tuple[str, Sequence[float]]], *, title: str) -> str:
    """Each call of one or more series as a point over its number, medians as lines. Values in milliseconds.

    The axis ends where all but the slowest hundredth lie below; what is above stands at its upper edge.
    """
    height, left, right, top, bottom = 300, 52, WIDTH - 8, 46, 250
    drawing = Drawing(title, height)
    drawing.legend([(name, index) for index, (name, _) in enumerate(series)], left, 14)
    values = sorted(value for _, samples in series for value in samples)
    most = max((len(samples) for _, samples in series), default=1)
    ys = Scale(0.0, _ceiling(values), bottom, top)
    xs = Scale(1.0, max(most, 2), left + 8, right - 8)
    drawing.y_axis(ys, left, right, "ms")
    drawing.x_axis(xs, bottom, bottom, "inference")
    for colour, (name, samples) in enumerate(series):
        ordered = sorted(samples)
        for index, value in enumerate(samples, start=1):
            drawing.dot(xs(index), ys(value), 2.4, colour, f"{name}, inference {index}: {value:.3f} ms")
        if ordered:
            y = ys(ordered[len(ordered) // 2])
            drawing.line(left, y, right, y, f"median s{colour % PALETTE}")
    return drawing.svg()


def histogram(series: Sequence[tuple[str, Sequence[float]]], *, title: str, bins: int = 48) -> str:
    """How many calls took how long, one row of columns for each series on a common axis; milliseconds."""
    left, right, row_height = 52.0, WIDTH - 8.0, 96
    drawing = Drawing(title, height=row_height * len(series) + 44)
    values = sorted(value for _, samples in series for value in samples)
    low, high = (values[0] * 0.98, _ceiling(values)) if values else (0.0, 1.0)
    xs = Scale(low, high, left, right)
    bottom = row_height * len(series)
    drawing.x_axis(xs, bottom, 0, "ms")
    for row, (name, samples) in enumerate(series):
        counts = [0] * bins
        for value in samples:
            part = (min(value, high) - low) / (high - low) if high > low else 0.0
            counts[min(int(part * bins), bins - 1)] += 1
        base, step = row_height * (row + 1), (right - left) / bins
        ys = Scale(0.0, max(counts) or 1, base, base - row_height + 22)
        for index, count in enumerate(counts):
            if count:
                begin, end = (low + (high - low) * (index + edge) / bins for edge in (0, 1))
                y = ys(count)
                tip = f"{name}: {count} of {len(samples)} in {begin:.2f} to {end:.2f} ms"
                drawing.bar(left + index * step + 0.5, y, step - 1, base - y, row, tip)
        drawing.line(left, base, right, base, "axis")
        drawing.text(right, base - row_height + 16, name, "tick", "end")
    return drawing.svg()


def _ceiling(ordered: Sequence[float]) -> float:
    """Where an axis of latencies ends: one hiccup must not flatten all the rest."""
    if not ordered:
        return 1.0
    return max(ordered[int(0.97 * (len(ordered) - 1))] * 1.15, ordered[len(ordered) // 2] * 1.3)


def roofline(
    points: Sequence[tuple[float, float, float, int, str]],
    *,
    roofs: Sequence[tuple[str, float]],
    slopes: Sequence[tuple[str, float]],
    title: str,
    legend: Sequence[tuple[str, int]],
) -> str:
    """Operators under their machine's roofs, both axes logarithmic.

    points: (operations a byte, 10**9 operations a second, radius in px, colour, tooltip).
    roofs: (name, 10**9 operations a second) of each kind of arithmetic.
    slopes: (name, 10**9 bytes a second) of each store.
    """
    height, left, right, top, bottom = 440, 60, WIDTH - 12, 46, 390
    drawing = Drawing(title, height)
    drawing.legend(legend, left, 14)
    xs_all = [x for x, *_ in points] or [1.0]
    ys_all = [y for _, y, *_ in points] + [peak for _, peak in roofs]
    ridge = max(peak for _, peak in roofs) / min(speed for _, speed in slopes)
    xs = Scale(10 ** math.floor(math.log10(min(xs_all) / 1.5)), max(*xs_all, ridge) * 3, left, right, is_log=True)
    ys = Scale(10 ** math.floor(math.log10(min(ys_all) / 1.5)), max(ys_all) * 2.5, bottom, top, is_log=True)
    drawing.y_axis(ys, left, right, "10⁹ operations a second")
    drawing.x_axis(xs, bottom, top, "operations for each byte moved")
    best = max(peak for _, peak in roofs)
    for name, speed in slopes:
        start = max(xs.low, ys.low / speed)
        end = min(best / speed, xs.high)
        drawing.path([(xs(start), ys(start * speed)), (xs(end), ys(end * speed))], "slope")
        drawing.text(xs(start) + 22, ys(start * speed) + 2, f"{name} {speed:.0f} GB/s", "note")
    fastest = max(speed for _, speed in slopes)
    for name, peak in roofs:
        drawing.path([(xs(peak / fastest), ys(peak)), (right, ys(peak))], "roof")
        drawing.text(right - 4, ys(peak) - 6, f"{name} {peak:.0f}", "note", "end")
    for x, y, radius, colour, tip in points:
        drawing.dot(xs(x), ys(y), radius, colour, tip)
    return drawing.svg()


def steps(rows: Sequence[tuple[str, float, float, int, str]], *, title: str) -> str:
    """What happened when: (name, start ms, end ms, colour, words beside the bar), one a row on a common time axis."""
    left = max((text_width(name) for name, *_ in rows), default=0) + 16
    room = max((text_width(words) for *_, words in rows), default=0) + 12
    bottom = 24 * len(rows) + 4
    drawing = Drawing(title, height=bottom + 44)
    xs = Scale(0.0, max((end for _, _, end, _, _ in rows), default=0.0) or 1.0, left, WIDTH - room)
    drawing.x_axis(xs, bottom, 0, "ms since the process was started")
    for index, (name, start, end, colour, words) in enumerate(rows):
        y = 24 * index + 3
        drawing.text(left - 8, y + 13, name, "tick", "end")
        drawing.bar(xs(start), y, xs(end) - xs(start), 16, colour, f"{name}: {words}")
        drawing.text(xs(end) + 6, y + 13, words, "tick")
    return drawing.svg()


def stacked(rows: Sequence[tuple[str, float, int, str]], *, title: str) -> str:
    """One bar of parts: (name, value, colour, tooltip); names stand in a part that is wide enough for them."""
    drawing = Drawing(title, height=44)
    total = sum(value for _, value, _, _ in rows) or 1.0
    x = 0.0
    for name, value, colour, tip in rows:
        width = WIDTH * value / total
        drawing.bar(x, 4, max(width - 1, 0.5), 34, colour, tip)
        if width > text_width(name) + 8:
            drawing.text(x + width / 2, 26, name, "inside", "middle")
        x += width
    return drawing.svg()
