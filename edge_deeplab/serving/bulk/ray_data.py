"""Mass segmentation on Ray Data: worker processes here, or on the machines of a cluster.

    for outcomes in run_ray(shards, settings, address="auto", workers=32): ...

Ray Data reads the lists of what is to do block by block, hands them to a pool of workers that hold the model, starts a
worker anew that died and gives its pictures to another. A picture may so be done twice, under the same name; all
machines must see the pictures and the output folder under the same paths.
"""

from __future__ import annotations

import json
import logging
import os
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_deeplab.errors import DeviceError, EdgeDeepLabError, MissingExtraError, ModelError
from edge_deeplab.manifest import Manifest
from edge_deeplab.serving.bulk.journal import Item, Outcome
from edge_deeplab.serving.bulk.worker import PictureWorker
from edge_deeplab.serving.model_file import unpack_model
from edge_deeplab.serving.models import open_batch_model
from edge_deeplab.serving.options import ServeOptions
from edge_deeplab.serving.ray_host import EXTRA, RayHost, held_stdout

BLOCKS_A_WORKER = 4
SHARD = 256
"""Pictures in one block: what a worker that dies may have to do again, and what Ray reads at a time."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """What a worker on another machine needs to know; as PictureWorker and open_batch_model."""

    model: str
    folder: str
    kinds: tuple[str, ...]
    max_pixels: int
    batch: int
    threads: int
    manifest: Manifest | None


def require_ray_data() -> None:
    """Raises MissingExtraError where Ray, or what Ray Data needs of it, is not installed; imports none."""
    import importlib.util

    for package in ("ray", "pyarrow", "pandas"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, extra=EXTRA, purpose="segmenting on Ray")


class RayWorker:
    """A PictureWorker as Ray Data calls it: a batch of lines in, a batch of outcomes out. See `worker_class`.

    Attributes:
        settings: what it does.
        fetch_model: gives the packed model where its path is not there; None where all share a disk.
    """

    settings: WorkerSettings
    fetch_model: Callable[[], bytes] | None

    def __init__(self) -> None:
        self._refusal = ""
        settings, path = self.settings, Path(self.settings.model)
        fetch = type(self).fetch_model
        try:
            if fetch is not None and not path.exists():
                path = unpack_model(fetch(), path.name)
            model = open_batch_model(
                path, threads=settings.threads, max_batch=settings.batch, manifest=settings.manifest
            )
        except EdgeDeepLabError as error:  # raised here, Ray would start this worker again and again
            self._refusal = str(error)
            return
        self._worker = PictureWorker(
            model, folder=Path(settings.folder), kinds=settings.kinds, max_pixels=settings.max_pixels
        )

    def __call__(self, batch: dict[str, np.ndarray]) -> dict[str, Any]:
        """batch: "text", lines as Journal.write_shards writes them. Returns: the fields of Outcome as columns."""
        items = [Item(*json.loads(line)) for line in batch["text"]]
        if self._refusal:
            outcomes = [Outcome(item.number, self._refusal, is_fatal=True) for item in items]
        else:
            outcomes = self._worker.run(items)
        return {name: [getattr(outcome, name) for outcome in outcomes] for name in Outcome._fields}


def worker_class(settings: WorkerSettings, fetch_model: Callable[[], bytes] | None) -> type[RayWorker]:
    """A RayWorker that knows what to do. Arguments of its constructor would lie in Ray's object store, and a worker
    that is started anew would not find them when their machine is gone (ray-project/ray issue 53727).
    """
    return type("RayWorker", (RayWorker,), {"settings": settings, "fetch_model": fetch_model})


def shard_size(waiting: int, *, workers: int, batch: int) -> int:
    """How many pictures go into a block: SHARD, or fewer so that every worker gets some."""
    return max(batch, min(SHARD, -(-waiting // (BLOCKS_A_WORKER * workers))))


def run_ray(
    shards: list[Path], settings: WorkerSettings, *, address: str | None, workers: int
) -> Iterator[list[Outcome]]:
    """Yields outcomes as they come.

    shards: files of JSON lines, at the same path on every machine.
    Raises: MissingExtraError; DeviceError when Ray does not start, or the cluster is gone; ModelError.
    """
    require_ray_data()
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # it tells stderr of Ray Data's own ways with its actors
    with RayHost(ServeOptions(address=address, replicas=workers)) as host, held_stdout():
        import ray
        import ray.data

        _quieten(ray)
        fetch = host.box(Path(settings.model))
        try:
            most = min(workers, len(shards))
            pool = most if host.is_ours else (1, most)  # of a cluster, as many as it has processors for
            # a cluster whose processors the workers all hold must still read, or nothing would ever go on
            lines = ray.data.read_text([str(path) for path in shards], override_num_blocks=len(shards), num_cpus=0)
            done = lines.map_batches(
                worker_class(settings, fetch), concurrency=pool, batch_size=settings.batch,
                num_cpus=1,
            )  # fmt: skip
            for columns in done.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
                rows = zip(*(columns[name].tolist() for name in Outcome._fields), strict=True)
                yield [Outcome(*row) for row in rows]
        except (ray.exceptions.RayTaskError, ray.exceptions.RayActorError) as error:
            raise ModelError("a worker failed", came=str(error).strip().splitlines()[-1]) from error
        except ray.exceptions.RayError as error:
            reason = str(error).strip().splitlines()[0]
            raise DeviceError("Ray failed", came=reason, next_step="--resume continues") from error


def _quieten(ray: Any) -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    warnings.filterwarnings("ignore", module=r"ray\.")  # of blocks fewer than workers, which is the job's own size
    for name in ("ray", "ray.data"):
        logging.getLogger(name).setLevel(logging.ERROR)
