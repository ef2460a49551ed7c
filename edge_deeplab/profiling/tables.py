"""The tables of operators, peaks, memory and energy, of a comparison and of a history; printed by the command line.

    for table in render_operators(report): console.print(table)

The tables of latency, frames and start-up stand in report.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edge_deeplab.profiling.comparison import ComparisonReport
from edge_deeplab.profiling.history import History
from edge_deeplab.profiling.latency import LatencyStats
from edge_deeplab.profiling.operators import OperatorRow, OperatorsReport
from edge_deeplab.profiling.peaks import MachinePeaks
from edge_deeplab.profiling.report import MIB, ProfileReport, format_ms, new_table

if TYPE_CHECKING:
    from rich.table import Table

SHOWN = 12  # operators on the terminal, the slowest; JSON and HTML have all
LAYER_LETTERS = 24
SAYS = {
    "profiler": "by LiteRT's profiler",
    "benchmark_model": "by benchmark_model",
    "alone": "an estimate: each run alone",
}


def render_operators(report: ProfileReport) -> list[Table]:
    """Kinds of operators, the slowest operators, and the machine's peaks; empty without operators."""
    if report.operators is None:
        return []
    tables = [_kinds_table(report.operators), _slowest_table(report.operators, report.peaks)]
    if report.peaks:
        tables.append(_peaks_table(report.peaks))
    return tables


def render_costs(report: ProfileReport) -> list[Table]:
    """Memory, energy, clocks and temperatures around the measurement: what there is of them."""
    table = new_table("What else it costs", "figure", "value", plain=True)
    rows = cost_rows(report)
    for name, value in rows.items():
        table.add_row(name, value)
    return [table] if rows else []


def cost_rows(report: ProfileReport) -> dict[str, str]:
    """Memory, energy, clocks and temperatures in words, by name; what was not measured is left out."""
    rows = {}
    for name, start in {"model alone": report.model_start, "whole program": report.frame_start}.items():
        if start and start.peak_memory_bytes is not None:
            steady = start.steady_memory_bytes
            held = "" if steady is None else f", steady {steady / MIB:.0f} MiB"
            rows[f"memory, {name}"] = f"peak {start.peak_memory_bytes / MIB:.0f} MiB{held}"
    if report.energy:
        energy = report.energy
        rows["energy of an inference"] = (
            f"{energy.net_mj:.2f} mJ above idling, {energy.gross_mj:.2f} mJ in all"
            f" ({energy.source}: {energy.idle_w:.1f} W idle, {energy.busy_w:.1f} W busy)"
        )
    if report.vitals:
        rows |= vitals_rows(report.vitals)
    return rows


