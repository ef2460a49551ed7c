"""`edge-deeplab tune`: sets a model's int8 ranges from calibration samples and trains it with its rounding."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from edge_deeplab.cli.calibrator_option import calibrator_option
from edge_deeplab.cli.data_option import SPEC
from edge_deeplab.cli.foreign_facts import ForeignFacts, foreign_options
from edge_deeplab.cli.progress_line import ProgressLine

if TYPE_CHECKING:
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.training.tune import TuneProgress
    from edge_deeplab.training.tune_recipe import TuneRun

SUFFIX = ".qat"


@click.command()
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.calib",
    help="Samples the ranges come from, made by `edge-deeplab calibrate`.",
)
@calibrator_option
@click.option("--steps", type=click.IntRange(min=0), help="Training steps after that; 0 is post-training quantization.")
@click.option(
    "--data",
    "pairs",
    multiple=True,
    metavar=SPEC,
    help="Data set to train on, such as a folder with images/ and masks/; may be given several times.",
)
@click.option("--backgrounds", type=click.Path(path_type=Path), metavar="FOLDER", help="Pictures to paste people on.")
@click.option(
    "--recipe",
    "recipe_file",
    type=click.Path(path_type=Path),
    metavar="FILE.toml",
    help="Tables [data], [tune], [loss], [augment]; ${DATA} in it is the first --data.",
)
@click.option("--set", "assignments", multiple=True, metavar="KEY=VALUE", help="One setting, e.g. tune.batch_size=8.")
@click.option("--no-teacher", is_flag=True, help="Learn from labels alone, not from the float model's answers too.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="NAME.qat", help="[MODEL's name with .qat]")
@click.option("--force", is_flag=True, help="Replace the output when it exists.")
@foreign_options
def command(
    model: Path,
    calibration: Path,
    calibrator: str | None,
    steps: int | None,
    pairs: tuple[str, ...],
    backgrounds: Path | None,
    recipe_file: Path | None,
    assignments: tuple[str, ...],
    no_teacher: bool,
    output: Path | None,
    force: bool,
    facts: ForeignFacts,
) -> None:  # fmt: skip
    """Set the int8 ranges of MODEL from calibration samples, then train it with fake-quant for some steps.

    MODEL is a .keras file from `edge-deeplab train`, or a .keras or .h5 file of someone else. The result is a .qat
    file for `edge-deeplab convert` and `evaluate`, with the resolved recipe beside it. A run that was stopped goes on
    from its checkpoint when it is typed again.

    Pictures without masks are enough with tune.label_weight=0: the float model is the teacher.
    """
    from edge_deeplab.converters.paths import check_free
    from edge_deeplab.errors import UsageError

    target = output or model.with_suffix(SUFFIX)
    if target.suffix != SUFFIX:
        raise UsageError("-o: the output must be called NAME.qat", came=target.name)
    if model.suffix.lower() == SUFFIX:
        raise UsageError(f"{model}: is tuned already", next_step="tune the float model it came from")
    check_free(target, overwrite=force)
    flags = {"tune.steps": steps, "tune.calibrator": calibrator}
    run = resolve_run(recipe_file, pairs, backgrounds, flags, assignments)
    samples = check_inputs(model, calibration, run, facts)
    _tune(model, target, samples, run, uses_teacher=not no_teacher, facts=facts)


def resolve_run(
    recipe_file: Path | None,
    pairs: tuple[str, ...],
    backgrounds: Path | None,
    flags: dict[str, Any],
    assignments: tuple[str, ...],
) -> TuneRun:
    """Defaults < recipe file < --set < options. Raises RecipeError naming the key."""
    from edge_deeplab.recipe import load_recipe, override, parse_assignments
    from edge_deeplab.training.tune_recipe import TuneRun

    run = TuneRun()
    if recipe_file is not None:
        variables = {"DATA": pairs[0]} if pairs else {}
        run = load_recipe(recipe_file, TuneRun, variables=variables)
    run = override(run, parse_assignments(assignments), source="--set")
    # a recipe that names its folders under ${DATA} takes --data as their root, not as one of them
    if pairs and not run.data.train:
        flags = {**flags, "data.train": tuple(pairs)}
    return override(run, {**flags, "data.backgrounds": backgrounds}, source="options")


def check_inputs(model: Path, calibration: Path, run: TuneRun, facts: ForeignFacts) -> CalibrationSet:
    """Reads what can be read without TensorFlow, so that a mistake costs no minute. Returns: the samples."""
    from edge_deeplab.calibration.artifact import CalibrationSet
    from edge_deeplab.cli.predictors import refuse_idle_facts
    from edge_deeplab.converters.paths import check_calibration
    from edge_deeplab.errors import UsageError
    from edge_deeplab.manifest import read_manifest
    from edge_deeplab.training.tune_data import read_pairs

    refuse_idle_facts([str(model)], facts, but="--size")
    samples = CalibrationSet.load(calibration)
    manifest = None if model.is_dir() else read_manifest(model)
    if manifest is not None:
        check_calibration(samples, facts.size_hw or manifest.size_hw)
    if run.tune.steps and not run.data.train:
        raise UsageError("tuning needs pictures to learn from", next_step="give --data FOLDER, or --steps 0")
    if run.tune.steps:
        read_pairs(run.data.train, labels_needed=run.tune.label_weight > 0)
    return samples


def _tune(
    model: Path, target: Path, samples: CalibrationSet, run: TuneRun, *, uses_teacher: bool, facts: ForeignFacts
) -> None:
    from edge_deeplab.cli.tensorflow_start import start_tensorflow

    start_tensorflow()
    from edge_deeplab.calibration.calibrators import Calibrator
    from edge_deeplab.converters.convert import COMPARED, calibrated, calibration_facts
    from edge_deeplab.converters.sources import open_source
    from edge_deeplab.converters.verify import agreement
    from edge_deeplab.quantization.scheme import FakeQuant
    from edge_deeplab.quantization.store import save_quantized, write_replacing
    from edge_deeplab.recipe import dump_recipe
    from edge_deeplab.training.losses import segmentation_loss, tf_ops
    from edge_deeplab.training.tune import Tuner
    from edge_deeplab.training.tune_data import tuning_batches

    source = open_source(model, describe=facts.manifest, size_hw=facts.size_hw)
    calibrator = Calibrator.parse(run.tune.calibrator)
    network = calibrated(source, samples, calibrator).quantized()
    click.echo(f"ranges set from {len(samples)} samples, {calibrator}", err=True)
    classes = len(source.manifest.labels)
    report = None
    checkpoint = target.with_name(f"{target.name}.checkpoint")
    if run.tune.steps:
        teacher = (source.model if source.config is None else source.int8_model) if uses_teacher else None
        tuner = Tuner(
            network, run.tune, label_loss=segmentation_loss(tf_ops(), run.loss, classes), teacher=teacher,
            identity=f"{model.name} {samples.sha256} {dump_recipe(run)}",
        )  # fmt: skip
        batches_from = tuning_batches(run, size_hw=source.size_hw, classes=classes)
        if source.config is not None:
            batches_from = _in_range(batches_from, source)
        line = ProgressLine()
        report = tuner.run(
            batches_from, checkpoint=checkpoint,
            on_progress=lambda seen: line.show(progress_text(seen), is_final=seen.step == seen.steps),
        )  # fmt: skip
    images = next(source.real([next(samples.batches(COMPARED))]))
    rounded = network.model(images, training=False)
    plain = source.int8_model(images, training=False)
    with network.switch.set(FakeQuant.OFF):
        unrounded = network.model(images, training=False)
    tuning = {
        "steps": run.tune.steps, "teacher": uses_teacher and run.tune.distillation > 0,
        "calibration": calibration_facts(samples, calibrator), "data": [Path(text).name for text in run.data.train],
        "learning_rate": run.tune.learning_rate, "batch_size": run.tune.batch_size, "seed": run.tune.seed,
    }  # fmt: skip
    manifest = source.int8_manifest
    manifest = manifest.replace(provenance={**manifest.provenance, "tuning": tuning}, figures={})
    save_quantized(target, network, manifest, config=source.config)
    recipe_path = target.with_name(f"{target.stem}.tune.toml")
    write_replacing(recipe_path, dump_recipe(run).encode())
    checkpoint.unlink(missing_ok=True)
    click.echo(f"{target.name}: {run.tune.steps} steps, recipe in {recipe_path.name}")
    click.echo(f"  fake-quantized against the float model it came from: {agreement(plain, rounded)}")
    click.echo(f"  fake-quantized against itself without rounding: {agreement(unrounded, rounded)}")
    if report is not None and report.first_loss is not None:
        click.echo(f"  loss {report.first_loss:.4f} -> {report.last_loss:.4f} in {report.duration_s:.0f} s")


def _in_range(batches_from: Any, source: Any) -> Any:
    """Batches in 0..1 brought to what a model of someone else takes."""

    def moved(step: int) -> Any:
        for images, labels in batches_from(step):
            yield next(source.real([images])), labels

    return moved


def progress_text(progress: TuneProgress) -> str:
    """Step, loss, rate and time left."""
    minutes, seconds = divmod(round(progress.left_s), 60)
    return (
        f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}"
        f"  {progress.images_per_s:.1f} images/s  {minutes}:{seconds:02d} left"
    )
