"""How far two runs of one model on the same samples lie apart: in steps of the output, and in what they mean.

    steps = compare_outputs(here, there)
    steps.max_steps, steps.mean_steps, steps.is_identical
    classes = compare_classes(classes_here, classes_there, person=1)

Arrays in, figures out; where the arrays came from is not known here.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edge_deeplab.errors import DataError
from edge_deeplab.evaluation.confusion import ConfusionMatrix, binary_iou

# Upper ends of the histogram's bins, in steps; the last bin holds everything above.
BIN_ENDS = (0, 1, 2, 4, 8, 16, 32)
FLOAT_STEPS = 255  # a float output has no steps of its own: its range counts as so many, as an 8-bit output's would


@dataclass(frozen=True, kw_only=True)
class StepAgreement:
    """Two raw outputs, value by value.

    Attributes:
        is_identical: whether every value has the same bits.
        step: what one step is in raw values: 1 for integers; for floats 1/255 of the range that the first side spans.
        max_steps, mean_steps: of the absolute differences; a value that only one side could compute (NaN) is infinite.
        shares: of the values that differ by no more than each of BIN_ENDS and more than the one before; the last one
            is of those above. They add up to 1.
        sample_max_steps, sample_mean_steps: the same of each sample.
    """

    is_identical: bool
    step: float
    max_steps: float
    mean_steps: float
    shares: tuple[float, ...]
    sample_max_steps: tuple[float, ...]
    sample_mean_steps: tuple[float, ...]

    @property
    def bins(self) -> tuple[tuple[str, float], ...]:
        """The histogram to show: ("3..4", share) and so on; for floats ("2 to 4", share)."""
        names = ["0"]
        for low, high in itertools.pairwise(BIN_ENDS):
            is_one = high == low + 1
            names.append((str(high) if is_one else f"{low + 1}..{high}") if self.step == 1 else f"{low} to {high}")
        return tuple(zip([*names, f"above {BIN_ENDS[-1]}"], self.shares, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, the histogram with its bins."""
        return {**dataclasses.asdict(self), "shares": dict(self.bins)}


@dataclass(frozen=True, kw_only=True)
class ClassAgreement:
    """Two series of class maps.

    Attributes:
        same_share: of all pixels, those with the same class on both sides.
        mean_iou: mean over the classes that occur, each over the pixels of all samples.
        person_iou: of the person over the pixels of all samples; None without a person class.
        sample_iou: of each sample, of the person where there is one, else the mean over its classes.
    """

    same_share: float
    mean_iou: float
    person_iou: float | None
    sample_iou: tuple[float, ...]

    @property
    def iou(self) -> float:
        """The figure to hold against a limit: the person's where there is one."""
        return self.mean_iou if self.person_iou is None else self.person_iou

    def to_dict(self) -> dict[str, Any]:
        """The fields by name, ready for JSON."""
        return dataclasses.asdict(self)


def compare_outputs(here: np.ndarray, there: np.ndarray) -> StepAgreement:
    """Compares raw outputs of one model.

    here, there: (N, ...) of one shape and dtype, integers or floats, N at least 1.
    Raises: DataError when shapes or types differ, or there is nothing to compare.
    """
    _check_alike(here, there)
    is_float = here.dtype.kind == "f"
    step = _float_step(here) if is_float else 1.0
    maxima, means, counts = [], [], np.zeros(len(BIN_ENDS) + 1, np.int64)
    for one, other in zip(here, there, strict=True):
        difference = _difference(one, other) / step
        maxima.append(float(difference.max()))
        means.append(float(difference.mean()))
        counts += np.bincount(np.searchsorted(BIN_ENDS, difference.ravel()), minlength=len(counts))
    return StepAgreement(
        is_identical=here.tobytes() == there.tobytes(),
        step=step,
        max_steps=max(maxima),
        mean_steps=float(np.mean(means)),
        shares=tuple((counts / counts.sum()).tolist()),
        sample_max_steps=tuple(maxima),
        sample_mean_steps=tuple(means),
    )


def compare_classes(
    here: Sequence[np.ndarray], there: Sequence[np.ndarray], *, classes: int, person: int | None
) -> ClassAgreement:
    """Compares class maps.

    here, there: as many (h, w) integer maps, 0..classes-1. person: its class, None where there is none.
    Raises: DataError when a map's shape or a value does not fit.
    """
    total = ConfusionMatrix(max(classes, 2), ignore=None)
    samples = []
    for one, other in zip(here, there, strict=True):
        matrix = ConfusionMatrix(max(classes, 2), ignore=None)
        matrix.update(other, one)
        total.counts += matrix.counts
        samples.append(matrix.mean_iou() if person is None else binary_iou(other == person, one == person))
    iou = total.iou()
    return ClassAgreement(
        same_share=total.pixel_accuracy(),
        mean_iou=total.mean_iou(),
        person_iou=None if person is None else 1.0 if np.isnan(iou[person]) else float(iou[person]),
        sample_iou=tuple(samples),
    )


def _check_alike(here: np.ndarray, there: np.ndarray) -> None:
    if here.shape != there.shape or here.dtype != there.dtype:
        raise DataError(
            "the two sides gave different kinds of output", came=f"{there.dtype} {there.shape}",
            allowed=f"{here.dtype} {here.shape}",
        )  # fmt: skip
    if not here.size:
        raise DataError("nothing to compare", came=f"{here.dtype} {here.shape}")


def _float_step(values: np.ndarray) -> float:
    finite = values[np.isfinite(values)]
    span = float(finite.max() - finite.min()) if finite.size else 0.0
    return span / FLOAT_STEPS if span > 0 else 1.0


def _difference(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    if one.dtype.kind != "f":
        return np.abs(one.astype(np.int64) - other.astype(np.int64)).astype(np.float64)
    with np.errstate(invalid="ignore"):
        difference = np.abs(one.astype(np.float64) - other.astype(np.float64))
    is_same = (one == other) | (np.isnan(one) & np.isnan(other))  # infinities alike have no difference either
    return np.where(is_same, 0.0, np.where(np.isnan(difference), np.inf, difference))
