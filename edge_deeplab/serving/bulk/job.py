"""A mass segmentation from its inputs to its last output, and on from where it was ended.

summary = run_job([Path("photos")], Path("out"), BulkOptions(kinds=("labels", "overlay")))
summary.done, summary.bad, summary.pictures_per_s
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from edge_deeplab.errors import InputError, OutputError, UsageError
from edge_deeplab.manifest import Manifest, read_manifest
from edge_deeplab.serving.bulk.inputs import find_pictures
from edge_deeplab.serving.bulk.journal import Journal, Outcome
from edge_deeplab.serving.bulk.options import BulkOptions
from edge_deeplab.serving.bulk.threads import SharedModel, run_threads
from edge_deeplab.serving.bulk.worker import BEGUN, PictureWorker
from edge_deeplab.serving.model_file import locate_model, pack_model
from edge_deeplab.serving.models import TFLITE_SUFFIX, BatchModel, open_batch_model
from edge_deeplab.serving.options import MEGA

COMMIT_EVERY_S = 1.0
SHARDS = ".waiting"
SHARED_WORKERS = 2  # of a model that takes all processors: one computes while the other reads and writes
MOST_PALETTE = 256


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a run stands.

    Attributes:
        total: pictures of the whole job; done, bad: of these, those of earlier runs included.
        now: done or bad in this run; duration_s: since its first picture.
    """

    total: int
    done: int
    bad: int
    now: int
    duration_s: float

    @property
    def pictures_per_s(self) -> float:
        """Of this run."""
        return self.now / self.duration_s if self.duration_s else 0.0

    @property
    def left_s(self) -> float | None:
        """How long the rest takes at this rate; None while that is unknown."""
        rate = self.pictures_per_s
        return (self.total - self.done - self.bad) / rate if rate else None


def run_job(
    inputs: Sequence[Path], folder: Path, options: BulkOptions, *, manifest: Manifest | None = None,
    resumes: bool = False, on_progress: Callable[[Progress], None] = lambda progress: None,
    on_step: Callable[[str], None] = lambda text: None,
) -> Progress:  # fmt: skip
    """Segments every picture of the inputs that is not done yet.

    Args:
        inputs: as inputs.find_pictures.
        folder: of the outputs: KIND/NAME.SUFFIX, journal.sqlite, done.csv, bad.csv.
        manifest: of a .tflite that carries none.
        resumes: goes on with what is in the folder; pictures that were bad get another try.
        on_progress: called after every batch. on_step: with a line for every step of the start.
    Returns: where it ended.
    Raises: InputError when no picture is found or all are bad; ModelError; OutputError for a folder that cannot be
        written, or holds something else; UsageError for outputs that the model cannot give.
    """
    if options.uses_ray:
        from edge_deeplab.serving.bulk.ray_data import require_ray_data

        require_ray_data()
    model = locate_model(options.model, manifest)
    known = manifest or read_manifest(model)
    assert known is not None, "locate_model refuses a model without one"
    _check_kinds(options, known)
    facts = {"model": f"{model.name} {_digest(model)}", "save": ",".join(sorted(options.kinds))}
    pictures = find_pictures(inputs, leave_out=folder)
    first = next(pictures, None)  # before a folder is made for nothing
    if first is None:
        raise InputError(f"{', '.join(map(str, inputs))}: no picture found")
    with Journal.open(folder, facts, resumes=resumes) as journal:
        for leftover in (BEGUN, SHARDS):
            shutil.rmtree(folder / leftover, ignore_errors=True)
        on_step(f"looking for pictures in {', '.join(map(str, inputs))}")
        added = journal.add(_chained(first, pictures))
        counts = journal.counts()
        on_step(f"{added} new pictures, {counts.done} done already, {counts.waiting} to do")
        try:
            progress = _work(journal, folder, model, options, manifest, on_progress) if counts.waiting else None
        finally:
            shutil.rmtree(folder / BEGUN, ignore_errors=True)
            shutil.rmtree(folder / SHARDS, ignore_errors=True)
            journal.commit()
            journal.write_tables()
        counts = journal.counts()
        bad = journal.first_bad()
        if not counts.done and bad is not None:
            raise InputError(f"all {counts.bad} pictures are bad", came=f"{bad[0]}: {bad[1]}",
                             next_step=f"see {folder / 'bad.csv'}")  # fmt: skip
    end = progress or Progress(total=sum(counts), done=0, bad=0, now=0, duration_s=0.0)
    return dataclasses.replace(end, done=counts.done, bad=counts.bad)


