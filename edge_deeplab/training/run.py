"""What `edge-deeplab train` is asked for: every table of a training recipe. Needs no Keras.

run = load_recipe(Path("portrait.toml"), TrainRun, variables={"DATA": data})
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from edge_deeplab.data.catalogue import CATALOGUE, SPEC
from edge_deeplab.errors import RecipeError
from edge_deeplab.imaging.augment import AugmentRecipe
from edge_deeplab.labels import PORTRAIT
from edge_deeplab.models.deeplab import DeepLabConfig
from edge_deeplab.recipe import check, dump_recipe, setting
from edge_deeplab.training.losses import LossRecipe, TeacherRecipe
from edge_deeplab.training.precision import Precision


@dataclass(frozen=True, kw_only=True)
class TrainData:
    """The [data] table."""

    train: tuple[str, ...] = setting(help=f"data sets to learn from, each {SPEC}; see data/catalogue.py")
    validation: tuple[str, ...] = setting(help=f"data sets that choose the best epoch, each {SPEC}")
    validation_limit: int | None = setting(
        None, low=1, help="pairs of each of them, evenly spread; they are held in memory"
    )
    backgrounds: Path | None = setting(None, help="folder of pictures without foreground, to paste on")
    unlabelled: tuple[Path, ...] = setting((), help="folders of pictures without masks, learnt from the teacher alone")
    terms: str = setting("", help="under which terms the pictures stand; goes into the manifest")
    workers: int = setting(2, low=1, high=64, help="threads that decode and augment")

    def __post_init__(self) -> None:
        check(self)
        for name in ("train", "validation"):
            if not getattr(self, name):
                raise RecipeError(f"data.{name}: names no data set", allowed=f"one or more of {SPEC}")


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One of the [[stages]]: epochs at one input size. Small first, large last: half the time of large alone."""

    size_hw: tuple[int, int] = setting(help="height and width, multiples of the output stride")
    epochs: int = setting(low=1, help="passes over the training pairs")
    batch_size: int = setting(16, low=1, help="samples a step")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class OptimizerRecipe:
    """The [optimizer] table: AdamW (Loshchilov and Hutter 2019), linear warm-up, half a cosine over all stages."""

    learning_rate: float = setting(4e-3, low=1e-8, high=1, help="the highest rate")
    backbone_share: float = setting(
        1.0, low=0, high=1, help="of the rate, for the backbone: below 1 more of what its start knows is kept"
    )
    warm_up: float = setting(0.03, low=0, high=0.9, help="share of all steps in which the rate rises")
    weight_decay: float = setting(1e-3, low=0, help="decoupled decay of kernels")
    clip: float = setting(1.0, low=0, help="largest global gradient norm; 0 does not clip")
    ema: float = setting(0.998, low=0, high=0.99999, help="decay of the weights' average, which is kept; 0 for none")

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class StartRecipe:
    """The [start] table: where the weights begin."""

    backbone: Path | None = setting(
        None,
        help="weights of a backbone: a .tflite, a TensorFlow 1 frozen graph or checkpoint, a keras.applications file",
    )
    model: Path | None = setting(None, help="a .keras file of ours with the same network, to go on from")

    def __post_init__(self) -> None:
        check(self)
        if self.backbone and self.model:
            raise RecipeError("start: backbone and model are both given", allowed="one of them")


@dataclass(frozen=True, kw_only=True)
class ComputeRecipe:
    """The [compute] table: what of a machine is used. A training may go on with another, on another machine."""

    devices: int = setting(
        1, low=0, help="devices of each machine that share every batch, GPUs where there are some; 0 takes all"
    )
    precision: Precision = setting(
        "float32",
        help="of products; bfloat16 pays where hardware has it: NVIDIA's GPUs from Ampere on, AVX512-BF16",
    )

    def __post_init__(self) -> None:
        check(self)


@dataclass(frozen=True, kw_only=True)
class TrainRun:
    """A training recipe."""

    name: str = setting(help="what the model is called")
    stages: tuple[Stage, ...] = setting(help="input sizes and epochs, in order")
    data: TrainData = setting(help="pictures")
    labels: tuple[str, ...] = setting(
        PORTRAIT, help='one name for each class, or the name of a data set alone for its classes, as in ["camvid"]'
    )
    seed: int = setting(0, low=0, help="of weights, order and augmentation")
    score_every: int = setting(1, low=1, help="epochs between scores on the validation sets; a stage's last is scored")
    checkpoint_every: int = setting(200, low=1, help="steps between checkpoints; one more after every epoch")
    model: DeepLabConfig = setting(DeepLabConfig(), help="the network")
    augment: AugmentRecipe = setting(AugmentRecipe(), help="augmentation")
    loss: LossRecipe = setting(LossRecipe(), help="loss")
    optimizer: OptimizerRecipe = setting(OptimizerRecipe(), help="optimizer")
    start: StartRecipe = setting(StartRecipe(), help="starting weights")
    teacher: TeacherRecipe = setting(TeacherRecipe(), help="a network to learn from")
    compute: ComputeRecipe = setting(ComputeRecipe(), help="what of a machine is used")

    def __post_init__(self) -> None:
        check(self)
        if len(self.labels) == 1 and self.labels[0] in CATALOGUE:
            object.__setattr__(self, "labels", CATALOGUE[self.labels[0]].labels)
        if not self.stages:
            raise RecipeError("stages: there is none", allowed="one or more [[stages]] with size_hw and epochs")
        if len(self.labels) != self.model.classes:
            raise RecipeError("labels: one name for each class", came=len(self.labels), allowed=self.model.classes)
        if self.loss.class_weights and len(self.loss.class_weights) != self.model.classes:
            raise RecipeError("loss.class_weights: one for each class", came=len(self.loss.class_weights),
                              allowed=self.model.classes)  # fmt: skip
        if self.data.unlabelled and self.teacher.model is None:
            raise RecipeError("data.unlabelled: nothing to learn there", allowed="with a [teacher] model")
        for stage in self.stages:
            self.model.replace(size_hw=stage.size_hw)

    @property
    def without_compute(self) -> str:
        """The recipe as TOML, but for what it runs on: what two trainings must agree on to be one."""
        text = dump_recipe(self)
        return text[: text.index("\n[compute]")]

    @property
    def final_size_hw(self) -> tuple[int, int]:
        """The input size of the last stage: the model's."""
        return self.stages[-1].size_hw

    def is_scored(self, epoch: int) -> bool:
        """Whether an epoch, from 0, is one of every score_every, or a stage's last."""
        return (epoch + 1) % self.score_every == 0 or epoch + 1 in accumulate(stage.epochs for stage in self.stages)
