"""`edge-deeplab report`: what a network loses on its way from float to int8, stage by stage and layer by layer."""

from __future__ import annotations

import contextlib
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.calibrator_option import calibrator_option
from edge_deeplab.cli.evaluate_command import CLASSES, PERSON, PIPE_WIDTH, TO_STDOUT
from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.progress_line import ProgressLine

if TYPE_CHECKING:
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.cli.predictors import Predictor
    from edge_deeplab.cli.report_layers import LayerFindings
    from edge_deeplab.cli.report_stages import Inputs, StageLine
    from edge_deeplab.data.pairs import Pair
    from edge_deeplab.evaluation.runner import ClassReport, EvaluationReport
    from edge_deeplab.evaluation.stages import StageReport
    from edge_deeplab.manifest import Manifest

SKIPPABLE = ("float32", "float16", "ptq", "qat", "int8", "reference")  # report_stages.STAGES; a test holds them equal
FLOAT_GATE, PTQ_GATE, QAT_GATE = 0.001, 0.010, 0.003  # as report_stages.Gates; a test holds them equal
MODEL_SUFFIXES = (".keras", ".h5", ".hdf5")
LAYER_PICTURES = 8


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--data", type=click.Path(path_type=Path), required=True, help="Folder with images/ and masks/ of the same names."
)
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
    model: Path, data: Path, calibration: Path | None, calibrator: str | None, tuned: Path | None,
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
    from edge_deeplab.cli.evaluate_command import spread
    from edge_deeplab.cli.report_stages import Gates, Inputs, StageLine
    from edge_deeplab.data.pairs import PairsFolder

    target = Path(json_file) if json_file and json_file != TO_STDOUT else None
    for file in (target, html_file):
        if file is not None:
            check_target(file, overwrite=force)
    samples = check_inputs(model, tuned, tflite, calibration, calibrator, facts)
    if compare_calibrators:
        check_comparison(model, samples)
    pairs = spread(PairsFolder(data).pairs, limit)
    from edge_deeplab.calibration.calibrators import Calibrator
    from edge_deeplab.cli.tensorflow_start import start_tensorflow

    start_tensorflow()
    inputs = Inputs(
        model=model, tuned=tuned, tflite=tflite, samples=samples, calibrator=Calibrator.parse(calibrator or "min-max"),
        facts=facts, threads=threads,
    )  # fmt: skip
    gates = Gates(float_file=max_float_loss, ptq=max_ptq_loss, qat=max_qat_loss)
    with ended_by_sigterm(), tempfile.TemporaryDirectory(prefix="edge-deeplab-report-") as folder:
        line, scorer = StageLine(inputs, Path(folder), gates), Scorer(pairs, score)
        report = run_stages(line, skip, scorer)
        calibrators = run_calibrators(line, report, scorer) if compare_calibrators else None
        findings = None
        if layers:
            findings = run_layers(line, spread(pairs, layer_pictures), scorer, worst=worst)
    document = describe(report, calibrators, findings, inputs, data=data, scorer=scorer)
    write_files(document, target, html_file, overwrite=force)
    if json_file == TO_STDOUT:
        from edge_deeplab.profiling.report import to_json

        click.echo(to_json(document), nl=False)
    else:
        show(report, calibrators, findings, title=f"{data.name}: {len(pairs)} pictures", everything=all_layers)
    hold_gates(report)


def check_target(path: Path, *, overwrite: bool) -> None:
    """Before minutes of work. Raises OutputError for a file that exists or cannot be."""
    from edge_deeplab.errors import OutputError

    if path.exists() and not overwrite:
        raise OutputError(f"{path}: exists already", next_step="choose another name, or pass --force")
    if not path.parent.is_dir():
        raise OutputError(f"{path}: cannot be written", came=f"no folder {path.parent}")


def check_inputs(
    model: Path, tuned: Path | None, tflite: Path | None, calibration: Path | None, calibrator: str | None,
    facts: ForeignFacts,
) -> CalibrationSet | None:  # fmt: skip
    """Reads what can be read without TensorFlow, so that a mistake costs no minute. Returns: the samples.

    Raises: UsageError for files of the wrong kind or options that go with nothing; ModelError and InputError for what
        is missing, damaged, or of another size or other labels than MODEL.
    """
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.cli.predictors import refuse_idle_facts
    from edge_deeplab.converters.paths import check_calibration
    from edge_deeplab.errors import ModelError, UsageError
    from edge_deeplab.manifest import read_manifest

    suffix = model.suffix.lower()
    if not model.is_dir() and suffix not in MODEL_SUFFIXES:
        asked = {".qat": f"--tuned {model}", ".tflite": f"--tflite {model}"}.get(suffix)
        raise UsageError(
            f"{model}: a report begins with the float network", came=suffix or "no suffix",
            allowed=f"{', '.join(MODEL_SUFFIXES)}, or a SavedModel folder",
            next_step=f"give that one, and {asked}" if asked else None,
        )  # fmt: skip
    for option, path, wanted in (("--tuned", tuned, ".qat"), ("--tflite", tflite, ".tflite")):
        if path is not None and path.suffix.lower() != wanted:
            raise UsageError(f"{option}: must be a {wanted} file", came=path.name)
        if path is not None and not path.is_file():
            raise ModelError(f"{path}: no such file")
    if calibrator is not None and calibration is None:
        raise UsageError("--calibrator: there are no samples", next_step="give --calibration FILE.calib")
    models = [model, *(path for path in (tuned, tflite) if path is not None)]
    refuse_idle_facts([str(path) for path in models], facts)
    samples = CalibrationSet.load(calibration) if calibration else None
    manifests = {path: None if path.is_dir() else read_manifest(path) for path in models}
    first = manifests[model]
    if first is not None and samples is not None:
        check_calibration(samples, first.size_hw)
    for path, manifest in manifests.items():
        if first is not None and manifest is not None:
            check_same(model, first, path, manifest)
    return samples