def _chained(first: tuple[str, str], rest: Iterator[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    yield first
    yield from rest


def _check_kinds(options: BulkOptions, manifest: Manifest) -> None:
    if "matte" in options.kinds and manifest.person_class is None:
        raise UsageError("--save matte: the model knows no person", came=", ".join(manifest.labels[:8]))
    if "labels" in options.kinds and len(manifest.labels) > MOST_PALETTE:
        raise UsageError("--save labels: a PNG holds 256 classes", came=f"{len(manifest.labels)} classes",
                         allowed="npz, rle")  # fmt: skip


def _digest(model: Path) -> str:
    return hashlib.sha256(pack_model(model) if model.is_dir() else model.read_bytes()).hexdigest()[:12]


def _work(
    journal: Journal, folder: Path, model: Path, options: BulkOptions, manifest: Manifest | None,
    on_progress: Callable[[Progress], None],
) -> Progress:  # fmt: skip
    counts = journal.counts()
    progress = Progress(total=sum(counts), done=counts.done, bad=counts.bad, now=0, duration_s=0.0)
    start_s = committed_s = time.monotonic()
    with closing(_outcomes(journal, folder, model, options, manifest)) as results:
        for outcomes in results:
            fatal = next((outcome for outcome in outcomes if outcome.is_fatal), None)
            journal.record([outcome for outcome in outcomes if not outcome.is_fatal])
            if fatal is not None:
                raise OutputError(fatal.reason, next_step="--resume continues when that is mended")
            now_s = time.monotonic()
            if now_s - committed_s > COMMIT_EVERY_S:
                journal.commit()
                committed_s = now_s
            bad = sum(bool(outcome.reason) for outcome in outcomes)
            progress = dataclasses.replace(
                progress, done=progress.done + len(outcomes) - bad, bad=progress.bad + bad,
                now=progress.now + len(outcomes), duration_s=now_s - start_s,
            )  # fmt: skip
            on_progress(progress)
    return progress


def _outcomes(
    journal: Journal, folder: Path, model: Path, options: BulkOptions, manifest: Manifest | None
) -> Generator[list[Outcome], None, None]:
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    is_tflite = model.suffix.lower() == TFLITE_SUFFIX
    max_pixels = int(options.max_megapixels * MEGA)
    if options.uses_ray:
        from edge_deeplab.serving.bulk.ray_data import WorkerSettings, run_ray, shard_size

        settings = WorkerSettings(
            model=str(model.resolve()), folder=str(folder.resolve()), kinds=options.kinds, max_pixels=max_pixels,
            batch=options.batch, threads=1, manifest=manifest,
        )  # fmt: skip
        workers = options.workers or processors
        size = shard_size(journal.counts().waiting, workers=workers, batch=options.batch)
        shards = journal.write_shards(folder.resolve() / SHARDS, size=size)
        yield from run_ray(shards, settings, address=options.address, workers=workers)
        return

    def worker(opened: BatchModel) -> PictureWorker:
        return PictureWorker(opened, folder=folder, kinds=options.kinds, max_pixels=max_pixels)

    batches = journal.waiting(batch=options.batch)
    if is_tflite:
        own = lambda: worker(open_batch_model(model, threads=1, manifest=manifest))  # noqa: E731
        yield from run_threads(batches, own, workers=options.workers or processors)
        return
    with closing(open_batch_model(model, threads=processors, max_batch=options.batch)) as opened:
        shared = SharedModel(opened)
        yield from run_threads(batches, lambda: worker(shared), workers=options.workers or SHARED_WORKERS)
