"""`edge-deeplab report`: what a network loses on its way from float to int8, stage by stage and layer by layer."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.calibrator_option import calibrator_option
from edge_deeplab.cli.data_option import DATA_HELP, SPEC
from edge_deeplab.cli.evaluate_command import CLASSES, PERSON, PIPE_WIDTH, TO_STDOUT
from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options

if TYPE_CHECKING:
    from edge_deeplab.cli.report_inputs import Inputs
    from edge_deeplab.cli.report_layers import LayerFindings
    from edge_deeplab.cli.report_scoring import Scorer
    from edge_deeplab.data.catalogue import OpenedData
    from edge_deeplab.evaluation.stages import StageReport

SKIPPABLE = ("float32", "float16", "ptq", "qat", "int8", "reference")  # report_stages.STAGES; a test holds them equal
FLOAT_GATE, PTQ_GATE, QAT_GATE = 0.001, 0.010, 0.003  # as report_stages.Gates; a test holds them equal
LAYER_PICTURES = 8


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, metavar=SPEC, help=DATA_HELP)
@click.option("--calibration", type=click.Path(path_type=Path), metavar="FILE.calib",
              help="Samples for int8 ranges, made by `edge-deeplab calibrate`.")  # fmt: skip
@calibrator_option
@click.option("--tuned", type=click.Path(path_type=Path), metavar="FILE.qat", help="MODEL after `edge-deeplab tune`.")
@click.option("--tflite", type=click.Path(path_type=Path), metavar="FILE.tflite", help="Its int8 file. [made]")
@click.option("--skip", type=click.Choice(SKIPPABLE), multiple=True, help="Leave a stage out; several times.")
@click.option("--max-float-loss", type=click.FloatRange(0, 1), default=FLOAT_GATE, show_default=True, metavar="X",
              help="The most float32 and float16 files may lose against MODEL.")  # fmt: skip
@click.option("--max-ptq-loss", type=click.FloatRange(0, 1), default=PTQ_GATE, show_default=True, metavar="X",
              help="The same for int8 without training.")  # fmt: skip
@click.option("--max-qat-loss", type=click.FloatRange(0, 1), default=QAT_GATE, show_default=True, metavar="X",
              help="The same for int8 after tuning.")  # fmt: skip
@click.option("--layers", is_flag=True, help="Also measure layer by layer where int8 loses.")
@click.option("--worst", type=click.IntRange(min=1), default=5, show_default=True, metavar="N",
              help="With --layers: how many layers to name and to try wider.")  # fmt: skip
@click.option("--all-layers", is_flag=True, help="With --layers: list every layer, not the worst alone.")
@click.option("--layer-pictures", type=click.IntRange(min=1), default=LAYER_PICTURES, show_default=True, metavar="N",
              help="With --layers: pictures of the folder to measure on.")  # fmt: skip
@click.option("--compare-calibrators", is_flag=True, help="Also score the int8 file of every calibrator.")
@click.option("--score", type=click.Choice([PERSON, CLASSES]),
              help=f"What is scored. [{PERSON} where MODEL knows a person, else {CLASSES}]")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), metavar="N", help="Only N pictures, spread evenly over the names.")
@click.option("--threads", type=click.IntRange(min=1), default=1, show_default=True, help="Of the LiteRT engine.")
@click.option("--json", "json_file", metavar="FILE", help="Also write everything to FILE; - is stdout alone.")
@click.option("--html", "html_file", type=click.Path(path_type=Path), metavar="FILE",
              help="Also write it as a page to look at.")  # fmt: skip
@click.option("--force", is_flag=True, help="Replace files that exist.")
@foreign_options
def command(
    model: Path, data: str, calibration: Path | None, calibrator: str | None, tuned: Path | None,
    tflite: Path | None, skip: tuple[str, ...], max_float_loss: float, max_ptq_loss: float, max_qat_loss: float,
    layers: bool, worst: int, all_layers: bool, layer_pictures: int, compare_calibrators: bool, score: str | None,
    limit: int | None, threads: int, json_file: str | None, html_file: Path | None, force: bool, facts: ForeignFacts,
) -> None:  # fmt: skip
    """Score MODEL at every stage from float to int8, on the same pictures.

    MODEL is a float network: a .keras file from `edge-deeplab train` or `import`, a .keras or .h5 file of someone else,
    or a SavedModel folder. One that carries no manifest needs --labels, --input-range and --activation.

    \b
    float              MODEL itself
    float32 file       converted, nothing rounded
    float16 file       weights stored in half precision
    calibrated only    fake-quantized, ranges from --calibration, no training (PTQ)
    tuned              fake-quantized, trained with its rounding (--tuned)
    int8 file          --tflite, else made from the tuned network, else from the calibrated one
    reference kernels  the same file under LiteRT's reference kernels: slow, alike on every processor

    What is not given is made in a temporary folder. A stage that loses more than it may against MODEL is named, and the
    exit code is 3. Figures are those of `edge-deeplab evaluate`; person IoU is gated, mean IoU with --score classes.

    --layers gives the signal-to-noise ratio of every int8 tensor against float, and what the network would be with its
    worst layers in float16 or with 16-bit activations. --compare-calibrators needs --calibration.
    """
    from edge_deeplab.cli.report_inputs import Inputs, check_comparison, check_inputs, check_target
    from edge_deeplab.cli.report_scoring import Scorer, ended_by_sigterm, run_calibrators, run_layers, run_stages
    from edge_deeplab.cli.report_stages import Gates, StageLine
    from edge_deeplab.data.catalogue import open_data
    from edge_deeplab.data.pairs import spread

    target = Path(json_file) if json_file and json_file != TO_STDOUT else None
    for file in (target, html_file):
        if file is not None:
            check_target(file, overwrite=force)
    samples = check_inputs(model, tuned, tflite, calibration, calibrator, facts)
    if compare_calibrators:
        check_comparison(model, samples)
    opened = open_data(data)
    pairs = spread(opened.pairs, limit)
    from edge_deeplab.calibration.calibrators import Calibrator
    from edge_deeplab.cli.tensorflow_start import start_tensorflow

    start_tensorflow()
    inputs = Inputs(
        model=model, tuned=tuned, tflite=tflite, samples=samples, calibrator=Calibrator.parse(calibrator or "min-max"),
        facts=facts, threads=threads,
    )  # fmt: skip
    gates = Gates(float_file=max_float_loss, ptq=max_ptq_loss, qat=max_qat_loss)
    with ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="edge-deeplab-report-") as folder:
        line, scorer = StageLine(inputs, Path(folder), gates), Scorer(pairs, score, opened)
        report = run_stages(line, skip, scorer)
        calibrators = run_calibrators(line, report, scorer) if compare_calibrators else None
        findings = None
        if layers:
            findings = run_layers(line, spread(pairs, layer_pictures), scorer, worst=worst)
    document = describe(report, calibrators, findings, inputs, data=opened, scorer=scorer)
    write_files(document, target, html_file, overwrite=force)
    if json_file == TO_STDOUT:
        from edge_deeplab.profiling.report import to_json

        click.echo(to_json(document), nl=False)
    else:
        show(report, calibrators, findings, title=f"{opened.name}: {len(pairs)} pictures", everything=all_layers)
    hold_gates(report)


def describe(
    report: StageReport, calibrators: StageReport | None, findings: LayerFindings | str | None, inputs: Inputs,
    *, data: OpenedData, scorer: Scorer,
) -> dict[str, Any]:  # fmt: skip
    """Everything as plain values."""
    from edge_deeplab import __version__
    from edge_deeplab.runtime.interpreter import engine_name

    document: dict[str, Any] = {
        "format": 1,
        "edge_deeplab": __version__,
        "model": inputs.model.name,
        "data": data.name,
        "pictures": len(scorer.pairs),
        "score": scorer.score,
        "engine": list(engine_name()),
        "threads": inputs.threads,
        "calibrator": str(inputs.calibrator),
        "stages": report.to_dict(),
        "missed": report.missed(),
    }
    if calibrators is not None:
        document["calibrators"] = calibrators.to_dict()
    if findings is not None:
        document["layers"] = {"missing": findings} if isinstance(findings, str) else findings.to_dict()
    return document


def write_files(document: dict[str, Any], target: Path | None, page: Path | None, *, overwrite: bool) -> None:
    """Writes what was asked for, each file whole or not at all."""
    if target is not None:
        from edge_deeplab.profiling.report import write_json

        write_json(target, document, overwrite=overwrite)
    if page is not None:
        from edge_deeplab.cli.report_page import report_page
        from edge_deeplab.quantization.store import write_replacing

        write_replacing(page, report_page(document).encode())


def show(
    report: StageReport, calibrators: StageReport | None, findings: LayerFindings | str | None, *, title: str,
    everything: bool,
) -> None:  # fmt: skip
    """Prints the tables."""
    from rich.console import Console

    from edge_deeplab.cli.report_layers import layer_tables
    from edge_deeplab.evaluation.stages import class_stage_table, notes, stage_table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
    console.print(stage_table(report, title=title))
    for note in notes(report):
        console.print(f"left out, {note}", soft_wrap=True)
    if report.figure == "mean IoU":
        console.print()
        console.print(class_stage_table(report))
    if calibrators is not None:
        console.print()
        console.print(stage_table(calibrators, title="int8 file by calibrator, untuned"))
        for note in notes(calibrators):
            console.print(f"not made, {note}", soft_wrap=True)
    if isinstance(findings, str):
        console.print(f"\nno layers to measure: {findings}", soft_wrap=True)
    elif findings is not None:
        console.print()
        for part in layer_tables(findings, everything=everything):
            console.print(part, soft_wrap=isinstance(part, str))


def hold_gates(report: StageReport) -> None:
    """Raises GateError naming every stage that loses more than it may."""
    from edge_deeplab.errors import GateError

    missed = report.missed()
    if missed:
        raise GateError("gate missed: " + "; ".join(missed))
