"""`edge-deeplab train`: from a recipe and a folder of pairs to a trained model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge_deeplab.cli.progress_line import ProgressLine

if TYPE_CHECKING:
    from edge_deeplab.training.loop import EpochEvent, Starting, StepEvent
    from edge_deeplab.training.run import TrainRun


@click.command()
@click.argument("recipe", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), help="What ${DATA} in the recipe stands for.")
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), help="Folder of the run.  [default: runs/NAME of the recipe]"
)
@click.option("--resume", is_flag=True, help="Go on from the folder's checkpoint, exactly where it was.")
@click.option(
    "--devices",
    type=click.IntRange(min=0),
    metavar="N",
    help="Devices of this machine that share every batch; 0 takes all.  [default: the recipe's compute.devices, 1]",
)
@click.option("--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a key, e.g. optimizer.ema=0.99.")
def command(
    recipe: Path, data: Path | None, output: Path | None, resume: bool, devices: int | None, changes: tuple[str, ...]
) -> None:  # fmt: skip
    """Train the network that RECIPE describes.

    The folder gets NAME.keras (the best on validation, weights averaged), metrics.jsonl, the resolved recipe.toml and
    checkpoint.npz. A run that was killed goes on with --resume as if nothing had happened.

    \b
    On more than one device, the batch of the recipe is shared out, and the loss is that of one device:
      several GPUs       --devices 4 (KERAS_BACKEND=jax or tensorflow, the default)
      several machines   the same command on each, with an --output folder all of them see, and
                         TensorFlow   TF_CONFIG='{"cluster": {"worker": ["HOST:PORT", "HOST:PORT"]},
                                                  "task": {"type": "worker", "index": 0}}'
                         jax          KERAS_DISTRIBUTION_JOB_ADDRESSES=HOST:PORT (of worker 0),
                                      KERAS_DISTRIBUTION_NUM_PROCESSES, KERAS_DISTRIBUTION_PROCESS_ID
    Worker 0 writes; when one goes, all end, and go on with --resume. --set compute.precision=bfloat16 computes in mixed
    precision, which pays on GPUs.
    """
    from edge_deeplab.recipe import load_recipe, override, parse_assignments
    from edge_deeplab.training.run import TrainRun

    run = load_recipe(recipe, TrainRun, variables={"DATA": data} if data else {})
    run = override(run, parse_assignments(changes), source="--set")
    run = override(run, {"compute.devices": devices}, source="--devices")
    folder = output or Path("runs") / run.name

    from edge_deeplab.errors import OutputError
    from edge_deeplab.training.checkpoint import read_checkpoint

    if resume:
        read_checkpoint(folder / "checkpoint.npz")  # before Keras is loaded
    elif (folder / "checkpoint.npz").exists():
        raise OutputError(f"{folder}: holds a training already", next_step="pass --resume, or choose another --output")

    from edge_deeplab.cli.tensorflow_start import quiet_native_stderr
    from edge_deeplab.models.keras_api import keras_namespace
    from edge_deeplab.training.distribute import names_workers, open_devices

    if names_workers():
        click.echo(f"{run.name}: waiting for the other workers", err=True)
    with quiet_native_stderr():
        opened = open_devices(run.compute)  # before the first operator, which looks for GPUs
        keras_namespace("keras").ops.zeros(1)
    starting = read_start(run)
    from edge_deeplab.training.loop import Trainer

    is_chief = opened.worker == 0
    trainer = Trainer(run, folder, starting=starting, on_event=Reporter() if is_chief else ignore, devices=opened)
    where = f", {opened.count} devices" if opened.count > 1 else ""
    where += f", worker {opened.worker + 1} of {opened.workers}" if opened.workers > 1 else ""
    click.echo(
        f"{run.name}: {len(trainer.pairs)} pairs, {trainer.epochs} epochs, {trainer.steps} steps{where} -> {folder}",
        err=True,
    )
    try:
        end = trainer.train(is_resumed=resume)
    except KeyboardInterrupt:
        click.echo(f"stopped; go on with: edge-deeplab train {recipe} --output {folder} --resume ...", err=True)
        raise
    if not is_chief:
        return
    click.echo(
        f"{trainer.model_path}  best of {trainer.epochs} epochs: {end.best_epoch + 1}, score {end.best_score:.4f}"
    )


def read_start(run: TrainRun) -> Starting | None:
    """Reads the weights a recipe begins from; None for random ones."""
    if run.start.backbone is None and run.start.model is None:
        return None
    import hashlib

    from edge_deeplab.training.loop import Starting

    if run.start.model is not None:
        from edge_deeplab.models.store import load_manifest, load_weights

        load_manifest(run.start.model)
        weights = load_weights(run.start.model)
        digest = hashlib.sha256(run.start.model.read_bytes()).hexdigest()
        return Starting(f"{run.start.model.name} sha256 {digest}", lambda fresh: weights)
    from edge_deeplab.models.backbones.efficientnet import VARIANTS as EFFICIENTNETS

    if run.model.backbone in EFFICIENTNETS:
        return read_efficientnet(run)
    from edge_deeplab.cli.tensorflow_start import quiet_native_stderr
    from edge_deeplab.converters.starts.pretrained import files_of, read_foreign_backbone
    from edge_deeplab.converters.starts.transplant import check_fit, transplant, unsettled_batch_norms
    from edge_deeplab.models.architecture import official_names

    assert run.start.backbone is not None
    with quiet_native_stderr():  # TensorFlow's files are read by TensorFlow
        backbone = read_foreign_backbone(run.start.backbone)
    official = official_names(run.model)
    check_fit(backbone, official)  # before the data are looked at
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in files_of(run.start.backbone))).hexdigest()
    return Starting(
        f"{run.start.backbone.name} sha256 {digest}",
        lambda fresh: transplant(backbone, fresh, official),
        unsettled_batch_norms(backbone, official),
    )


def read_efficientnet(run: TrainRun) -> Starting:
    """Reads a keras.applications file for a network with an EfficientNet."""
    import hashlib

    from edge_deeplab.converters.starts.efficientnet_start import check_fit, start_efficientnet
    from edge_deeplab.converters.starts.keras_applications import read_keras_applications
    from edge_deeplab.training.loop import Starting

    path, variant = run.start.backbone, run.model.backbone
    assert path is not None
    arrays = read_keras_applications(path)
    check_fit(arrays, variant, source=str(path))  # before the data are looked at
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return Starting(
        f"{path.name} sha256 {digest}",
        lambda fresh: start_efficientnet(arrays, fresh, variant=variant, source=str(path)),
    )


def ignore(event: StepEvent | EpochEvent) -> None:
    """What the workers that are not the chief say: nothing."""


class Reporter:
    """Shows steps and epochs on stderr."""

    def __init__(self) -> None:
        self._line = ProgressLine()

    def __call__(self, event: StepEvent | EpochEvent) -> None:
        """Shows one event."""
        from edge_deeplab.training.loop import EpochEvent

        if isinstance(event, EpochEvent):
            scores = "  ".join(f"{name} {value:.4f}" for name, value in event.scores.items())
            mark = "  best" if event.is_best else ""
            self._line.show(
                f"epoch {event.epoch + 1}/{event.epochs}  loss {event.loss:.4f}  {scores}  "
                f"{event.duration_s:.0f} s{mark}", is_final=True,
            )  # fmt: skip
            for warning in event.warnings:
                click.echo(f"edge-deeplab: warning: {warning}", err=True)
            return
        self._line.show(
            f"epoch {event.epoch + 1}/{event.epochs}  step {event.step}/{event.steps}  loss {event.loss:.4f}  "
            f"{event.images_per_s:.1f} images/s  {int(event.left_s) // 60} min left", is_final=False,
        )  # fmt: skip
