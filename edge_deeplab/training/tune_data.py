"""The augmented batches that tuning learns from.

batches_from = tuning_batches(run, size_hw=(256, 256), classes=2)
for images, labels in batches_from(step): ...
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.data.catalogue import open_data, recognise
from edge_deeplab.data.loader import PairLoader
from edge_deeplab.data.pairs import LabelledPicture, Pair, list_images
from edge_deeplab.errors import DataError, UsageError
from edge_deeplab.imaging.decode import read_image
from edge_deeplab.training.tune_recipe import TuneRun


class Picture(Pair):
    """A picture without a mask, for learning from the teacher alone."""

    def read(self, *, classes: int = 2) -> tuple[np.ndarray, np.ndarray]:
        """The picture, and labels that nobody may learn from: all 0."""
        del classes
        image = read_image(self.image_path)
        return image, np.zeros(image.shape[:2], np.uint8)


def read_pairs(
    data: tuple[str, ...], *, labels_needed: bool, classes: int | None = None
) -> tuple[LabelledPicture, ...]:
    """The pairs of several data sets in their order; pictures alone where no label is needed and a folder is no set.

    classes: of the model, where it is known already.
    Raises: DataError as open_data, and for labels that are needed of a set with another number of classes.
    """
    found: list[LabelledPicture] = []
    for text in data:
        root = Path(text)
        if not labels_needed and root.is_dir() and not recognise(root):
            pictures = list_images(root / "images" if (root / "images").is_dir() else root)
            found += [Picture(path.stem, path, path) for path in pictures]
        else:
            opened = open_data(text, role="train")
            if labels_needed and classes is not None and len(opened.labels or range(classes)) != classes:
                raise DataError(
                    f"{text}: {opened.data_set.name} has {len(opened.labels)} classes", came=f"{classes} of the model",
                    next_step="set tune.label_weight=0 to learn from the float model alone",
                )  # fmt: skip
            found += opened.pairs
    return tuple(found)


def tuning_batches(
    run: TuneRun, *, size_hw: tuple[int, int], classes: int
) -> Callable[[int], Iterator[tuple[Any, Any]]]:
    """The augmented batches of a run, from any step on; the same step gives the same batch.

    Raises: UsageError when no data was named, DataError as the folders' readers.
    """
    if not run.data.train:
        raise UsageError("tuning needs pictures to learn from", next_step="give --data FOLDER, or --steps 0")
    labels_needed = run.tune.label_weight > 0
    pairs = read_pairs(run.data.train, labels_needed=labels_needed, classes=classes)
    loader = PairLoader(
        pairs, size_hw=size_hw, batch_size=run.tune.batch_size,
        recipe=run.augment, seed=run.tune.seed, classes=classes, workers=run.data.workers,
        backgrounds=list_images(run.data.backgrounds) if run.data.backgrounds else (),
    )  # fmt: skip

    def batches_from(step: int) -> Iterator[tuple[Any, Any]]:
        epoch, first = divmod(step, loader.batches_per_epoch)
        while True:
            for images, labels in loader.epoch(epoch, first_batch=first):
                yield images, labels if labels_needed else None
            epoch, first = epoch + 1, 0

    return batches_from
