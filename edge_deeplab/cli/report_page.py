"""What `edge-deeplab report` found as one page of HTML that needs nothing else: tables, and a bar for every layer.

page = report_page(document)        # the document that --json writes
"""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

PERSON_FIGURES = {
    "person_iou": "person IoU",
    "mean_iou": "mean IoU",
    "trimap_iou": "trimap IoU",
    "boundary_f": "boundary F",
}
CLASS_FIGURES = {"mean_iou": "mean IoU", "pixel_accuracy": "accuracy"}
WORDS = ("stage", "layer", "kind")  # columns of text stand to the left
SIGNED = "{:+.4f}"
LONGEST_BAR_DB, LONGEST_BAR_REM = 80.0, 10.0
STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; }
table { border-collapse: collapse; } th, td { padding: .25rem .7rem; text-align: right; }
th:first-child, td:first-child { text-align: left; } th { font-weight: 600; border-bottom: 1px solid #8888; }
td.missed { color: #c22; font-weight: 600; } .note { color: #777; }
.bar { display: inline-block; height: .7rem; background: #3a7bd5; vertical-align: middle; }
.worst .bar { background: #d2553f; }
th.word, td.word { text-align: left; } td.wide { text-align: left; min-width: 10rem; }
"""


def report_page(document: dict[str, Any]) -> str:
    """The page. document: as `edge-deeplab report --json` writes it."""
    missed = document["missed"]
    verdict = "Every gate is held." if not missed else f"Gate missed: {'; '.join(missed)}."
    parts = [
        f"<h1>{escape(document['model'])} from float to int8</h1>",
        f"<p>{document['pictures']} pictures of {escape(document['data'])}; {' '.join(document['engine'])},"
        f" ranges by {escape(document['calibrator'])}. {escape(verdict)}</p>",
        _stages(document["stages"], document["score"]),
    ]
    if "calibrators" in document:
        parts += ["<h2>int8 file by calibrator, untuned</h2>", _stages(document["calibrators"], document["score"])]
    if "layers" in document:
        parts += ["<h2>Layer by layer</h2>", *_layers(document["layers"])]
    title = escape(f"{document['model']}: float to int8")
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f"<style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</body></html>\n"
    )


def _table(header: Sequence[str], rows: Sequence[str]) -> str:
    cells = "".join(f"<th{' class=word' if name in WORDS else ''}>{escape(name)}</th>" for name in header)
    return f"<table><thead><tr>{cells}</tr></thead><tbody>{''.join(rows)}</tbody></table>"


def _row(cells: Sequence[str], *, kind: str = "") -> str:
    return f"<tr{f' class={kind}' if kind else ''}>{''.join(cells)}</tr>"


def _cell(text: str, kind: str = "") -> str:
    return f"<td{f' class={kind}' if kind else ''}>{escape(text)}</td>"


def _number(value: float | None, pattern: str = "{:.4f}") -> str:
    return "" if value is None else pattern.format(round(value, 4) + 0.0)  # no "-0.0000"


def _stages(stages: Sequence[dict[str, Any]], score: str) -> str:
    figures = PERSON_FIGURES if score == "person" else CLASS_FIGURES
    is_gated = any(stage["gate"] is not None for stage in stages)
    rows, notes = [], []
    for index, stage in enumerate(stages):
        if stage["missing"]:
            notes.append(f'<p class="note">{escape(stage["stage"])}: {escape(stage["missing"])}</p>')
        said = {True: "held", False: "missed", None: "left out" if stage["missing"] else ""}[stage["held"]]
        cells = [_cell(stage["stage"]), *(_cell(_number(stage.get(name))) for name in figures)]
        cells.append(_cell(_number(stage["loss"], SIGNED) if index else ""))
        if is_gated:
            cells += [_cell(_number(stage["gate"])), _cell(said, "missed" if said == "missed" else "")]
        rows.append(_row(cells))
    header = ["stage", *figures.values(), "loss", *(["may lose", ""] if is_gated else [])]
    return "\n".join([_table(header, rows), *notes])


def _layers(layers: dict[str, Any]) -> list[str]:
    if "missing" in layers:
        return [f'<p class="note">{escape(layers["missing"])}</p>']
    kept = {one["name"]: one for one in layers["kept"]}
    rows = []
    for layer in layers["layers"]:
        wider = kept.get(layer["name"], {})
        cells = [_cell(layer["name"]), _cell(layer["kind"], "word")]
        cells += [_cell(_decibels(layer[name])) for name in ("sqnr_db", "alone_db", "output_db")]
        cells += [_cell(_decibels(wider[name]) if wider else "") for name in ("float16_db", "int16x8_db")]
        rows.append(_row([*cells, _bar(layer["output_db"])], kind="worst" if wider else ""))
    together = [
        f"<p>The {len(layers['worst'])} worst together in {one['form']}: output {_decibels(one['output_sqnr_db'])} dB"
        f"{_kept_figures(one)}{_cost(one)}.</p>"
        for one in layers["together"]
    ]
    return [
        f"<p>Signal to quantization noise in dB against the float network, on {layers['pictures']} pictures; the"
        " shorter a bar, the more a layer's own rounding costs the output. The whole network has"
        f" {_decibels(layers['output_sqnr_db'])} dB at its output.</p>",
        *together,
        _table(
            ["layer", "kind", "all int8", "alone", "output, it alone", "output, it in float16", "in int16x8", ""], rows
        ),
    ]


def _bar(value: float | None) -> str:
    share = 1.0 if value is None else min(max(value, 0.0) / LONGEST_BAR_DB, 1.0)
    return f'<td class="wide"><span class="bar" style="width:{share * LONGEST_BAR_REM:.2f}rem"></span></td>'


def _decibels(value: float | None) -> str:
    return "exact" if value is None else f"{value:.1f}"


def _kept_figures(one: dict[str, Any]) -> str:
    figures = one["figures"]
    if figures is None:
        return ""
    name = "person_iou" if "person_iou" in figures else "mean_iou"
    return f", {PERSON_FIGURES[name]} {figures[name]:.4f}"


def _cost(one: dict[str, Any]) -> str:
    cost = one["cost"]
    if cost is None:
        return f"; no such file: {escape(one['refusal'] or '')}"
    return (
        f"; {cost['operators']} operators, {cost['share_of_macs']:.0%} of the multiply-adds,"
        f" {cost['conversions']} conversions, delegate partitions: {cost['partitions']}"
    )
