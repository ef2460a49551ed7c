"""`edge-deeplab convert`: a trained or tuned model, or someone else's, as .tflite files or SavedModels."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_deeplab.cli.calibrator_option import calibrator_option
from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options

if TYPE_CHECKING:
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.converters.verify import FileReport

DEVICE_FORMATS = ("float32", "float16", "dynamic", "int8")
SERVER_FORMATS = ("savedmodel", "savedmodel-float16", "onnx")
FORMATS = (*DEVICE_FORMATS, *SERVER_FORMATS)  # as converters.paths.FORMATS; a test holds them equal
IO_TYPES = ("int8", "uint8", "float32")


class Formats(click.ParamType):
    """Some of FORMATS after commas."""

    name = "FORMATS"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, ...]:
        """Returns the names, each once, in the order given; refuses an unknown one."""
        if isinstance(value, tuple):
            return value
        names = tuple(dict.fromkeys(name.strip() for name in str(value).split(",") if name.strip()))
        unknown = [name for name in names if name not in FORMATS]
        if unknown or not names:
            self.fail(f"{', '.join(unknown) or 'nothing'!r} is no format; allowed: {', '.join(FORMATS)}", param, ctx)
        return names


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    required=True,
    metavar="NAME.tflite",
    help="The int8 file; others go beside it as NAME.float16.tflite, NAME.savedmodel and so on.",
)
@click.option(
    "--to",
    "given",
    type=Formats(),
    multiple=True,
    default=("int8,float16",),
    show_default="int8,float16",
    help=f"Some of {', '.join(FORMATS)}, after commas or in several --to.",
)
@click.option(
    "--io", type=click.Choice(IO_TYPES), default="uint8", show_default=True, help="Input and output of the int8 file."
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE.calib",
    help="Samples for the int8 ranges of a model that is not tuned.",
)
@calibrator_option
@click.option("--force", is_flag=True, help="Replace files that exist.")
@click.option("--json", "as_json", is_flag=True, help="Write what was made as JSON to stdout.")
@foreign_options
def command(
    model: Path,
    output: Path,
    given: tuple[tuple[str, ...], ...],
    io: str,
    calibration: Path | None,
    calibrator: str | None,
    force: bool,
    as_json: bool,
    facts: ForeignFacts,
) -> None:  # fmt: skip
    """Write MODEL as .tflite files or SavedModels, each load-tested and compared with MODEL.

    MODEL is a .keras file from `edge-deeplab train` or `import`, a .qat file from `edge-deeplab tune`, a .keras or .h5
    file of someone else, or a SavedModel folder. One that carries no manifest needs --labels, --input-range and
    --activation (and --size where the file leaves it open).

    int8 of a model that is not tuned takes its ranges from --calibration. A SavedModel has no layers to fake-quantize:
    its int8 comes from TFLite's own calibrator, and its manifest says so.

    savedmodel is for servers, TensorFlow Serving among them: files or RGB pictures of any size in, labels,
    probabilities and the matte out; savedmodel-float16 has its kernels in half the bytes. onnx is the network alone, at
    its own size.

    \b
    edge-deeplab convert portrait.qat -o portrait.tflite
    edge-deeplab convert portrait.keras --to savedmodel -o portrait.savedmodel
    """
    from edge_deeplab.errors import UsageError

    formats = tuple(dict.fromkeys(name for names in given for name in names))
    check_name(output, formats)
    is_untuned = model.suffix.lower() != ".qat"
    if "int8" in formats and is_untuned and calibration is None:
        twin = model.with_suffix(".qat")
        raise UsageError(
            "int8 ranges need calibration samples",
            next_step="give --calibration FILE.calib (made by `edge-deeplab calibrate`), or --to float16"
            + (f", or convert {twin}, whose ranges are set" if twin.is_file() else ""),
        )
    if calibrator is not None and (not is_untuned or "int8" not in formats):
        why = "its ranges are set already" if not is_untuned else "float formats have no ranges"
        raise UsageError("--calibrator: not for this", came=f"{model.name}: {why}", next_step="leave it out")
    from edge_deeplab.converters.paths import check_free, output_path

    for name in formats:
        check_free(output_path(output, name), overwrite=force)
    samples = check_inputs(model, calibration, facts)
    _convert(
        model, output, formats, io=io, samples=samples, calibrator=calibrator, force=force, as_json=as_json,
        facts=facts,
    )  # fmt: skip


def check_name(output: Path, formats: tuple[str, ...]) -> None:
    """Raises UsageError for an output whose name says another format than the ones asked for."""
    from edge_deeplab.converters.paths import output_path
    from edge_deeplab.errors import UsageError

    if output.suffix == ".tflite":
        return
    own = {output_path(output, name).suffix for name in formats if name in SERVER_FORMATS}
    if output.suffix not in own:
        raise UsageError("-o: the output must be called NAME.tflite", came=output.name,
                         allowed=f"NAME{' or NAME'.join(sorted(own))} too" if own else None)  # fmt: skip
    others = [name for name in formats if output_path(output, name).suffix != output.suffix]
    if others:
        raise UsageError(
            f"-o {output.name}: is no name for --to {', '.join(others)}",
            next_step=f"give -o {output.stem}.tflite: each format takes its own suffix",
        )


def check_inputs(model: Path, calibration: Path | None, facts: ForeignFacts) -> CalibrationSet | None:
    """Reads what can be read without TensorFlow, so that a mistake costs no minute. Returns: the samples."""
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.cli.predictors import refuse_idle_facts
    from edge_deeplab.converters.paths import check_calibration
    from edge_deeplab.manifest import read_manifest

    refuse_idle_facts([str(model)], facts, but="" if model.suffix.lower() == ".qat" else "--size")
    manifest = None if model.is_dir() else read_manifest(model)
    samples = CalibrationSet.load(calibration) if calibration else None
    if manifest is not None and samples is not None:
        check_calibration(samples, facts.size_hw or manifest.size_hw)
    return samples


def _convert(
    model: Path, output: Path, formats: tuple[str, ...], *, io: str, samples: CalibrationSet | None,
    calibrator: str | None, force: bool, as_json: bool, facts: ForeignFacts,
) -> None:  # fmt: skip
    from edge_deeplab.cli.tensorflow_start import start_tensorflow

    start_tensorflow()
    from edge_deeplab.calibration.calibrators import Calibrator
    from edge_deeplab.converters.convert import convert
    from edge_deeplab.converters.sources import open_source

    source = open_source(model, describe=facts.manifest, size_hw=facts.size_hw)
    if source.kind == "saved_model" and "int8" in formats:
        click.echo("a SavedModel has no layers: int8 comes from TFLite's own calibrator", err=True)

    def show(report: FileReport) -> None:
        if not as_json:
            click.echo(describe_file(report))
        if report.left_out:
            click.echo(f"  XNNPACK leaves out {', '.join(report.left_out[:4])}", err=True)

    reports = convert(
        source, output, formats=formats, io=io, calibration=samples,
        calibrator=Calibrator.parse(calibrator) if calibrator else None, overwrite=force, on_file=show,
    )  # fmt: skip
    if as_json:
        click.echo(json.dumps([as_dict(report) for report in reports], indent=2))


def describe_file(report: FileReport) -> str:
    """One line for a file: name, size, agreement."""
    parts = [f"{report.path.name}: {report.format}, {report.size_bytes / 1000:.0f} kB"]
    if report.against_quantized is not None:
        parts.append(f"against the fake-quantized network {report.against_quantized}")
    parts.append(f"against the float network {report.against_float}")
    return "; ".join(parts)


def as_dict(report: FileReport) -> dict[str, object]:
    """The report as JSON-ready values."""
    from dataclasses import asdict

    return {**asdict(report), "path": str(report.path), "left_out": list(report.left_out)}