def check_same(model: Path, wanted: Manifest, path: Path, found: Manifest) -> None:
    """Refuses a stage of another network. Raises ModelError."""
    from edge_deeplab.errors import ModelError

    if found.size_hw != wanted.size_hw:
        raise ModelError(
            f"{path}: has another input size than {model.name}", came="{}x{}".format(*found.size_hw),
            allowed="{}x{}".format(*wanted.size_hw),
        )  # fmt: skip
    if found.labels != wanted.labels:
        raise ModelError(
            f"{path}: has other labels than {model.name}", came=", ".join(found.labels[:4]),
            allowed=", ".join(wanted.labels[:4]),
        )  # fmt: skip


def check_comparison(model: Path, samples: CalibrationSet | None) -> None:
    """Raises UsageError where there is nothing to compare calibrators on."""
    from edge_deeplab.errors import UsageError

    if samples is None:
        raise UsageError("--compare-calibrators: there are no samples", next_step="give --calibration FILE.calib")
    if model.is_dir():
        raise UsageError("--compare-calibrators: a SavedModel takes TFLite's own calibrator", came=model.name)


@contextlib.contextmanager
def ended_by_sigterm() -> Iterator[None]:
    """Within the block SIGTERM ends the program as an exception does, so that temporary folders go away."""
    if threading.current_thread() is not threading.main_thread():  # Python allows handlers nowhere else
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


class Scorer:
    """Scores predictors on the same pairs, with a line of progress.

    Args:
        score: PERSON or CLASSES; None takes what the first predictor allows.
    """

    def __init__(self, pairs: tuple[Pair, ...], score: str | None) -> None:
        self.pairs, self.score = pairs, score
        self.line = ProgressLine()

    def __call__(self, name: str, predictor: Predictor) -> EvaluationReport | ClassReport:
        """The figures of one predictor."""
        from edge_deeplab.cli.evaluate_command import choose_score, score_pairs
        from edge_deeplab.evaluation.inference import Look

        self.score = choose_score(self.score, [predictor], None)
        total, started_s = len(self.pairs), time.monotonic()

        def show(done: int) -> None:
            left_s = round((time.monotonic() - started_s) / done * (total - done))
            left = "{}:{:02d} left".format(*divmod(left_s, 60))
            self.line.show(f"{name}: {done}/{total} pictures, {left}", is_final=done == total)

        return score_pairs(predictor, self.pairs, self.score, Look(), on_progress=show)

    def say(self, text: str) -> None:
        """Shows what else is being done."""
        self.line.show(text, is_final=False)


def run_stages(line: StageLine, skipped: tuple[str, ...], scorer: Scorer) -> StageReport:
    """Opens and scores every stage. Raises what keeps the float network itself from being scored."""
    from edge_deeplab.cli.report_stages import StageLeftOutError
    from edge_deeplab.errors import ConversionError, ModelError
    from edge_deeplab.evaluation.stages import Stage, StageReport

    stages: list[Stage] = []
    for planned in line.stages(skipped):
        scorer.say(f"{planned.name}: getting ready")
        try:
            predictor, facts = planned.open()
        except StageLeftOutError as reason:
            stages.append(Stage(name=planned.name, gate=planned.gate, missing=str(reason)))
            continue
        except (ConversionError, ModelError) as error:
            if not stages:
                raise
            stages.append(Stage(name=planned.name, gate=planned.gate, missing=str(error), is_failed=True))
            continue
        with contextlib.closing(predictor):
            figures = scorer(planned.name, predictor)
        stages.append(
            Stage(name=planned.name, kind=predictor.kind, gate=planned.gate, report=figures, facts=facts)
        )  # fmt: skip
    return StageReport(stages=tuple(stages))


def run_calibrators(line: StageLine, report: StageReport, scorer: Scorer) -> StageReport:
    """The int8 file of every calibrator, against the same float figures."""
    from edge_deeplab.cli.report_calibrators import compare_calibrators
    from edge_deeplab.evaluation.stages import StageReport

    return StageReport(stages=(report.stages[0], *compare_calibrators(line, scorer)))


def run_layers(line: StageLine, pairs: tuple[Pair, ...], scorer: Scorer, *, worst: int) -> LayerFindings | str:
    """Where the fake-quantized network loses; or why there is none."""
    from edge_deeplab.cli.report_layers import measure_layers, network_images
    from edge_deeplab.cli.report_stages import StageLeftOutError
    from edge_deeplab.errors import ConversionError

    try:
        source = line.quantized
    except (StageLeftOutError, ConversionError) as reason:
        return str(reason)
    return measure_layers(
        source, network_images(source, pairs), worst=worst, folder=line.folder, score=scorer, on_progress=scorer.say
    )


def describe(
    report: StageReport, calibrators: StageReport | None, findings: LayerFindings | str | None, inputs: Inputs,
    *, data: Path, scorer: Scorer,
) -> dict[str, Any]:  # fmt: skip
    """Everything as plain values."""
    from edge_deeplab import __version__
    from edge_deeplab.runtime.interpreter import engine_name

    document: dict[str, Any] = {
        "format": 1,
        "edge_deeplab": __version__,
        "model": inputs.model.name,
        "data": data.resolve().name,
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
