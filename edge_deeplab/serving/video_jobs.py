"""Videos as jobs: taken in, worked on one at a time, asked after, fetched, cancelled.

async with VideoJobs(options, facts, application) as jobs:
    add_video_routes(app, jobs, serving)
"""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import FastAPI, Query, Request
from fastapi.responses import FileResponse, JSONResponse, Response
from pydantic import BaseModel
from starlette.requests import ClientDisconnect

from edge_deeplab.errors import UsageError
from edge_deeplab.serving.admission import RefusedError
from edge_deeplab.serving.front import Serving, problems
from edge_deeplab.serving.job_store import CANCELLED, DONE, FAILED, LIVE, STATES, Job, JobStore, StoreFullError
from edge_deeplab.serving.options import MEGA, ServeOptions
from edge_deeplab.serving.pictures import VIDEOS, is_video
from edge_deeplab.serving.replica import ModelFacts
from edge_deeplab.serving.video_work import VideoWork, work_on

if TYPE_CHECKING:
    from edge_deeplab.serving.metrics import Metrics

logger = logging.getLogger(__name__)

VIDEOS_PATH = "/v1/videos"
USUAL = (400, 401, 404, 422)
LINKS = {
    name: {"operationId": name, "parameters": {"job_id": "$response.body#/id"}}
    for name in ("look_at_video", "fetch_video", "cancel_video")
}
HEAD_BYTES = 12
LOOK_EVERY_BYTES = 16_000_000
STOP_S = 5.0
GRACE_S = 10.0  # beyond its own limit, after which a worker that looks at no clock is ended


class VideoCard(BaseModel):
    """How far a video is."""

    id: str
    state: Literal["waiting", "running", "done", "failed", "cancelled"]
    answer: str
    frames: int
    frame_count: int | None
    progress: float | None
    error: str | None
    notes: list[str]


