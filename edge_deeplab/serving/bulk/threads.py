"""Mass segmentation on threads of this process: the engine where Ray is not asked for.

    for outcomes in run_threads(batches, open_worker, workers=4): ...

LiteRT, TensorFlow and OpenCV leave Python's lock while they compute. A .tflite is opened once a thread, each on one
processor; a model that takes all processors is opened once, and one thread has it while others read and write.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import numpy as np

from edge_deeplab.serving.bulk.journal import Item, Outcome
from edge_deeplab.serving.bulk.worker import PictureWorker
from edge_deeplab.serving.models import BatchModel

WAITING_BATCHES = 2  # a worker, so that none waits for the journal


class SharedModel:
    """A model that several threads use in turns; a BatchModel."""

    beside = 1

    def __init__(self, model: BatchModel) -> None:
        self._model, self._turn = model, threading.Lock()
        self.kind, self.manifest = model.kind, model.manifest
        self.sizes_hw, self.align = model.sizes_hw, model.align

    def predict(self, images: np.ndarray) -> np.ndarray:
        """As BatchModel.predict, when the turn comes."""
        with self._turn:
            return self._model.predict(images)

    def close(self) -> None:
        """As BatchModel.close."""
        self._model.close()


def run_threads(
    batches: Iterator[list[Item]], open_worker: Callable[[], PictureWorker], *, workers: int
) -> Iterator[list[Outcome]]:
    """Yields what came of every batch, in the order they are done. An error of a worker ends it, and is raised.

    open_worker: called once in each thread.
    """
    own = threading.local()

    def do(items: list[Item]) -> list[Outcome]:
        worker = getattr(own, "worker", None)
        if worker is None:
            worker = own.worker = open_worker()
        return worker.run(items)

    running: set[Future[list[Outcome]]] = set()
    pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="segment")
    try:
        for items in batches:
            running.add(pool.submit(do, items))
            if len(running) >= workers * WAITING_BATCHES:
                done, running = wait(running, return_when=FIRST_COMPLETED)
                yield from (future.result() for future in done)
        while running:
            done, running = wait(running, return_when=FIRST_COMPLETED)
            yield from (future.result() for future in done)
    finally:
        pool.shutdown(cancel_futures=True)
