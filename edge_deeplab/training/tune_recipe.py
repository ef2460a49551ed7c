"""What `edge-deeplab tune` is asked for. Needs no TensorFlow.

run = load_recipe(Path("tune.toml"), TuneRun, variables={"DATA": data})
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from edge_deeplab.calibration.calibrators import METAVAR, MIN_MAX, Calibrator
from edge_deeplab.data.catalogue import SPEC
from edge_deeplab.errors import RecipeError, UsageError
from edge_deeplab.imaging.augment import AugmentRecipe
from edge_deeplab.recipe import check, setting
from edge_deeplab.training.losses import LossRecipe


@dataclass(frozen=True, kw_only=True)
class TuneRecipe:
    """The [tune] table of a recipe: what tuning is asked to do after the ranges are set."""

    steps: int = setting(1000, low=0, help="training steps; 0 sets the ranges and trains nothing")
    calibrator: str = setting(MIN_MAX, help=f"how ranges follow from the samples: {METAVAR}")
    batch_size: int = setting(16, low=1, help="samples a step")
    learning_rate: float = setting(2e-4, low=1e-8, high=1.0, help="AdamW's highest rate, falling along a cosine")
    warm_up: float = setting(0.05, low=0.0, high=1.0, help="share of the steps in which the rate rises")
    weight_decay: float = setting(1e-5, low=0.0, help="AdamW's decoupled decay")
    # Measured, MobileNetV2 0.5 at 192 x 192, 100 steps, 80 portraits of the validation set: 0 and 0.5 gave person IoU
    # 0.9147 and 0.9146 (float before tuning 0.9102), and 0 is faster. An image-pooling batch norm sees one value per
    # picture, so live ones need large batches.
    live_batch_norm: float = setting(
        0.0, low=0.0, high=1.0, help="share of the steps before batch norms and ranges are frozen"
    )
    distillation: float = setting(1.0, low=0.0, help="weight of the cross-entropy to the float model's probabilities")
    temperature: float = setting(1.0, low=0.1, high=20.0, help="softens both sides of the distillation")
    label_weight: float = setting(1.0, low=0.0, help="weight of the loss to the labels")
    ema: float = setting(0.0, low=0.0, high=0.99999, help="decay of an average of the weights; 0 keeps the last ones")
    clip: float = setting(1.0, low=0.0, help="largest global gradient norm; 0 does not clip")
    seed: int = setting(0, low=0, help="of the data's order and of dropout")
    checkpoint_every: int = setting(100, low=1, help="steps between checkpoints")

    def __post_init__(self) -> None:
        check(self)
        try:
            Calibrator.parse(self.calibrator)
        except UsageError as error:
            raise RecipeError(f"calibrator: {error.what}", came=error.came, allowed=error.allowed) from error

    @property
    def frozen_from(self) -> int:
        """The first step with frozen batch norms and ranges."""
        return round(self.steps * self.live_batch_norm)

    def rate_at(self, step: int) -> float:
        """The learning rate of a step: linear warm-up, then half a cosine to zero (Loshchilov and Hutter 2017)."""
        rising = max(1, round(self.steps * self.warm_up))
        if step < rising:
            return self.learning_rate * (step + 1) / rising
        done = (step - rising) / max(1, self.steps - rising)
        return self.learning_rate * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


@dataclass(frozen=True, kw_only=True)
class TuneData:
    """The [data] table of a tuning recipe."""

    train: tuple[str, ...] = setting((), help=f"data sets, each {SPEC}; or folders of pictures alone, for distillation")
    backgrounds: Path | None = setting(None, help="folder of pictures without foreground, to paste on")
    workers: int = setting(2, low=1, high=64, help="threads that decode and augment")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class TuneRun:
    """A tuning recipe: every table `edge-deeplab tune` reads."""

    data: TuneData = TuneData()
    tune: TuneRecipe = TuneRecipe()
    loss: LossRecipe = LossRecipe()
    augment: AugmentRecipe = AugmentRecipe()
