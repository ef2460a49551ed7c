"""`edge-deeplab inspect`: what a .tflite is made of, whether it is int8 throughout, what is slow or risky in it."""

from __future__ import annotations

import shutil
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge_deeplab.converters.inspect import ModelReport, OperatorRow, TensorSummary
    from edge_deeplab.converters.linting.lint import Finding, Place

DEVICES = ("xnnpack", "gpu", "edgetpu")  # converters.linting.lint has them, too; a test holds the two together
SEVERITIES = ("info", "warning", "error")
LAYER_WIDTH = 48
SHOWN_PLACES = 3
NARROWEST, WIDEST = 60, 120  # columns that findings are folded to
ROW_TITLES = (
    "#", "operator", "layer", "type", "shape", "scale", "zero", "weights", "stride", "rate", "fused", "Mmac", "",
)  # fmt: skip


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout in place of the tables.")
@click.option("--brief", is_flag=True, help="Leave out the table with a row for every operator.")
@click.option("--lint", "only_findings", is_flag=True, help="Show the findings alone, in full.")
@click.option(
    "--strict",
    type=click.Choice(SEVERITIES),
    metavar="LEVEL",
    help=f"Exit with 3 where there is a finding of that severity or a graver one: {', '.join(SEVERITIES)}.",
)
@click.option(
    "--device",
    type=click.Choice(DEVICES),
    default=DEVICES[0],
    show_default=True,
    help="Where the model is to run. xnnpack is the interpreter here, which is asked; the others are judged by their"
    " documentation.",
)
def command(model: str, as_json: bool, brief: bool, only_findings: bool, strict: str | None, device: str) -> None:
    """Show what a .tflite is made of, and what in it is slow or risky on devices.

    MODEL is a .tflite file or the name of a bundled model. Shown are operators, types and scales, what the delegate
    leaves to plain kernels and why, manifest and metadata, and a line for every finding; with --lint, findings alone,
    each with where it is, why it matters, its measured cost or source, and what to do. The last line is the verdict:
    `full int8: yes` means that every operator is int8, with no QUANTIZE or DEQUANTIZE but one at each end. A file that
    the interpreter does not take is shown all the same, with exit code 1.
    """
    from edge_deeplab.converters.inspect import inspect_model
    from edge_deeplab.converters.linting.lint import at_or_above, lint_model
    from edge_deeplab.errors import GateError, ModelError
    from edge_deeplab.runtime.bundled import bundled_model
    from edge_deeplab.runtime.flatbuffer import TfliteFile

    path = bundled_model(model)
    report = inspect_model(path)
    findings = lint_model(TfliteFile.read(path), report, device=device)
    if as_json:
        import json

        document = {**report.to_dict(), "device": device, "findings": [finding.to_dict() for finding in findings]}
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        lines = explain(findings) if only_findings else describe(report, findings, with_rows=not brief)
        for line in lines:
            click.echo(line)
    if report.load_error is not None:
        raise ModelError(report.load_error)
    grave = at_or_above(findings, strict) if strict else ()
    if grave:
        raise GateError(
            f"{path.name}: {_count(len(grave), 'finding')} at or above {strict}",
            came=", ".join(finding.rule for finding in grave), allowed="none with --strict " + str(strict),
        )  # fmt: skip


def describe(report: ModelReport, findings: Sequence[Finding], *, with_rows: bool) -> Iterator[str]:
    """Report and findings as lines of text, the verdict last."""
    yield from _facts(report)
    yield ""
    yield from _table(
        ("tensor", "name", "type", "shape", "scale", "zero point"),
        [("input", *_tensor_cells(tensor)) for tensor in report.inputs]
        + [("output", *_tensor_cells(tensor)) for tensor in report.outputs],
    )
    if with_rows:
        yield ""
        yield from _table(
            ROW_TITLES,
            [_row_cells(row) for row in report.rows],
        )
    yield ""
    yield from _manifest_lines(report)
    yield from _metadata_lines(report.metadata)
    yield ""
    yield _tally(findings)
    for finding in findings:
        yield f"{finding.severity:<15}{finding.rule}: {finding.what}"
    if findings:
        yield f"{'':<15}--lint says where, why, at what cost and what to do"
    yield ""
    yield from _verdict(report)


