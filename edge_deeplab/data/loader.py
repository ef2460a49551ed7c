"""The one loader: decodes and augments in worker threads, hands out batches in a fixed order.

What a batch holds is a function of (seed, epoch, position) alone, never of thread timing, so a run that was killed can
be taken up at any batch. OpenCV lets go of the interpreter lock, so threads are enough.

    loader = PairLoader(pairs, size_hw=(192, 192), batch_size=16, recipe=AugmentRecipe(), seed=0)
    for images, labels in loader.epoch(3, first_batch=17): ...
"""

from __future__ import annotations

import dataclasses
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np

from edge_deeplab.data.pairs import LabelledPicture
from edge_deeplab.errors import DataError
from edge_deeplab.imaging.augment import AugmentRecipe, augment
from edge_deeplab.imaging.decode import read_image

PREFETCH_BATCHES = 4


class PairLoader:
    """Augmented training batches.

    Args:
        pairs: what to learn from.
        size_hw: of every sample.
        batch_size: samples a batch; the last, smaller batch of an epoch is left out.
        recipe: the augmentation.
        seed: of the order and of every sample.
        classes: labels allowed in the masks.
        backgrounds: pictures without foreground, to paste on.
        workers: threads.
        share: (which, of how many) of the equal parts of each batch is handed out, in order: for several machines that
            learn from one batch together. Order, samples and batch_size stay those of the whole.
    """

    def __init__(
        self, pairs: Sequence[LabelledPicture], *, size_hw: tuple[int, int], batch_size: int, recipe: AugmentRecipe,
        seed: int = 0, classes: int = 2, backgrounds: Sequence[Path] = (), workers: int = 2,
        share: tuple[int, int] = (0, 1),
    ) -> None:  # fmt: skip
        if len(pairs) < batch_size:
            raise DataError("too few pairs for one batch", came=len(pairs), allowed=f"at least batch_size {batch_size}")
        self.pairs, self.size_hw, self.batch_size, self.recipe = pairs, size_hw, batch_size, recipe
        self.seed, self.classes, self.backgrounds, self.workers = seed, classes, backgrounds, workers
        each = batch_size // share[1]
        self._rows = slice(share[0] * each, (share[0] + 1) * each)
        self._chance_of_background = recipe.paste + recipe.empty if backgrounds else 0.0
        # once a background was drawn, paste and empty share the whole probability: augment decides between the two
        total = self._chance_of_background or 1.0
        self._given_background = dataclasses.replace(recipe, paste=recipe.paste / total, empty=recipe.empty / total)

    @property
    def batches_per_epoch(self) -> int:
        """Whole batches in one pass over the pairs."""
        return len(self.pairs) // self.batch_size

    def sample(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Pair `index` as it appears in `epoch`: (h, w, 3) uint8 RGB and (h, w) uint8 labels."""
        rng = np.random.default_rng((self.seed, epoch, index))
        pair = self.pairs[index]
        image, labels = pair.read(classes=self.classes)
        background = None
        # what is not labelled cannot be cut out, and is there to be seen as it is
        if self.backgrounds and pair.mask_path is not None and rng.random() < self._chance_of_background:
            background = read_image(self.backgrounds[int(rng.integers(len(self.backgrounds)))])
        recipe = self._given_background if background is not None else self.recipe
        return augment(image, labels, size_hw=self.size_hw, recipe=recipe, rng=rng, background=background)

    def epoch(self, epoch: int, *, first_batch: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """The batches of one epoch in their order, from `first_batch` on.

        Yields: (N, h, w, 3) float32 in 0..1 and (N, h, w) uint8; N is batch_size, or a share of it.
        """
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.pairs))
        batches = order[: self.batches_per_epoch * self.batch_size].reshape(-1, self.batch_size)[first_batch:]
        with ThreadPoolExecutor(self.workers, thread_name_prefix="loader") as pool:
            waiting: deque[list[Future[tuple[np.ndarray, np.ndarray]]]] = deque()
            try:
                for batch in batches:
                    waiting.append([pool.submit(self.sample, epoch, int(index)) for index in batch[self._rows]])
                    if len(waiting) > PREFETCH_BATCHES:
                        yield self._collect(waiting.popleft())
                while waiting:
                    yield self._collect(waiting.popleft())
            finally:
                for future in (future for futures in waiting for future in futures):
                    future.cancel()

    @staticmethod
    def _collect(futures: list[Future[tuple[np.ndarray, np.ndarray]]]) -> tuple[np.ndarray, np.ndarray]:
        samples = [future.result() for future in futures]
        images = np.stack([image for image, _ in samples])
        return np.multiply(images, np.float32(1 / 255), dtype=np.float32), np.stack([labels for _, labels in samples])
