"""`edge-deeplab inspect`: what a .tflite is made of, and whether it is int8 throughout."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from edge_deeplab.converters.inspect import ModelReport, OperatorRow, TensorSummary

LAYER_WIDTH = 48
ROW_TITLES = (
    "#", "operator", "layer", "type", "shape", "scale", "zero", "weights", "stride", "rate", "fused", "Mmac", "",
)  # fmt: skip


@click.command()
@click.argument("model")
@click.option("--json", "as_json", is_flag=True, help="Write JSON to stdout in place of the tables.")
@click.option("--brief", is_flag=True, help="Leave out the table with a row for every operator.")
def command(model: str, as_json: bool, brief: bool) -> None:
    """Show what a .tflite is made of: operators, types and scales, delegate partitions, manifest and metadata.

    MODEL is a .tflite file or the name of a bundled model. The last line is the verdict: `full int8: yes` means that
    every operator is int8, with no QUANTIZE or DEQUANTIZE but one at each end. A file that the interpreter does not
    take is shown all the same, with exit code 1.
    """
    from edge_deeplab.converters.inspect import inspect_model
    from edge_deeplab.errors import ModelError
    from edge_deeplab.runtime.bundled import bundled_model

    report = inspect_model(bundled_model(model))
    if as_json:
        import json

        click.echo(json.dumps(report.to_dict(), indent=2, ensure_ascii=False))
    else:
        for line in describe(report, with_rows=not brief):
            click.echo(line)
    if report.load_error is not None:
        raise ModelError(report.load_error)


def describe(report: ModelReport, *, with_rows: bool) -> Iterator[str]:
    """The report as lines of text, the verdict last."""
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
    outside = ", ".join(f"{row.operator} {row.layer}" for row in report.undelegated) or "nothing"
    noun = "partition" if report.partitions == 1 else "partitions"
    yield f"delegate       {report.partitions} {noun} ({report.engine}, XNNPACK); outside: {outside}"


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
    for warning in report.warnings:
        yield f"warning        {warning}"
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