def _facts(report: ModelReport) -> Iterator[str]:
    yield f"file           {report.path}"
    yield f"size           {report.size_bytes:,} bytes"
    yield f"sha256         {report.sha256}"
    yield f"made by        {report.description or 'not said'}; schema {report.schema_version}"
    yield f"operators      {sum(report.operators.values())}: {_counts(report.operators)}"
    yield f"computed       {_counts(report.tensor_types)} tensors"
    yield f"constants      {_counts(report.constant_types)} tensors"
    yield f"multiply-adds  {report.macs / 1e6:.1f} M"
    rates = sorted({f"{h}x{w}" for h, w in report.dilations.values()})
    yield f"dilations      {len(report.dilations)} operators{': rates ' + ', '.join(rates) if rates else ''}"
    if report.load_error is not None:
        yield f"delegate       {report.engine} does not load this file"
        return
    outside = report.undelegated
    noun = "partition" if report.partitions == 1 else "partitions"
    left = f"{len(outside)} of {len(report.rows)} operators" if outside else "nothing"
    yield f"delegate       {report.partitions} {noun} ({report.engine}, XNNPACK); outside: {left}"
    alike: dict[tuple[str, str], list[OperatorRow]] = {}
    for row in outside:
        alike.setdefault((row.operator, row.reason or ""), []).append(row)
    for (operator, reason), rows in alike.items():
        more = f" and {len(rows) - 1} more" if len(rows) > 1 else ""
        yield f"               {operator} {_shorten(rows[0].layer)}{more}: {reason}"


def _manifest_lines(report: ModelReport) -> Iterator[str]:
    manifest = report.manifest
    if manifest is None:
        yield "manifest       none: programs have to be told labels, input range and activation"
        return
    person = "none" if manifest.person_class is None else manifest.labels[manifest.person_class]
    labels = ", ".join(manifest.labels)
    yield f"manifest       {manifest.name}: {len(manifest.labels)} labels ({labels}), person: {person}"
    yield (
        f"               input {manifest.size_hw[0]}x{manifest.size_hw[1]} {manifest.fit}, range"
        f" {manifest.input_range[0]:g}..{manifest.input_range[1]:g}, mean {_numbers(manifest.mean)},"
        f" std {_numbers(manifest.std)}"
    )
    yield f"               output {manifest.activation}, stride {manifest.logits_stride}"
    if manifest.licence:
        yield f"               licence {manifest.licence}"
    for title, content in (("architecture", manifest.architecture), ("provenance", manifest.provenance)):
        for key, value in content.items():
            yield f"               {title} {key}: {value}"
    for data, figures in manifest.figures.items():
        yield f"               figures {data}: {figures}"


def _metadata_lines(metadata: dict[str, Any] | None) -> Iterator[str]:
    if metadata is None:
        yield "metadata       none: MediaPipe will not load this file"
        return
    yield f"metadata       {metadata.get('name', 'no name')}, needs parser {metadata.get('min_parser_version', 'any')}"
    for subgraph in metadata.get("subgraph_metadata", ()):
        for kind in ("input", "output"):
            for tensor in subgraph.get(f"{kind}_tensor_metadata", ()):
                yield f"               {kind} {tensor.get('name', '')}: {', '.join(_tensor_metadata(tensor))}"
        for custom in subgraph.get("custom_metadata", ()):
            options = ", ".join(f"{key} {value}" for key, value in custom.get("options", {}).items())
            yield f"               {custom.get('name', '')} {options or str(custom.get('size_bytes', 0)) + ' bytes'}"


def _tensor_metadata(tensor: dict[str, Any]) -> Iterator[str]:
    kind, properties = tensor.get("content", {}).get("content_properties", ("", {}))
    if kind:
        yield f"{kind} {properties.get('color_space', '')}".strip()
    for unit in tensor.get("process_units", ()):
        name, options = unit.get("options", ("", {}))
        yield f"{name} " + " ".join(f"{key} {_value(value)}" for key, value in options.items())
    for file in tensor.get("associated_files", ()):
        yield f"{file.get('name', '')} ({file.get('type', 'UNKNOWN')})"


