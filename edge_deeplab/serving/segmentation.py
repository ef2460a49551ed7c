"""What a model says of one picture: labels, probabilities, matte and overlay, all at the picture's own size.

    result = segmentation_of(model, image)
    result.labels, result.names, result.overlay()

The maps are kept as the model gave them and enlarged when they are asked for.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np

from edge_deeplab.compositing.options import OverlayOptions
from edge_deeplab.compositing.overlay import ClassOverlay
from edge_deeplab.errors import InputError, ModelError
from edge_deeplab.imaging.resize import Placement, fit_image
from edge_deeplab.serving.answers import class_indices
from edge_deeplab.serving.buckets import choose_size
from edge_deeplab.serving.models import BatchModel


@dataclass(frozen=True, eq=False)
class Segmentation:
    """One picture and its classes.

    Attributes:
        image: (H, W, 3) uint8, RGB, upright.
        names: one per class, in the order of the indices in labels.
        maps: (h, w, classes) float32 over the model's whole input, padding included.
        placement: where the picture lies in it.
        person_class: the index of the person among names; None where there is none.
    """

    image: np.ndarray
    names: tuple[str, ...]
    maps: np.ndarray
    placement: Placement
    person_class: int | None

    @cached_property
    def labels(self) -> np.ndarray:
        """The most probable class of each pixel, (H, W) uint8 (uint16 above 256 classes)."""
        return class_indices(self.maps, self.placement, "picture")

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The probability of every class, (H, W, classes) float32 in 0..1: four bytes a pixel and class."""
        return self.placement.restore(self.maps)

    @cached_property
    def matte(self) -> np.ndarray:
        """The probability of the person, (H, W) float32 in 0..1. Raises ModelError for a model without a person."""
        if self.person_class is None:
            raise ModelError("the model knows no person", came=f"classes {', '.join(self.names)}")
        return self.placement.restore(np.ascontiguousarray(self.maps[..., self.person_class]))

    @property
    def shares(self) -> dict[str, float]:
        """How much of the picture each class that is seen covers, 0..1, by name, largest first."""
        counts = np.bincount(self.labels.reshape(-1), minlength=len(self.names))
        order = [index for index in np.argsort(-counts, kind="stable") if counts[index]]
        return {self.names[index]: float(counts[index] / self.labels.size) for index in order}

    def overlay(self, *, opacity: float = 0.55, legend: bool = True) -> np.ndarray:
        """The picture with its classes in colour over it, and their names. Returns: (H, W, 3) uint8, RGB."""
        drawing = ClassOverlay(self.names, OverlayOptions(opacity=opacity, shows_legend=legend))
        drawn = drawing.draw(cv2.cvtColor(self.image, cv2.COLOR_RGB2BGR), self.labels)
        return np.asarray(cv2.cvtColor(drawn, cv2.COLOR_BGR2RGB))

    def __repr__(self) -> str:
        seen = ", ".join(f"{name} {share:.0%}" for name, share in self.shares.items())
        return f"Segmentation({self.image.shape[1]}x{self.image.shape[0]}: {seen})"


def segmentation_of(model: BatchModel, image: np.ndarray) -> Segmentation:
    """Segments one picture. image: (H, W, 3) uint8, RGB. Raises InputError for another array."""
    fitted, placement = fit_for(model, image)
    return _made(model, image, model.predict(fitted[np.newaxis])[0], placement)


def segmentations_of(model: BatchModel, images: list[np.ndarray]) -> list[Segmentation]:
    """Segments pictures, those that go to one input size of the model as one batch. Returns: in their order."""
    fitted = [fit_for(model, image) for image in images]
    results: dict[int, Segmentation] = {}
    for size_hw in {placement.target_hw for _, placement in fitted}:
        members = [index for index, (_, placement) in enumerate(fitted) if placement.target_hw == size_hw]
        maps = model.predict(np.stack([fitted[index][0] for index in members]))
        for index, one in zip(members, maps, strict=True):
            results[index] = _made(model, images[index], one, fitted[index][1])
    return [results[index] for index in range(len(images))]


def fit_for(model: BatchModel, image: np.ndarray) -> tuple[np.ndarray, Placement]:
    """A picture at the input size of the model that suits it best, and where it lies there."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
        raise InputError(
            "the picture does not fit", came=f"{image.dtype} {image.shape}", allowed="uint8 (H, W, 3), RGB"
        )
    size_hw = choose_size((image.shape[0], image.shape[1]), model.sizes_hw)
    fitted, placement = fit_image(image, size_hw, model.manifest.fit, align=model.align)
    return np.ascontiguousarray(fitted), placement


def _made(model: BatchModel, image: np.ndarray, maps: np.ndarray, placement: Placement) -> Segmentation:
    manifest = model.manifest
    return Segmentation(image, tuple(manifest.labels), maps, placement, manifest.person_class)
