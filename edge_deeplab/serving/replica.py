"""One copy of the model behind the front: decodes, gathers batches by size, runs them, encodes. Deployed by Ray Serve.

Decoding and encoding run beside the model, and outside the front: a picture that kills its decoder costs a replica,
which Ray starts anew, and no connection.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from edge_deeplab.errors import EdgeDeepLabError, InputError, UsageError
from edge_deeplab.imaging.decode import decode_image
from edge_deeplab.imaging.resize import Placement, fit_image
from edge_deeplab.manifest import Manifest
from edge_deeplab.serving.answers import Ask, class_indices, encode_answer
from edge_deeplab.serving.buckets import choose_size
from edge_deeplab.serving.model_file import unpack_model
from edge_deeplab.serving.models import open_batch_model

PICTURE_NAME = "the picture"


@dataclass(frozen=True, kw_only=True)
class ReplicaSettings:
    """What a replica needs to know.

    Attributes:
        model: its path; where another machine lacks it, fetch_model gives it, packed by model_file.
        fetch_model: asked where the path is not there.
    """

    model: str
    threads: int | None
    sizes_hw: tuple[tuple[int, int], ...]
    max_batch: int
    batch_wait_s: float
    max_pixels: int
    manifest: Manifest | None = None
    fetch_model: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Answer:
    """What came of a picture.

    Attributes:
        body: encoded as asked; media_type says how.
        size_hw: the input size it went through.
        batch: how many pictures shared the run.
        stage_ms: "decode", "wait" (for the batch and the model), "model", "encode"; milliseconds.
        replica: the process that did it.
    """

    body: bytes
    media_type: str
    size_hw: tuple[int, int]
    batch: int
    stage_ms: dict[str, float] = field(hash=False)
    replica: int = 0


@dataclass(frozen=True)
class Refusal:
    """Why nothing came of a picture: an HTTP status of 4xx and one line."""

    status: int
    reason: str


@dataclass(frozen=True)
class ModelFacts:
    """What the front tells of the model. labels in the order of the classes; person_class None without a person."""

    name: str
    kind: str
    labels: tuple[str, ...]
    person_class: int | None
    sizes_hw: tuple[tuple[int, int], ...]
    fit: str
    align: int


class SegmentReplica:
    """The deployment. An error of ours while it starts is kept and told by `facts`, because Ray would try again.

    Args:
        settings: what it needs to know.
    """

    def __init__(self, settings: ReplicaSettings) -> None:
        self._settings = settings
        self._work = ThreadPoolExecutor(max_workers=max(2, os.cpu_count() or 1), thread_name_prefix="pictures")
        self._engine = ThreadPoolExecutor(max_workers=1, thread_name_prefix="model")
        self._batches: dict[tuple[int, int], Any] = {}
        self._running = 0
        self._room = asyncio.Event()
        self._room.set()
        cv2.setNumThreads(1)  # pictures run beside one another already, and the model wants the processors
        self._failure: EdgeDeepLabError | None = None
        try:
            # in the thread that will run it: LiteRT and TensorFlow keep state per thread
            self._model = self._engine.submit(self._open).result()
        except EdgeDeepLabError as error:
            self._failure = error
            return
        if self._beside > 1:
            self._engine = ThreadPoolExecutor(max_workers=self._beside, thread_name_prefix="model")
        for size in self._model.sizes_hw:
            self._batches[size] = self._gather()

    def _open(self) -> Any:
        settings = self._settings
        path = Path(settings.model)
        if settings.fetch_model is not None and not path.exists():
            path = unpack_model(settings.fetch_model(), path.name)
        return open_batch_model(
            path, threads=settings.threads or os.cpu_count() or 1, sizes_hw=settings.sizes_hw,
            max_batch=settings.max_batch, manifest=settings.manifest,
        )  # fmt: skip

    @property
    def _beside(self) -> int:
        """How many batches run at once; --max-batch 1 is one picture at a time."""
        return min(self._model.beside, self._settings.max_batch)

    def _gather(self) -> Any:
        """A function for one picture of a size that shares a run of the model with others of that size.

        One queue a size. What comes while the model is busy waits outside it and goes together when it has room.
        """
        from ray import serve

        @serve.batch(
            max_batch_size=self._settings.max_batch, batch_wait_timeout_s=self._settings.batch_wait_s,
            max_concurrent_batches=self._beside,
        )  # fmt: skip
        async def run(images: list[np.ndarray]) -> list[tuple[np.ndarray, int, float]]:
            loop = asyncio.get_running_loop()
            self._running += 1
            if self._running >= self._beside:
                self._room.clear()
            try:
                maps, model_ms = await loop.run_in_executor(self._engine, self._timed, np.stack(images))
            finally:
                self._running -= 1
                if self._running < self._beside:
                    self._room.set()
            return [(one, len(images), model_ms) for one in maps]

        return run

    def _timed(self, images: np.ndarray) -> tuple[np.ndarray, float]:
        start = time.perf_counter_ns()
        return self._model.predict(images), (time.perf_counter_ns() - start) / 1e6

    async def facts(self) -> ModelFacts | str:
        """What the model is, or the one line of why it cannot be served."""
        if self._failure is not None:
            return str(self._failure)
        model = self._model
        return ModelFacts(
            model.manifest.name, model.kind, tuple(model.manifest.labels), model.manifest.person_class,
            tuple(model.sizes_hw), model.manifest.fit, model.align,
        )  # fmt: skip

    async def segment(self, data: bytes, ask: Ask) -> Answer | Refusal:
        """One picture. data: a JPEG, PNG or WebP file."""
        loop = asyncio.get_running_loop()
        start = time.perf_counter_ns()
        try:
            fitted, placement = await loop.run_in_executor(self._work, self._read, data)
            decoded = time.perf_counter_ns()
            size_hw = placement.target_hw
            probabilities, batch, model_ms = await self._gathered(fitted, size_hw)
            came = time.perf_counter_ns()
            manifest = self._model.manifest
            body, media_type = await loop.run_in_executor(
                self._work, encode_answer, ask, probabilities, placement, manifest.labels, manifest.person_class
            )
        except (UsageError, InputError) as error:
            return Refusal(422, str(error))
        stage_ms = {
            "decode": (decoded - start) / 1e6,
            "wait": (came - decoded) / 1e6 - model_ms,
            "model": model_ms,
            "encode": (time.perf_counter_ns() - came) / 1e6,
        }
        return Answer(body, media_type, size_hw, batch, stage_ms, os.getpid())

    async def segment_frame(self, fitted: np.ndarray, placement: Placement, answer: str) -> np.ndarray:
        """One frame of a video, brought to an input size by who sends it.

        fitted: (H, W, 3) uint8, RGB. answer: "labels" or "matte".
        Returns: (h, w) uint8 over the picture alone: class indices, or the person in 0..255.
        """
        probabilities, _, _ = await self._gathered(fitted, placement.target_hw)
        if answer == "matte":
            person: np.ndarray = placement.crop(probabilities[..., self._model.manifest.person_class])
            return np.rint(person * 255).astype(np.uint8)
        return class_indices(probabilities, placement, "model")

    async def _gathered(self, fitted: np.ndarray, size_hw: tuple[int, int]) -> tuple[np.ndarray, int, float]:
        """Probabilities, the size of the batch, and the milliseconds that it took."""
        while not self._room.is_set():
            await self._room.wait()
        shared: tuple[np.ndarray, int, float] = await self._batches[size_hw](fitted)
        return shared

    def _read(self, data: bytes) -> tuple[np.ndarray, Placement]:
        image = decode_image(data, name=PICTURE_NAME, max_pixels=self._settings.max_pixels)
        height, width = image.shape[:2]
        if height * width > self._settings.max_pixels:  # a format whose header was not read
            raise InputError(f"{PICTURE_NAME}: is too large", came=f"{width} x {height}")
        size_hw = choose_size((height, width), self._model.sizes_hw)
        fitted, placement = fit_image(image, size_hw, self._model.manifest.fit, align=self._model.align)
        return np.ascontiguousarray(fitted), placement