def _verdict(report: ModelReport) -> Iterator[str]:
    ends = ", ".join(f"{entry.operator} {entry.dtype} ({entry.layer})" for entry in report.requantizers)
    yield f"requantize     {ends or 'no QUANTIZE or DEQUANTIZE'}"
    dtypes = sorted({entry.dtype for entry in report.left_overs})
    if len(report.left_overs) >= len(report.rows):  # the operator table has named them all
        yield f"left over      every operator ({', '.join(dtypes)})"
    elif report.left_overs:
        yield from _table(
            ("left over", "operator", "layer", "type"),
            [(str(entry.index), entry.operator, entry.layer, entry.dtype) for entry in report.left_overs],
        )
    count = len(report.left_overs)
    why = f" ({count} of {len(report.rows)} operators left over)" if count else ""
    yield f"full int8: {'no' if count else 'yes'}{why}"


def explain(findings: Sequence[Finding]) -> Iterator[str]:
    """How many findings there are, then each: what, where, why, cost, remedy, sources."""
    yield _tally(findings)
    for finding in findings:
        yield ""
        yield from _folded(finding.severity, f"{finding.rule}: {finding.what}")
        if any(place.layer or place.detail for place in finding.places):
            yield from _folded("  where", _places(finding.places))
        yield from _folded("  why", finding.why)
        if finding.cost is not None:
            yield from _folded("  cost", finding.cost)
        yield from _folded("  do", finding.fix)
        for source in finding.sources:
            yield f"{'  source':<15}{source}"  # an address is not folded


def _tally(findings: Sequence[Finding]) -> str:
    counts = [(sum(one.severity == severity for one in findings), severity) for severity in reversed(SEVERITIES)]
    return "findings       " + (", ".join(_count(number, word) for number, word in counts if number) or "none")


def _places(places: Sequence[Place]) -> str:
    shown = [_place(place) for place in places[:SHOWN_PLACES]]
    if len(places) > SHOWN_PLACES:
        shown.append(f"and {len(places) - SHOWN_PLACES} more")
    return "; ".join(shown)


def _place(place: Place) -> str:
    number = "" if place.index is None else f"#{place.index} "
    name = f"{number}{place.operator} {_shorten(place.layer)}".strip()
    return f"{name} ({place.detail})" if place.detail else name


def _folded(title: str, text: str) -> list[str]:
    width = min(max(shutil.get_terminal_size((WIDEST, 24)).columns, NARROWEST), WIDEST)
    return textwrap.wrap(
        text, width, initial_indent=f"{title:<15}", subsequent_indent=" " * 15, break_long_words=False,
        break_on_hyphens=False,
    )  # fmt: skip


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 or noun == 'info' else 's'}"


def _tensor_cells(tensor: TensorSummary) -> tuple[str, ...]:
    return (tensor.name, tensor.dtype, _shape(tensor.shape), _scale(tensor.scale), _value(tensor.zero_point))


def _row_cells(row: OperatorRow) -> tuple[str, ...]:
    weights = ""
    if row.weight_dtype is not None:
        weights = row.weight_dtype + (f" x{row.weight_scales}" if row.weight_scales else "")
    return (
        str(row.index), row.operator, _shorten(row.layer), row.dtype, _shape(row.shape), _scale(row.scale),
        _value(row.zero_point), weights, _pair(row.stride_hw), _pair(row.dilation_hw), row.activation or "",
        f"{row.macs / 1e6:.2f}" if row.macs else "", "outside" if row.is_delegated is False else "",
    )  # fmt: skip


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """Aligned columns as wide as they need: lines are to be searched and cut, and a pipe must not fold them."""
    lines = [titles, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(titles))]
    for line in lines:
        yield "  ".join(cell.ljust(width) for cell, width in zip(line, widths)).rstrip()


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.items()) or "no"


def _shape(shape: tuple[int, ...]) -> str:
    return "x".join("?" if size < 0 else str(size) for size in shape) or "scalar"


def _pair(pair: tuple[int, int]) -> str:
    if pair == (1, 1):
        return ""
    return str(pair[0]) if pair[0] == pair[1] else f"{pair[0]}x{pair[1]}"


def _scale(scale: float | None) -> str:
    return "" if scale is None else f"{scale:.6g}"


def _value(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return _numbers(value)
    return "" if value is None else str(value)


def _numbers(values: Sequence[float]) -> str:
    """Numbers that are all the same once, else each."""
    shown = [f"{value:g}" if isinstance(value, (int, float)) else str(value) for value in values]
    return shown[0] if len(set(shown)) == 1 else "/".join(shown)


def _shorten(layer: str) -> str:
    """The end of a long layer name: its beginning is the scope all layers share."""
    return layer if len(layer) <= LAYER_WIDTH else "…" + layer[-LAYER_WIDTH + 1 :]
