"""Quantization-aware tuning: a network whose ranges are set learns to live with its rounding.

    tuner = Tuner(network, TuneRecipe(steps=1000), label_loss=segmentation_loss(...), teacher=float_model)
    report = tuner.run(batches)

Two phases: while the batch norms are live the ranges follow what is seen; for the last part both are frozen, so that
the network ends as the numbers the converter will write. Where the data comes from is the caller's business.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from edge_deeplab.errors import InputError, UsageError
from edge_deeplab.quantization.graph import QuantizedNetwork
from edge_deeplab.quantization.ranges import settle_kernels
from edge_deeplab.quantization.scheme import FakeQuant
from edge_deeplab.quantization.store import (
    assign_arrays,
    network_arrays,
    pack_arrays,
    unpack_arrays,
    write_replacing,
)
from edge_deeplab.training.tune_recipe import TuneRecipe

Batch = tuple[Any, Any]
BatchesFrom = Callable[[int], Iterator[Batch]]
CHECKPOINT_FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class TuneProgress:
    """What is known after a step.

    Attributes:
        step: steps done, 1 to steps.
        loss: of this step's batch.
        images_per_s: over the steps since this process began, the first (traced) ones left out.
        left_s: estimated time left.
    """

    step: int
    steps: int
    loss: float
    images_per_s: float
    left_s: float


@dataclass(frozen=True, kw_only=True)
class TuneReport:
    """What tuning did: losses are means over the first and last tenth of the steps of this process."""

    steps: int
    resumed_at: int
    first_loss: float | None
    last_loss: float | None
    duration_s: float


def _soft_cross_entropy(teacher_logits: Any, logits: Any, temperature: float) -> Any:
    """Mean over pixels of the cross-entropy to the teacher's softened probabilities, minus the teacher's own entropy.

    So it is the Kullback-Leibler divergence (Hinton et al. 2015, section 2), times temperature^2; zero when they agree.
    """
    target = tf.nn.softmax(teacher_logits / temperature)
    divergence = target * (tf.nn.log_softmax(teacher_logits / temperature) - tf.nn.log_softmax(logits / temperature))
    return temperature**2 * tf.reduce_mean(tf.reduce_sum(divergence, axis=-1))


def _at_size_of(logits: Any, labels: Any) -> Any:
    """Labels (N, H, W) at the logits' size: of every stride x stride block the pixel at its middle."""
    stride = labels.shape[1] // logits.shape[1]
    return labels if stride == 1 else labels[:, stride // 2 :: stride, stride // 2 :: stride]


class Tuner:
    """Tunes one quantized network in place.

    Args:
        network: its ranges set (quantization.ranges.set_ranges).
        recipe: what to do.
        label_loss: from (labels (N, H, W) integer, logits (N, H, W, C)) to a scalar, made of TensorFlow operators;
            None learns from the teacher alone, and batches may then hold None for labels.
        teacher: the float tf_keras model, whose logits are followed; None learns from labels alone.
        identity: what else a checkpoint must agree on before it is taken up (model, data, calibration).
    Raises: UsageError when there is nothing to learn from.
    """

    def __init__(
        self,
        network: QuantizedNetwork,
        recipe: TuneRecipe,
        *,
        label_loss: Callable[[Any, Any], Any] | None = None,
        teacher: Any | None = None,
        identity: str = "",
    ) -> None:
        self.network, self.recipe = network, recipe
        self._identity = repr((sorted(asdict(recipe).items()), identity))
        self.label_loss = label_loss if recipe.label_weight else None
        self.teacher = teacher if recipe.distillation else None
        if recipe.steps and self.label_loss is None and self.teacher is None:
            raise UsageError(
                "tuning has nothing to learn from", allowed="labelled pairs with label_weight > 0, or distillation > 0"
            )
        self.optimizer = tf_keras.optimizers.AdamW(
            learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay, jit_compile=False
        )
        self._variables = network.trainable_variables()
        # Biases, gammas and betas are not decayed (as in the float training).
        self.optimizer.exclude_from_weight_decay(
            var_list=[variable for variable in self._variables if len(variable.shape) == 1]
        )
        self.optimizer.build(self._variables)
        self._averages = [tf.Variable(variable, trainable=False) for variable in self._variables] if recipe.ema else []
        self.step = 0

    def _make_train_step(self, *, is_frozen: bool) -> Callable[..., Any]:
        """Traces the step of one phase. Batch norms' and switch's states are read while tracing."""
        recipe, network = self.recipe, self.network
        trained = network.trainable_variables(with_batch_norm=not is_frozen)
        trained_ids = {id(variable) for variable in trained}

        def losses(images: Any, labels: Any, logits: Any) -> Any:
            total = tf.constant(0.0)
            if self.teacher is not None:
                teacher_logits = tf.stop_gradient(self.teacher(images, training=False))
                total += recipe.distillation * _soft_cross_entropy(teacher_logits, logits, recipe.temperature)
            if self.label_loss is not None:
                total += recipe.label_weight * self.label_loss(_at_size_of(logits, labels), logits)
            return total

        def train_step(images: Any, labels: Any, rate: Any) -> Any:
            if images.dtype == tf.uint8:
                images = tf.cast(images, tf.float32) / 255.0
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(trained)
                logits = network.model(images, training=True)
                loss = losses(images, labels, logits)
            gradients = tape.gradient(loss, trained)
            if recipe.clip:
                gradients, _ = tf.clip_by_global_norm(gradients, recipe.clip)
            self.optimizer.learning_rate.assign(rate)
            self.optimizer.apply_gradients(zip(gradients, trained))
            for variable, average in zip(self._variables, self._averages):
                if id(variable) in trained_ids:
                    average.assign_sub((1.0 - recipe.ema) * (average - variable))
            return loss

        return tf.function(train_step, autograph=False, reduce_retracing=True)

    def _steps(self, batches: Iterator[Batch]) -> Iterator[tuple[float, int]]:
        """Runs step after step. Yields: the loss and the number of images."""
        recipe = self.recipe
        train_step, phase = None, None
        while self.step < recipe.steps:
            is_frozen = self.step >= recipe.frozen_from
            if is_frozen is not phase:
                self.network.freeze_batch_norm(is_frozen)
                train_step, phase = self._make_train_step(is_frozen=is_frozen), is_frozen
            try:
                images, labels = next(batches)
            except StopIteration:
                raise InputError(
                    "the training batches ended early", came=f"step {self.step}", allowed=recipe.steps
                ) from None
            if self.label_loss is not None and labels is None:
                raise UsageError("a batch has no labels", next_step="give pairs, or set label_weight to 0")
            with self.network.switch.set(FakeQuant.HOLD if is_frozen else FakeQuant.TRACK):
                targets = tf.zeros((), tf.int32) if labels is None else tf.convert_to_tensor(labels)
                assert train_step is not None
                loss = float(train_step(tf.convert_to_tensor(images), targets, tf.constant(recipe.rate_at(self.step))))
            self.step += 1
            yield loss, int(images.shape[0])

    def run(
        self,
        batches_from: BatchesFrom,
        *,
        checkpoint: Path | None = None,
        on_progress: Callable[[TuneProgress], None] | None = None,
    ) -> TuneReport:
        """Trains the steps left, then settles the network for conversion.

        Args:
            batches_from: from a step to the batches that follow it: images (N, H, W, 3), uint8 or float32 in the
                network's range, and labels (N, H, W) or None. The same step must give the same batches.
            checkpoint: where the state is kept; an existing one of the same recipe is taken up.
            on_progress: called after every step.
        Raises: InputError when the loss is not finite, or the batches end early.
        """
        recipe = self.recipe
        if checkpoint is not None and checkpoint.exists():
            self.restore(checkpoint)
        tf_keras.utils.set_random_seed(recipe.seed + self.step)
        resumed_at, started = self.step, time.perf_counter()
        losses: list[float] = []
        timed_from, timed_images = started, 0
        for loss, images in self._steps(batches_from(self.step)) if recipe.steps > self.step else ():
            if not math.isfinite(loss):
                raise InputError(
                    f"the loss is not finite at step {self.step}", came=loss, next_step="lower tune.learning_rate"
                )
            losses.append(loss)
            now = time.perf_counter()
            if len(losses) <= 2 or self.step == recipe.frozen_from + 1:  # traced in this step
                timed_from, timed_images = now, 0
            else:
                timed_images += images
            if on_progress is not None:
                rate = timed_images / (now - timed_from) if timed_images else images / (now - started)
                left_s = (recipe.steps - self.step) * images / max(rate, 1e-9)
                on_progress(
                    TuneProgress(step=self.step, steps=recipe.steps, loss=loss, images_per_s=rate, left_s=left_s)
                )
            if checkpoint is not None and self.step % recipe.checkpoint_every == 0:
                self.save(checkpoint)
        self._finish()
        tenth = max(1, len(losses) // 10)
        return TuneReport(
            steps=recipe.steps,
            resumed_at=resumed_at,
            first_loss=float(np.mean(losses[:tenth])) if losses else None,
            last_loss=float(np.mean(losses[-tenth:])) if losses else None,
            duration_s=time.perf_counter() - started,
        )

    def _finish(self) -> None:
        """Takes the averaged weights, freezes the batch norms and stores the kernels' peaks."""
        for variable, average in zip(self._variables, self._averages):
            variable.assign(average)
        self.network.freeze_batch_norm(True)
        settle_kernels(self.network)

    def save(self, path: Path) -> None:
        """Writes everything the next step depends on, replacing `path` in one step."""
        arrays = {f"network/{name}": array for name, array in network_arrays(self.network).items()}
        arrays |= {f"optimizer/{i}": variable.numpy() for i, variable in enumerate(self.optimizer.variables)}
        arrays |= {f"average/{i}": variable.numpy() for i, variable in enumerate(self._averages)}
        arrays["step"] = np.array(self.step)
        arrays["format"] = np.array(CHECKPOINT_FORMAT)
        arrays["recipe"] = np.array(self._identity)
        write_replacing(path, pack_arrays(arrays))

    def restore(self, path: Path) -> None:
        """Takes up a checkpoint. Raises InputError when it is damaged or of another recipe or network."""
        arrays = unpack_arrays(path.read_bytes(), source=str(path))
        hint = "delete it to start anew"
        if int(arrays.get("format", -1)) != CHECKPOINT_FORMAT:
            raise InputError(f"{path}: is no tuning checkpoint of this version", next_step=hint)
        if str(arrays["recipe"]) != self._identity:
            raise InputError(f"{path}: is the checkpoint of another recipe, model or data", next_step=hint)
        optimizer = list(self.optimizer.variables)
        if any(f"optimizer/{i}" not in arrays for i in range(len(optimizer))):
            raise InputError(f"{path}: its optimizer state is of another network", next_step=hint)
        assign_arrays(
            self.network,
            {name.removeprefix("network/"): array for name, array in arrays.items() if name.startswith("network/")},
            source=str(path),
        )
        for index, variable in enumerate(optimizer):
            variable.assign(arrays[f"optimizer/{index}"])
        for index, variable in enumerate(self._averages):
            variable.assign(arrays[f"average/{index}"])
        self.step = int(arrays["step"])


def repeat(batches: Iterable[Batch]) -> BatchesFrom:
    """The batches of a finite, re-iterable source over and over, as Tuner.run wants them."""

    def batches_from(step: int) -> Iterator[Batch]:
        position = 0
        while True:
            empty = True
            for batch in batches:
                empty = False
                if position >= step:
                    yield batch
                position += 1
            if empty:
                return

    return batches_from
