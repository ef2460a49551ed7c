"""A trained network of ours, asked what it sees in the very pictures a smaller one learns from.

teacher = Teacher(K, TeacherRecipe(model=Path("teacher.keras")), size_hw=(192, 192), classes=2)
targets = teacher.targets(images, labels)
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np

from edge_deeplab.errors import RecipeError
from edge_deeplab.models.store import rebuild
from edge_deeplab.training.losses import TeacherRecipe


class Teacher:
    """A frozen network at the student's input size.

    Args:
        K: Keras 3.
        recipe: with a model.
        size_hw: of the student's input; the teacher is built anew at it.
        classes: of the student.

    Attributes:
        source: for the manifest: file name and digest.
    """

    def __init__(self, K: Any, recipe: TeacherRecipe, *, size_hw: tuple[int, int], classes: int) -> None:
        assert recipe.model is not None, "a teacher has a model"
        self._network, manifest = rebuild(recipe.model, K, size_hw=size_hw)
        if len(manifest.labels) != classes or manifest.activation != "softmax":
            raise RecipeError(
                f"{recipe.model}: does not teach this network", came=f"{manifest.activation} of {len(manifest.labels)}",
                allowed=f"logits of {classes} classes",
            )  # fmt: skip
        if (manifest.input_range, set(manifest.mean), set(manifest.std)) != ((0.0, 1.0), {0.0}, {1.0}):
            raise RecipeError(
                f"{recipe.model}: takes other pixels than networks trained here",
                came=manifest.input_range,
                allowed="0..1",
            )
        self._ops, self._size_hw, self._temperature = K.ops, size_hw, recipe.temperature
        self.source = f"{recipe.model.name} sha256 {hashlib.sha256(recipe.model.read_bytes()).hexdigest()}"

    def targets(self, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Labels and guesses as losses.distillation_loss takes them.

        Args:
            images: (N, h, w, 3) float32 in 0..1.
            labels: (N, h, w) uint8.
        Returns: (N, h, w, 1 + classes) float32.
        """
        logits = self._network.predict_on_batch(images)
        if logits.shape[1:3] != self._size_hw:
            logits = self._ops.image.resize(logits, self._size_hw, interpolation="bilinear")
        guess = self._ops.convert_to_numpy(self._ops.softmax(logits / self._temperature, axis=-1))
        return np.concatenate([labels[..., np.newaxis].astype(np.float32), guess], axis=-1)
