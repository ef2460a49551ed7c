"""The training loop: Keras 3 on any backend, from a recipe to the best model, and back into it after a kill.

trainer = Trainer(run, Path("runs/portrait"), on_event=print)
report = trainer.train(is_resumed=False)
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.data.catalogue import OpenedData, Role, open_data
from edge_deeplab.data.loader import PairLoader
from edge_deeplab.data.pairs import LabelledPicture, Pair, list_images, spread
from edge_deeplab.errors import InputError, OutputError, RecipeError
from edge_deeplab.labels import find_person
from edge_deeplab.manifest import Manifest
from edge_deeplab.models.deeplab import build_deeplab, is_of_head
from edge_deeplab.models.keras_api import keras_namespace
from edge_deeplab.models.store import save_model
from edge_deeplab.models.transfer import Weights, assign_weights, copy_weights, weights_of
from edge_deeplab.recipe import dump_recipe
from edge_deeplab.training.batch_norm import measure_batch_norms, settle_batch_norms
from edge_deeplab.training.checkpoint import Position, read_checkpoint, write_checkpoint
from edge_deeplab.training.collapse import collapse_warning
from edge_deeplab.training.distribute import Devices, Learn, OneDevice, check_agreement, check_batches
from edge_deeplab.training.losses import distillation_loss, segmentation_loss
from edge_deeplab.training.optimizer import averaging_adamw
from edge_deeplab.training.precision import compute_in
from edge_deeplab.training.run import Stage, TrainRun
from edge_deeplab.training.teacher import Teacher
from edge_deeplab.training.validation import ValidationSet, load_validation, score

SETTLING_IMAGES = 64
MEASURED_IMAGES = 512


@dataclass(frozen=True, kw_only=True)
class StepEvent:
    """After a step. loss: mean since the last epoch began; left_s: estimated, of the whole training."""

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    images_per_s: float
    left_s: float


@dataclass(frozen=True, kw_only=True)
class EpochEvent:
    """After an epoch: the score of each validation set, and whether their mean is the best so far; none if not scored.

    warnings: one line for each set on which the network says one class alone.
    """

    epoch: int
    epochs: int
    loss: float
    scores: dict[str, float]
    is_best: bool
    duration_s: float
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Starting:
    """Where the weights begin.

    Attributes:
        source: for the manifest: file name and digest, or "".
        weights: from a fresh network's weights to the starting ones.
        unsettled: batch norms whose statistics the source had lost.
    """

    source: str
    weights: Callable[[Weights], Weights]
    unsettled: frozenset[str] = frozenset()


class Trainer:
    """Trains one model into one folder.

    Args:
        run: the recipe.
        folder: holds checkpoint.npz, metrics.jsonl, recipe.toml and NAME.keras; made when missing.
        starting: initial weights; None is random.
        on_event: told of every step and epoch.
        devices: what it runs on, as distribute.open_devices opened them. Of several workers each has a Trainer; all of
            them score the epochs, the chief alone writes.

    Raises: RecipeError where a batch cannot be shared out evenly among the devices.
    """

    def __init__(
        self, run: TrainRun, folder: Path, *, starting: Starting | None = None,
        on_event: Callable[[StepEvent | EpochEvent], None] = lambda event: None, devices: Devices | None = None,
    ) -> None:  # fmt: skip
        self.run, self.folder, self.starting, self.on_event = run, folder, starting, on_event
        self.devices = devices or OneDevice()
        check_batches(run.stages, self.devices)
        self.pairs: list[LabelledPicture] = []
        self.trained_on: Counter[str] = Counter()  # pairs by the data set's name, for the manifest
        for data in self._open(run.data.train):
            pairs = data.pairs
            self.pairs += pairs
            self.trained_on[data.name] += len(pairs)
        for root in run.data.unlabelled:
            images = list_images(root)
            self.pairs += [Pair(path.stem, path, None) for path in images]
            self.trained_on[root.name] += len(images)
        self.validation_pairs = {
            data.name: spread(data.pairs, run.data.validation_limit)
            for data in self._open(run.data.validation, role="evaluate")
        }
        if len(self.validation_pairs) != len(run.data.validation):
            raise RecipeError("data.validation: two data sets of one name", came=", ".join(run.data.validation))
        self.backgrounds = list_images(run.data.backgrounds) if run.data.backgrounds else ()
        self.checkpoint_path = folder / "checkpoint.npz"
        self.metrics_path = folder / "metrics.jsonl"
        self.model_path = folder / f"{run.name}.keras"
        self.epochs = sum(stage.epochs for stage in run.stages)
        self.steps = sum(stage.epochs * (len(self.pairs) // stage.batch_size) for stage in run.stages)
        self.K = keras_namespace("keras")
        self.position = Position(identity=self._identity())
        self.model: Any = None  # learns, on all devices
        self.kept: Any = None  # its twin on one device, in float32, which is scored and saved
        self.teacher: Teacher | None = None
        self.optimizer: Any = None
        self.learn: Learn | None = None

    @property
    def is_chief(self) -> bool:
        """Whether this process is the one that writes."""
        return self.devices.worker == 0

    def _open(self, texts: tuple[str, ...], *, role: Role = "train") -> list[OpenedData]:
        found = [open_data(text, role=role) for text in texts]
        for data in found:
            data.check_labels(self.run.labels, who="the recipe's labels")
        return found

    def _identity(self) -> str:
        """A digest of the recipe without its paths and thread count, and of the pairs' names."""
        nowhere = (".",)
        data = dataclasses.replace(
            self.run.data, train=nowhere, validation=nowhere, backgrounds=None, unlabelled=(), workers=1
        )
        start = dataclasses.replace(self.run.start, backbone=None, model=None)
        teacher = dataclasses.replace(self.run.teacher, model=None)
        text = dataclasses.replace(self.run, data=data, start=start, teacher=teacher).without_compute
        names = "\n".join([*(pair.name for pair in self.pairs), *(path.name for path in self.backgrounds)])
        return hashlib.sha256((text + names).encode()).hexdigest()

    def train(self, *, is_resumed: bool = False) -> Position:
        """Runs all stages. Returns where it ended, with the best score and epoch.

        Raises: OutputError when the folder holds a training and is_resumed is False; InputError when there is nothing
            to resume, the checkpoint is of another recipe, or the loss is no number.
        """
        state = self._read_state() if is_resumed else None
        if state is None:
            self._begin_folder()
        check_agreement(self.devices, f"{self._identity()} {self.position}")
        first = 0
        for stage in self.run.stages:
            if self.position.epoch < first + stage.epochs:
                state = self._run_stage(stage, first, state)
            first += stage.epochs
        return self.position

    def _begin_folder(self) -> None:
        if self.checkpoint_path.exists():
            raise OutputError(
                f"{self.folder}: holds a training already", next_step="pass --resume to go on, or choose another folder"
            )
        if not self.is_chief:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "recipe.toml").write_text(dump_recipe(self.run))
            self.metrics_path.write_text("")
        except OSError as error:
            raise OutputError(f"{self.folder}: cannot be written", came=error.strerror) from error

    def _read_state(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        position, model, optimizer = read_checkpoint(self.checkpoint_path)
        if position.identity != self.position.identity:
            raise InputError(
                f"{self.checkpoint_path}: of another recipe or other data",
                next_step=f"use {self.folder / 'recipe.toml'}, or begin anew in another folder",
            )
        self.position = position
        if self.is_chief:
            self.metrics_path.write_text("".join(line + "\n" for line in position.metrics))
        return model, optimizer

    def _open_stage(self, stage: Stage, state: tuple[list[np.ndarray], list[np.ndarray]] | None) -> None:
        """Builds network and optimizer for a stage's input size and gives them their state."""
        K, run = self.K, self.run
        K.utils.set_random_seed(run.seed)
        config = run.model.replace(size_hw=stage.size_hw)
        self.kept = build_deeplab(K, config)
        if state is None and self.starting is not None:
            assign_weights(self.kept, self.starting.weights(weights_of(self.kept)), source=self.starting.source)
            if self.starting.unsettled:
                images = np.concatenate([*self._some_batches(self._loader(stage), 0, SETTLING_IMAGES)])
                settle_batch_norms(K, self.kept, images, set(self.starting.unsettled))
        with self.devices.scope():
            self.model = build_deeplab(K, config)
            compute_in(self.model, run.compute.precision)
            copy_weights(self.kept, self.model)
            self.optimizer = self._make_optimizer()
        total = self.devices.total
        supervised = segmentation_loss(K.ops, run.loss, config.classes, total=total)
        self.teacher = None
        if run.teacher.model is not None:
            self.teacher = Teacher(K, run.teacher, size_hw=stage.size_hw, classes=config.classes)
        loss = supervised if self.teacher is None else distillation_loss(K.ops, supervised, run.teacher, total=total)
        self.learn = self.devices.learner(
            K, self.model, self.optimizer, lambda targets, logits: loss(targets, self._at_label_size(logits))
        )
        if state is not None:
            self._set_state(*state)

    def _make_optimizer(self) -> Any:
        K, run = self.K, self.run
        rising = max(1, round(self.steps * run.optimizer.warm_up))
        rate = K.optimizers.schedules.CosineDecay(
            run.optimizer.learning_rate / 100, self.steps - rising, warmup_target=run.optimizer.learning_rate,
            warmup_steps=rising,
        )  # fmt: skip

        def share_of(variable: Any) -> float:
            return 1.0 if is_of_head(variable.path.split("/")[0]) else run.optimizer.backbone_share

        optimizer = averaging_adamw(K, run.optimizer.ema, share_of=share_of)(
            rate, weight_decay=run.optimizer.weight_decay, global_clipnorm=run.optimizer.clip or None
        )
        optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
        optimizer.build(self.model.trainable_variables)
        return optimizer

    @staticmethod
    def _some_batches(loader: PairLoader, epoch: int, count: int) -> Iterator[np.ndarray]:
        """The images of the first batches of an epoch, about `count` of them."""
        wanted = -(-count // loader.batch_size)
        return (images for images, _ in itertools.islice(loader.epoch(epoch), wanted))

    def _at_label_size(self, logits: Any) -> Any:
        stride = self.run.model.logits_stride
        if stride == 1:
            return logits
        shape = (logits.shape[1] * stride, logits.shape[2] * stride)
        return self.K.ops.image.resize(logits, shape, interpolation="bilinear")

    def _loader(self, stage: Stage, share: tuple[int, int] = (0, 1)) -> PairLoader:
        run = self.run
        return PairLoader(
            self.pairs, size_hw=stage.size_hw, batch_size=stage.batch_size, recipe=run.augment, seed=run.seed,
            classes=run.model.classes, backgrounds=self.backgrounds, workers=run.data.workers, share=share,
        )  # fmt: skip

    def _state(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        to_numpy = self.K.ops.convert_to_numpy
        return (
            [np.array(to_numpy(variable)) for variable in self.model.variables],
            [np.array(to_numpy(variable)) for variable in self.optimizer.variables],
        )

    def _set_state(self, model: list[np.ndarray], optimizer: list[np.ndarray]) -> None:
        for variables, arrays in ((self.model.variables, model), (self.optimizer.variables, optimizer)):
            if [tuple(v.shape) for v in variables] != [a.shape for a in arrays]:
                raise InputError(
                    f"{self.checkpoint_path}: does not fit the network", came=f"{len(arrays)} arrays",
                    allowed=f"{len(variables)}, as this version of Keras keeps them",
                )  # fmt: skip
            for variable, array in zip(variables, arrays):
                variable.assign(array)

    def _save(self, **changes: Any) -> None:
        self.position = dataclasses.replace(self.position, **changes)
        if self.is_chief:
            write_checkpoint(self.checkpoint_path, self.position, *self._state())

    def _run_stage(
        self, stage: Stage, first_epoch: int, state: tuple[list[np.ndarray], list[np.ndarray]] | None
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        self._open_stage(stage, state)
        loader = self._loader(stage, (self.devices.worker, self.devices.workers))
        sets = [
            load_validation(name, pairs, size_hw=stage.size_hw, classes=self.run.model.classes)
            for name, pairs in self.validation_pairs.items()
        ]
        for epoch in range(self.position.epoch, first_epoch + stage.epochs):
            begun_s = time.perf_counter()
            loss = self._run_epoch(loader, epoch)
            self._finish_epoch(epoch, stage, loss, sets, begun_s)
        return self._state()

    def _run_epoch(self, loader: PairLoader, epoch: int) -> float:
        """Learns from what is left of an epoch. Returns the mean loss of those batches."""
        assert self.learn is not None, "a stage is open"
        position = self.position
        losses: list[float] = []
        begun_s, done = 0.0, 0
        for batch, (images, labels) in enumerate(loader.epoch(epoch, first_batch=position.batch), position.batch):
            targets = labels if self.teacher is None else self.teacher.targets(images, labels)
            losses.append(self.learn(images, targets))
            if not math.isfinite(losses[-1]):
                raise InputError(
                    "training: the loss is no longer a number", came=f"step {self.position.step}",
                    next_step="lower optimizer.learning_rate, and look at the data",
                )  # fmt: skip
            step = self.position.step + 1
            self.position = dataclasses.replace(self.position, batch=batch + 1, step=step)
            if step % self.run.checkpoint_every == 0:
                self._save()
            if done == 0 and begun_s == 0.0:  # the first step compiles
                begun_s = time.perf_counter()
                continue
            done += 1
            per_step_s = (time.perf_counter() - begun_s) / done
            self.on_event(StepEvent(
                epoch=epoch, epochs=self.epochs, step=step, steps=self.steps, loss=float(np.mean(losses)),
                images_per_s=loader.batch_size / per_step_s, left_s=per_step_s * (self.steps - step),
            ))  # fmt: skip
        return float(np.mean(losses)) if losses else math.nan

    def _finish_epoch(self, epoch: int, stage: Stage, loss: float, sets: list[ValidationSet], begun_s: float) -> None:
        """Scores the averaged weights where that is due, keeps them when they are the best, writes down the epoch."""
        scores: dict[str, float] = {}
        warnings: tuple[str, ...] = ()
        is_best = False
        if self.run.is_scored(epoch):
            self._settle_kept(epoch, stage)
            scores, warnings = self._score(epoch, sets)
            mean = float(np.mean(list(scores.values())))
            is_best = mean > self.position.best_score or stage.size_hw != self._size_of(self.position.best_epoch)
        if is_best and self.is_chief:
            save_model(self.model_path, self.kept, self._manifest(stage, epoch, scores))
        duration_s = time.perf_counter() - begun_s
        line = json.dumps({
            "epoch": epoch, "step": self.position.step, "size_hw": stage.size_hw, "loss": round(loss, 5),
            "scores": {name: round(value, 5) for name, value in scores.items()}, "is_best": is_best,
            "duration_s": round(duration_s, 1), **({"warnings": warnings} if warnings else {}),
        })  # fmt: skip
        best = {"best_score": mean, "best_epoch": epoch} if is_best else {}
        self._save(epoch=epoch + 1, batch=0, metrics=(*self.position.metrics, line), **best)
        if self.is_chief:
            with self.metrics_path.open("a") as file:
                file.write(line + "\n")
        self.on_event(EpochEvent(
            epoch=epoch, epochs=self.epochs, loss=loss, scores=scores, is_best=is_best, duration_s=duration_s,
            warnings=warnings,
        ))  # fmt: skip

    def _settle_kept(self, epoch: int, stage: Stage) -> None:
        """Gives the network that is kept the weights as they are, or their average with statistics of its own."""
        if not self.run.optimizer.ema:
            copy_weights(self.model, self.kept)
            return
        raw = self._state()
        with self.devices.scope():
            self.optimizer.finalize_variable_values(self.model.trainable_variables)
        copy_weights(self.model, self.kept)
        self._set_state(*raw)
        measure_batch_norms(self.kept, self._some_batches(self._loader(stage), epoch, MEASURED_IMAGES))

    def _score(self, epoch: int, sets: list[ValidationSet]) -> tuple[dict[str, float], tuple[str, ...]]:
        """What the kept network scores on each set, and a warning for each on which it says one class alone."""
        scored = {data.name: score(data, self.kept.predict_on_batch, classes=self.run.model.classes) for data in sets}
        warnings = tuple(
            warning
            for name, one in scored.items()
            if (warning := collapse_warning(name, one.predicted, one.truth, self.run.labels, epoch=epoch))
        )
        return {name: one.value for name, one in scored.items()}, warnings

    def _size_of(self, epoch: int) -> tuple[int, int] | None:
        """The input size an epoch was trained at: a score at a smaller size never beats the model of a later stage."""
        for stage in self.run.stages:
            if epoch < stage.epochs:
                return stage.size_hw if epoch >= 0 else None
            epoch -= stage.epochs
        return None

    def _manifest(self, stage: Stage, epoch: int, scores: dict[str, float]) -> Manifest:
        run = self.run
        config = run.model.replace(size_hw=stage.size_hw)
        return Manifest(
            name=run.name, labels=run.labels, person_class=find_person(run.labels), size_hw=stage.size_hw,
            activation="softmax" if config.classes > 1 else "sigmoid", logits_stride=config.logits_stride,
            architecture=config.to_dict(),
            provenance={
                "trained_on": dict(self.trained_on),
                "backgrounds": len(self.backgrounds), "terms": run.data.terms,
                "start": self.starting.source if self.starting else "random",
                **({"teacher": self.teacher.source} if self.teacher else {}),
                "epoch": epoch + 1, "epochs": self.epochs, "step": self.position.step, "seed": run.seed,
                "keras": self.K.__version__, "backend": self.K.backend.backend(),
                "quick_validation": {name: round(value, 4) for name, value in scores.items()},
            },
        )  # fmt: skip