def vitals_rows(vitals: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Governor, clock and temperature before and after, in words; what the machine does not tell is left out."""
    before, after = vitals.get("before", {}), vitals.get("after", {})
    rows = {}
    if governors := after.get("governors") or before.get("governors"):
        rows["governor"] = ", ".join(governors)
    for name, key, unit in (("clock", "current_mhz", "MHz"), ("temperature", "temperatures_c", "°C")):
        looks = [_span(look.get(key)) for look in (before, after)]
        if any(looks):
            rows[f"{name} before, after"] = f"{looks[0] or '?'}, {looks[1] or '?'} {unit}"
    return rows


def _span(values: Any) -> str:
    """The least and the greatest of a list or of a mapping's values; empty where there are none."""
    numbers = sorted(values.values() if isinstance(values, Mapping) else values or ())
    if not numbers:
        return ""
    return f"{numbers[0]:g}" if numbers[0] == numbers[-1] else f"{numbers[0]:g}..{numbers[-1]:g}"


def _kinds_table(operators: OperatorsReport) -> Table:
    title = f"Operators, {operators.threads} thread(s), {SAYS[operators.method]}"
    table = new_table(title, "kind", "count", "ms", "share")
    for name, (count, time_ms, share) in operators.by_kind().items():
        table.add_row(name, str(count), format_ms(time_ms), f"{share:.1%}")
    table.add_section()
    total_ms = sum(row.time_ms for row in operators.rows)
    whole = f"all, of the whole's {format_ms(operators.whole_ms)} ms"
    table.add_row(whole, str(len(operators.rows)), format_ms(total_ms), f"{operators.sum_share:.1%}")
    return table


def _slowest_table(operators: OperatorsReport, peaks: MachinePeaks | None) -> Table:
    slowest = sorted(operators.rows, key=lambda row: -row.time_ms)[:SHOWN]
    table = new_table(
        f"The {len(slowest)} slowest of {len(operators.rows)} operators",
        "operator", "layer", "output", "#", "Mmac", "ms", "share", "Gop/s", "of peak",
    )  # fmt: skip
    for row in slowest:
        table.add_row(
            row.name, short_layer(row.layer), "x".join(map(str, row.output_shape)),
            "-" if row.index is None else str(row.index), f"{row.macs / 1e6:.2f}" if row.macs else "-",
            format_ms(row.time_ms), f"{row.share:.1%}", "-" if row.gops is None else f"{row.gops:.1f}",
            of_peak(row, peaks),
        )  # fmt: skip
    return table


def short_layer(name: str, letters: int = LAYER_LETTERS) -> str:
    """The end of a layer's name, which tells it from its neighbours.

    The converter joins the names of layers that it fused with semicolons; the first is that of the result.
    """
    first = name.partition(";")[0]
    return first if len(first) <= letters else "…" + first[1 - letters :]


def of_peak(row: OperatorRow, peaks: MachinePeaks | None) -> str:
    """Achieved operations over the machine's peak, as a percentage; a dash where there is none."""
    if peaks is None or row.gops is None or row.computes is None:
        return "-"
    return f"{row.gops / peaks.peak_gops(row.computes):.0%}"


def _peaks_table(peaks: MachinePeaks) -> Table:
    table = new_table(f"This machine's best, {peaks.threads} thread(s)", "peak", "value", plain=True)
    table.add_row("int8 products", f"{peaks.int8_gops:.0f} Gop/s")
    table.add_row("float products", f"{peaks.float32_gops:.0f} Gop/s")
    table.add_row("copying in the cache", f"{peaks.cache_gb_s:.0f} GB/s")
    table.add_row("copying in memory", f"{peaks.memory_gb_s:.0f} GB/s")
    return table


def render_comparison(report: ComparisonReport) -> Table:
    """Both models' latencies, their ratio and the noise."""
    found, (first, second) = report.comparison, report.models
    table = new_table(
        f"In turns, {found.rounds} loads of each, {found.threads} thread(s), kernels {found.kernels}; ms",
        "model", "median", "p90", "p99", "spread", "calls",
    )  # fmt: skip
    for name, stats in ((f"first: {first.file}", found.first), (f"second: {second.file}", found.second)):
        table.add_row(name, *_latency_cells(stats))
    table.add_section()
    table.add_row("first / second", f"{found.ratio:.3f}", f"{found.low:.3f}..{found.high:.3f}", "", "", "95 %")
    table.add_row("first / itself", "", f"{found.noise_low:.3f}..{found.noise_high:.3f}", "", "", "95 %")
    return table


def _latency_cells(stats: LatencyStats) -> list[str]:
    times = [format_ms(value) for value in (stats.median_ms, stats.p90_ms, stats.p99_ms)]
    return [*times, f"{stats.spread:.0%}", str(stats.count)]


def render_history(history: History) -> Table:
    """Then and now, one figure a row; what is over the budget is said."""
    title = f"Against {history.title}; allowed: {history.max_ratio:g} times as much"
    table = new_table(title, "figure", "then", "now", "ratio", "")
    for row in history.rows:
        verdict = "not held" if not row.is_held else "over" if row.exceeds(history.max_ratio) else "held"
        table.add_row(row.name, format_ms(row.before), format_ms(row.now), f"{row.ratio:.3f}", verdict)
    return table
