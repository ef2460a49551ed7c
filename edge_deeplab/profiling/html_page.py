"""A profile as one page of HTML to share: every figure in a table, and beside it a picture of it.

    write_text(Path("profile.html"), profile_page(report))

The page stands alone: no script, no address outside of it, its style and its charts inside. It says what was measured,
on what, and when, since it will be read by someone who was not there.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence

from edge_deeplab.profiling.history import History
from edge_deeplab.profiling.html_style import STYLE
from edge_deeplab.profiling.operators import OperatorRow, OperatorsReport
from edge_deeplab.profiling.peaks import MachinePeaks
from edge_deeplab.profiling.report import MIB, FrameProfile, ProfileReport, fact_rows, format_ms
from edge_deeplab.profiling.startup import StartupReport
from edge_deeplab.profiling.svg_charts import PALETTE, bars, columns, histogram, roofline, stacked, steps, timeline
from edge_deeplab.profiling.tables import cost_rows, of_peak, short_layer

PAGE_LETTERS = 32  # of a layer's name

HOW_TIMED = {
    "profiler": "Measured inside of the whole model by LiteRT's own profiler, in whole microseconds.",
    "benchmark_model": "Measured inside of the whole model by the native benchmark_model that was named.",
    "alone": "An estimate: each operator was cut out and run as a model of its own, in turns with the whole."
    " What the engine fuses across operators is lost in it.",
}


def profile_page(report: ProfileReport, history: History | None = None) -> str:
    """The whole page. Parts that were not measured are left out, and the notes say why."""
    model = report.model
    title = f"{model.name or model.file}: {_headline(report)}"
    sections = [
        _cards(report),
        _notes(report, history),
        _history(history) if history else "",
        _latency(report),
        _operators(report.operators, report.peaks) if report.operators else "",
        _frame(report.frame) if report.frame else "",
        _starts({"model alone": report.model_start, "whole program": report.frame_start}),
        _costs(report),
        _facts(report),
    ]
    made = f"edge-deeplab profile {report.edge_deeplab or ''}".strip()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{_e(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"<header><h1>{_e(model.name or model.file)}</h1>\n"
        f'<p class="faint">{_e(report.host.cpu_name)}, {_e(" ".join(report.engine))}'
        f"{', ' + _e(report.measured_at) if report.measured_at else ''}</p></header>\n"
        + "\n".join(section for section in sections if section)
        + f"\n<footer>Made by {_e(made)}. Latencies are wall-clock times of single calls; a multiply-add counts as two"
        " operations.</footer>\n</main>\n</body>\n</html>\n"
    )


def _headline(report: ProfileReport) -> str:
    if not report.latency:
        return "profile"
    first = report.latency[0]
    return f"{format_ms(first.latency.median_ms)} ms on {first.threads} thread(s)"


def _cards(report: ProfileReport) -> str:
    """The figures one looks for first."""
    cards = [
        (format_ms(row.latency.median_ms), "ms", f"one inference, {row.threads} thread{'s' * (row.threads > 1)}")
        for row in report.latency
    ]
    if report.frame:
        width, height = report.frame.size_wh
        cards.append((format_ms(report.frame.stages.total.median_ms), "ms", f"a {width} x {height} frame"))
    start = report.frame_start or report.model_start
    if start:
        cards.append((format_ms(start.ready_ms), "ms", "start to the first result"))
        if start.peak_memory_bytes:
            cards.append((f"{start.peak_memory_bytes / MIB:.0f}", "MiB", "peak memory"))
    if report.energy:
        cards.append((f"{report.energy.net_mj:.1f}", "mJ", "energy of an inference"))
    cards.append((f"{report.model.size_bytes / MIB:.2f}", "MiB", "file"))
    inner = "".join(
        f'<div class="card"><b>{_e(value)} <small>{_e(unit)}</small></b><span>{_e(words)}</span></div>'
        for value, unit, words in cards
    )
    return f'<div class="cards">{inner}</div>'


def _notes(report: ProfileReport, history: History | None) -> str:
    notes = [*report.notes, *(history.changes if history else ())]
    return f'<ul class="notes">{"".join(f"<li>{_e(note)}</li>" for note in notes)}</ul>' if notes else ""


def _history(history: History) -> str:
    rows = []
    for row in history.rows:
        verdict = "not held" if not row.is_held else "over" if row.exceeds(history.max_ratio) else "held"
        kind = verdict if verdict in ("over", "held") else "faint"
        cells = (_e(row.name), format_ms(row.before), format_ms(row.now), f"{row.ratio:.3f}")
        rows.append((*cells, f'<span class="{kind}">{verdict}</span>'))
    table = _table(("figure", "then", "now", "ratio", f"at most {history.max_ratio:g}"), rows, is_escaped=True)
    return _section("Against an earlier profile", f"<p>{_e(history.title)}</p>{table}")


def _latency(report: ProfileReport) -> str:
    rows = []
    for row in report.latency:
        stats = row.latency
        warm = "-" if stats.warmup_median_ms is None else f"{format_ms(stats.warmup_median_ms)} x {stats.warmup_count}"
        rows.append(
            (
                str(row.threads), format_ms(stats.median_ms), format_ms(stats.p90_ms), format_ms(stats.p99_ms),
                format_ms(stats.min_ms), format_ms(stats.max_ms), f"{stats.spread:.0%}", str(stats.count),
                format_ms(stats.first_ms), warm, format_ms(row.load_ms),
            )
        )  # fmt: skip
    heads = ("threads", "median", "p90", "p99", "least", "most", "spread", "calls", "first", "warm-up", "load")
    body = _table(heads, rows, caption="Milliseconds. Spread: the middle half of calls over the median.")
    series = [(f"{row.threads} thread{'s' * (row.threads > 1)}", row.samples_ms) for row in report.latency]
    if all(samples for _, samples in series):
        body += _figure(
            timeline(series, title="Each inference in the order they ran"),
            "Each counted inference in the order they ran; dashed: the medians. Points at the upper edge took longer"
            " than the axis reaches.",
        )
        body += _figure(
            histogram(series, title="How many inferences took how long"),
            "How many inferences took how long; the last column holds all that took longer.",
        )
    return _section("One inference", body)


def _operators(operators: OperatorsReport, peaks: MachinePeaks | None) -> str:
    kinds = operators.by_kind()
    colour = {name: min(index, PALETTE - 1) for index, name in enumerate(kinds)}
    legend = [(name, colour[name]) for name in list(kinds)[: PALETTE - 1]]
    if len(kinds) >= PALETTE:
        legend.append(("other", PALETTE - 1))
    body = (
        f"<p>{_e(HOW_TIMED[operators.method])} {operators.threads} thread(s). The operators' sum is"
        f" {operators.sum_share:.1%} of the whole's {format_ms(operators.whole_ms)} ms.</p>"
    )
    rows = [(name, time_ms, f"{format_ms(time_ms)} ms, {share:.1%}") for name, (_, time_ms, share) in kinds.items()]
    body += "<h3>By kind</h3>" + _figure(
        bars(rows, title="Time by kind of operator", colours=[colour[name] for name in kinds]),
        "Time by kind of operator: its sum in one inference, and its share of all.",
    )
    body += "<h3>Along the network</h3>" + _figure(
        columns(
            [(row.time_ms, colour[row.name], _tip(row, peaks)) for row in operators.rows],
            title="Time of every operator along the network", y_label="ms", x_label="operators, in the file's order",
            legend=legend,
        ),
        "Time of every operator, from the input on the left to the output on the right.",
    )  # fmt: skip
    if peaks:
        body += "<h3>Roofline</h3>" + _roofline(operators, peaks, colour, legend)
    return _section("Operators", body + _operator_table(operators, peaks))


def _roofline(
    operators: OperatorsReport, peaks: MachinePeaks, colour: dict[str, int], legend: list[tuple[str, int]]
) -> str:
    shown = [row for row in operators.rows if row.gops]
    if not shown:
        return "<p>No operator here multiplies: there is nothing to hold against the peaks of arithmetic.</p>"
    kinds = {row.name for row in shown}
    used = sorted({row.computes for row in shown if row.computes})
    roofs = [(f"{name} peak", peaks.peak_gops(name)) for name in used]
    slopes = [("cache", peaks.cache_gb_s), ("memory", peaks.memory_gb_s)]
    most = max(row.share for row in shown)
    points = [
        (row.intensity, row.gops or 0.0, 3 + 9 * (row.share / most) ** 0.5, colour[row.name], _tip(row, peaks))
        for row in sorted(shown, key=lambda row: -row.share)
    ]
    chart = roofline(
        points, roofs=roofs, slopes=slopes, title="Roofline: achieved operations a second over operations a byte",
        legend=[entry for entry in legend if entry[0] in kinds],
    )  # fmt: skip
    table = _table(
        ("peak", "measured here"),
        [
            ("int8 products", f"{peaks.int8_gops:.1f} · 10⁹ operations a second"),
            ("float products", f"{peaks.float32_gops:.1f} · 10⁹ operations a second"),
            ("copying within the cache", f"{peaks.cache_gb_s:.1f} GB/s"),
            ("copying in memory", f"{peaks.memory_gb_s:.1f} GB/s"),
        ],
    )
    words = (
        "Each operator that multiplies, by how many operations it does for each byte it moves (inputs, constants and"
        " outputs once each) and how many it achieves a second; its area is its share of the time. The roofs are what"
        f" this machine reached on {peaks.threads} thread(s), kernels {peaks.kernels}: large matrix products through"
        " the same engine, and copying. Far below a flat roof: the kernel does not use the arithmetic there is. Near a"
        " slope: it waits for data."
    )
    return _figure(chart, words) + table


def _tip(row: OperatorRow, peaks: MachinePeaks | None) -> str:
    number = "put in by the engine" if row.index is None else f"#{row.index}"
    layer = short_layer(row.layer, PAGE_LETTERS)
    parts = [f"{number} {row.name}", layer, "x".join(map(str, row.output_shape)), f"{format_ms(row.time_ms)} ms"]
    parts.append(f"{row.share:.1%}")
    if row.gops:
        parts.append(f"{row.gops:.1f} Gop/s ({of_peak(row, peaks)} of the peak)")
    if row.kernel and row.kernel != row.name:
        parts.append(row.kernel)
    return ", ".join(part for part in parts if part)


def _operator_table(operators: OperatorsReport, peaks: MachinePeaks | None) -> str:
    heads = ("#", "operator", "layer", "output", "Mmac", "ms", "share", "Gop/s", "of peak", "GB/s", "kernel")
    rows = [
        (
            "-" if row.index is None else str(row.index), row.name, short_layer(row.layer, PAGE_LETTERS),
            "x".join(map(str, row.output_shape)), f"{row.macs / 1e6:.2f}" if row.macs else "-", format_ms(row.time_ms),
            f"{row.share:.1%}", "-" if row.gops is None else f"{row.gops:.1f}", of_peak(row, peaks),
            "-" if not row.gigabytes_per_s else f"{row.gigabytes_per_s:.1f}", row.kernel or "-",
        )
        for row in operators.rows
    ]  # fmt: skip
    table = _table(heads, rows, left=(1, 2, 3, 10), kind="dense")
    return f"<details><summary>All {len(rows)} operators</summary>{table}</details>"


def _frame(frame: FrameProfile) -> str:
    width, height = frame.size_wh
    stages = frame.stages.stages
    parts = [
        (name, frame.stages.shares[name], index % PALETTE, f"{name}: {format_ms(stats.median_ms)} ms in the median")
        for index, (name, stats) in enumerate(stages.items())
    ]
    rows = [
        (name, *(format_ms(value) for value in (stats.median_ms, stats.p90_ms, stats.p99_ms)),
         f"{frame.stages.shares[name]:.1%}")
        for name, stats in stages.items()
    ]  # fmt: skip
    total = frame.stages.total
    foot = (
        f"frame ({total.count} of them)", *(format_ms(v) for v in (total.median_ms, total.p90_ms, total.p99_ms)),
        f"{frame.stages.frames_per_second:.0f} frames/s",
    )  # fmt: skip
    words = (
        f"{width} x {height}, {frame.result}, the {frame.shows}; engine on {frame.threads} thread(s), OpenCV on"
        f" {frame.opencv_threads}; pixel kernels: {frame.pixel_kernels}; from picture in memory to picture in memory."
    )
    return _section(
        "A whole frame",
        f"<p>{_e(words)}</p>"
        + _figure(
            stacked(parts, title="Share of each stage in a frame's time"), "Share of each stage in the frames' time."
        )
        + _table(("stage", "median ms", "p90", "p99", "share"), rows, foot=foot),
    )


def _starts(starts: dict[str, StartupReport | None]) -> str:
    body = ""
    for name, start in starts.items():
        if start is None:
            continue
        marks, before = [], 0.0
        for step in start.steps:
            words = f"{format_ms(step.took_ms)} ms" + (", ready" if step.is_ready else "")
            marks.append((step.name, before, step.at_ms, 2 if step.is_ready else 0, words))
            before = step.at_ms
        rows = [
            (
                step.name + (" (ready)" if step.is_ready else ""), format_ms(step.took_ms), format_ms(step.at_ms),
                _mib(step.held_memory_bytes), _mib(step.peak_memory_bytes),
            )
            for step in start.steps
        ]  # fmt: skip
        body += f"<h3>{_e(name.capitalize())}</h3>" + _figure(
            steps(marks, title=f"Start of a process, {name}"),
            f"Start of a process, {name}: median of {start.runs}, files in the cache of the system.",
        )
        heads = ("step", "took ms", "reached at ms", "memory held, MiB", "at most until then, MiB")
        body += _table(heads, rows)
    return _section("Start-up and memory", body) if body else ""


def _costs(report: ProfileReport) -> str:
    rows = cost_rows(report)
    return _section("What else it costs", _pairs(rows)) if rows else ""


def _facts(report: ProfileReport) -> str:
    rows = fact_rows(report) | {"sha256": report.model.sha256}
    if report.measured_at:
        rows["measured at"] = report.measured_at
    return _section("What was measured, and where", _pairs(rows))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{_e(title)}</h2>\n{body}\n</section>"


def _figure(svg: str, words: str) -> str:
    # focusable, so that a keyboard can scroll a chart that is wider than the window
    scroll = f'<div class="scroll" tabindex="0" role="group" aria-label="{_e(words)}">{svg}</div>'
    return f"<figure>{scroll}<figcaption>{_e(words)}</figcaption></figure>"


def _pairs(rows: dict[str, str]) -> str:
    inner = "".join(f'<tr><th scope="row">{_e(name)}</th><td>{_e(value)}</td></tr>' for name, value in rows.items())
    return f'<div class="scroll" tabindex="0"><table class="facts">{inner}</table></div>'


def _table(
    heads: Sequence[str],
    rows: Iterable[Sequence[str]],
    *,
    caption: str = "",
    foot: Sequence[str] = (),
    left: Sequence[int] = (),
    kind: str = "",
    is_escaped: bool = False,
) -> str:
    """A table; `left` are columns of words, `kind` a CSS class, `is_escaped` says that the cells are HTML already."""

    def cells(row: Sequence[str], tag: str) -> str:
        scope = ' scope="col"' if tag == "th" else ""
        sides = [' class="left"' if index in left else "" for index in range(len(row))]
        words = row if is_escaped else [_e(cell) for cell in row]
        return "".join(f"<{tag}{scope}{side}>{word}</{tag}>" for side, word in zip(sides, words))

    chosen = f' class="{kind}"' if kind else ""
    top = f"<caption>{_e(caption)}</caption>" if caption else ""
    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    bottom = f"<tfoot><tr>{cells(foot, 'td')}</tr></tfoot>" if foot else ""
    return (
        f'<div class="scroll" tabindex="0"><table{chosen}>{top}<thead><tr>{cells(heads, "th")}</tr></thead>'
        f"<tbody>{body}</tbody>{bottom}</table></div>"
    )


def _mib(size_bytes: int | None) -> str:
    return "-" if size_bytes is None else f"{size_bytes / MIB:.0f}"


def _e(text: str) -> str:
    return html.escape(text)