class VideoJobs:
    """The jobs of one server. An async context manager: at its end what still runs is told to end.

    Args:
        application: of Ray Serve.
    """

    def __init__(self, options: ServeOptions, facts: ModelFacts, application: str) -> None:
        self._options, self._facts, self._application = options, facts, application
        self._is_kept = options.state is not None
        self._folder = options.state / "videos" if options.state else Path(tempfile.mkdtemp(prefix="edge-deeplab-"))
        self.store = JobStore(
            self._folder, max_jobs=options.max_jobs, max_bytes=int(options.max_store_mb * MEGA),
            keep_s=options.keep_job_s,
        )  # fmt: skip
        self._turn = asyncio.Semaphore(1)
        self._tasks: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> VideoJobs:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        if self._tasks:
            _, late = await asyncio.wait(self._tasks, timeout=STOP_S)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if not self._is_kept:
            shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Tells every job to end."""
        for job in self.store.jobs():
            if job.read()["state"] in LIVE:
                job.stop()

    def start(self, job: Job) -> None:
        """Begins a job whose input is there, once those before it are through."""
        task = asyncio.get_running_loop().create_task(self._run(job))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def count_into(self, metrics: Metrics) -> None:
        """Sets the gauges of jobs and disk."""
        states = [job.read()["state"] for job in self.store.jobs()]
        for state in STATES:
            metrics.jobs.labels(state).set(states.count(state))
        metrics.store.set(self.store.size_bytes())

    async def _run(self, job: Job) -> None:
        async with self._turn:
            if job.wants_stop:
                job.change(state=CANCELLED)
                job.input.unlink(missing_ok=True)
                return
            try:
                await self._work(job)
            except asyncio.CancelledError:
                job.change(state=CANCELLED, error="the server was asked to stop")
                raise
            except Exception as error:  # the job's end must be told, and nobody waits for this task
                logger.exception("a video ended by a fault of the server")
                _fail(job, f"a fault of the server: {type(error).__name__}")

    async def _work(self, job: Job) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        options = self._options
        work = VideoWork(
            application=self._application, facts=self._facts, answer=job.read()["asked"]["answer"],
            window=2 * options.max_batch, limit_s=options.max_video_s, timeout_s=options.timeout_s,
            max_pixels=int(options.max_megapixels * MEGA), max_bytes=int(options.max_store_mb * MEGA),
        )  # fmt: skip
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)  # its files are here
        task: Any = ray.remote(work_on)
        task = task.options(num_cpus=0, max_retries=0, scheduling_strategy=here)
        reference = task.remote(str(job.folder), work)
        try:
            async with asyncio.timeout(options.max_video_s + GRACE_S):
                await reference
        except TimeoutError:
            ray.cancel(reference, force=True)
            _fail(job, f"the video took too long; allowed: {options.max_video_s:g} seconds")
        except ray.exceptions.RayError as error:  # the worker ended: a decoder that crashed, memory, or a bug of ours
            reason = str(error).strip().splitlines()[-1] if str(error).strip() else type(error).__name__
            _fail(job, f"the video could not be worked on: its worker ended ({reason})")
        except asyncio.CancelledError:
            ray.cancel(reference, force=True)
            raise


def _fail(job: Job, reason: str) -> None:
    job.input.unlink(missing_ok=True)
    job.result.unlink(missing_ok=True)
    job.change(state=FAILED, error=reason)


def add_video_routes(app: FastAPI, jobs: VideoJobs, serving: Serving) -> None:
    """Adds the routes of videos to the front."""

    binary = {"schema": {"type": "string", "format": "binary"}}
    kinds = ("video/mp4", "video/webm", "video/quicktime", "application/octet-stream")

    @app.post(
        VIDEOS_PATH, status_code=202, tags=["videos"], summary="Hand in a video",
        responses={**problems(*USUAL, 408, 413, 415, 429, 503), 202: {"links": LINKS}},
        openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(kinds, binary)}},
    )  # fmt: skip
    async def hand_in(
        request: Request,
        answer: Annotated[
            Literal["overlay", "matte"], Query(description="Classes over the video, or the person in grey.")
        ] = "overlay",
    ) -> VideoCard:
        if answer == "matte" and serving.facts.person_class is None:
            raise UsageError("answer: this model knows no person", came=answer, allowed="overlay")
        return _card(await _take_in(request, jobs, answer))

    @app.get(
        VIDEOS_PATH + "/{job_id}", tags=["videos"], summary="How far a video is", responses=problems(*USUAL),
        operation_id="look_at_video",
    )  # fmt: skip
    async def look(job_id: str) -> VideoCard:
        return _card(_found(jobs, job_id))

    @app.get(
        VIDEOS_PATH + "/{job_id}/result", tags=["videos"], summary="Fetch a video's result", response_class=Response,
        responses={200: {"content": {"video/mp4": binary}}, **problems(*USUAL, 409)}, operation_id="fetch_video",
    )  # fmt: skip
    async def fetch(job_id: str) -> Response:
        job = _found(jobs, job_id)
        state = job.read()["state"]
        if state != DONE:
            raise RefusedError(409, f"the video is not done: {state}")
        return FileResponse(job.result, media_type="video/mp4", filename=f"{job.id}.mp4")

    @app.delete(
        VIDEOS_PATH + "/{job_id}", tags=["videos"], summary="Cancel a video, or remove what came of it",
        response_class=Response, responses={200: {"content": {"application/json": {}}}, **problems(*USUAL)},
        operation_id="cancel_video",
    )  # fmt: skip
    async def cancel(job_id: str) -> Response:
        job = _found(jobs, job_id)
        if job.read()["state"] in LIVE:
            job.stop()
            return JSONResponse({"id": job.id, "state": "stopping"})
        jobs.store.remove(job)
        return JSONResponse({"id": job.id, "state": "removed"})


async def _take_in(request: Request, jobs: VideoJobs, answer: str) -> Job:
    declared = request.headers.get("content-length", "")
    try:
        job = await asyncio.to_thread(
            jobs.store.create, asked={"answer": answer}, needs_bytes=int(declared) if declared.isdigit() else 0
        )
    except StoreFullError as error:
        raise RefusedError(429, str(error), retry_after="10") from None
    try:
        await _write(request, jobs, job)
    except ClientDisconnect:
        jobs.store.remove(job)
        raise RefusedError(400, "the video ended before it was whole") from None
    except BaseException:
        jobs.store.remove(job)
        raise
    jobs.start(job)
    return job


async def _write(request: Request, jobs: VideoJobs, job: Job) -> None:
    head, written, looked = b"", 0, 0
    with job.input.open("wb") as stream:
        async for piece in request.stream():
            if written < HEAD_BYTES:
                head += piece[:HEAD_BYTES]
                if len(head) >= HEAD_BYTES and not is_video(head):
                    raise RefusedError(415, f"this is no video that is known; allowed: {VIDEOS}")
            await asyncio.to_thread(stream.write, piece)
            written += len(piece)
            if written - looked > LOOK_EVERY_BYTES:
                looked = written
                if not await asyncio.to_thread(jobs.store.has_room):
                    raise RefusedError(413, "no room for a video of that size")
    if not is_video(head):
        raise RefusedError(415, f"this is no video that is known; allowed: {VIDEOS}")


def _found(jobs: VideoJobs, job_id: str) -> Job:
    job = jobs.store.find(job_id)
    if job is None:
        raise RefusedError(404, "no such video; it may have been removed since")
    return job


def _card(job: Job) -> VideoCard:
    record = job.read()
    count, frames = record["frame_count"], record["frames"]
    progress = 1.0 if record["state"] == DONE else min(1.0, frames / count) if count else None
    return VideoCard(
        id=job.id, state=record["state"], answer=record["asked"]["answer"], frames=frames, frame_count=count,
        progress=progress, error=record["error"], notes=record["notes"],
    )  # fmt: skip
