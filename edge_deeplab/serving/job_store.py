"""Videos being worked on and their results, on the disk: bounded in bytes, in number and in time.

    store = JobStore(folder, max_jobs=8, max_bytes=2_000_000_000, keep_s=3600)
    job = store.create(asked={"answer": "overlay"})
    job.change(state="running", frames=12)

A job is a folder of its own named by its id, which we made; no name of a caller ever becomes a path.
"""

from __future__ import annotations

import contextlib
import json
import re
import secrets
import shutil
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge_deeplab.errors import EdgeDeepLabError

WAITING, RUNNING, DONE, FAILED, CANCELLED = "waiting", "running", "done", "failed", "cancelled"
STATES = (WAITING, RUNNING, DONE, FAILED, CANCELLED)
LIVE = (WAITING, RUNNING)
_ID = re.compile(r"[0-9a-f]{16}")
_RECORD, _INPUT, _RESULT, _STOP = "job.json", "input", "result.mp4", "stop"


class StoreFullError(EdgeDeepLabError):
    """No room for another video, by number or by bytes."""


@dataclass(frozen=True)
class Job:
    """One video's folder."""

    folder: Path

    @property
    def id(self) -> str:
        """What callers know it by."""
        return self.folder.name

    @property
    def input(self) -> Path:
        """The video as it came."""
        return self.folder / _INPUT

    @property
    def result(self) -> Path:
        """The video that came of it; there once the job is done."""
        return self.folder / _RESULT

    @property
    def wants_stop(self) -> bool:
        """Whether it was told to end."""
        return (self.folder / _STOP).exists()

    def stop(self) -> None:
        """Tells whoever works on it, in whatever process, to end."""
        (self.folder / _STOP).touch()

    def read(self) -> dict[str, Any]:
        """Its record: state, asked, created_s, changed_s, frames, frame_count, error, notes."""
        record: dict[str, Any] = json.loads((self.folder / _RECORD).read_text(encoding="utf-8"))
        return record

    def change(self, **fields: Any) -> None:
        """Sets fields of its record; it is whole on the disk at every moment."""
        record = {**(self.read() if (self.folder / _RECORD).exists() else {}), **fields, "changed_s": time.time()}
        temporary = self.folder / f".{_RECORD}.{secrets.token_hex(4)}"
        temporary.write_text(json.dumps(record), encoding="utf-8")
        temporary.replace(self.folder / _RECORD)

    def size_bytes(self) -> int:
        """What its files take."""
        total = 0
        for path in self.folder.glob("*"):
            try:
                total += path.stat().st_size
            except FileNotFoundError:  # a temporary file that was renamed
                continue
        return total


class JobStore:
    """All jobs of a server. Its methods may be called from any thread.

    Args:
        folder: made when it is missing. Jobs found there that were not finished are marked as failed.
        max_jobs: that may wait or run.
        max_bytes: of all files; what is done and oldest goes first.
        keep_s: how long a finished job stays.
    """

    def __init__(self, folder: Path, *, max_jobs: int, max_bytes: int, keep_s: float) -> None:
        self._folder, self._max_jobs, self._max_bytes, self._keep_s = folder, max_jobs, max_bytes, keep_s
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for job in self.jobs():
            if job.read()["state"] in LIVE:
                job.input.unlink(missing_ok=True)
                job.change(state=FAILED, error="the server ended before it was done")

    def jobs(self) -> list[Job]:
        """Every job, the oldest first. A folder without a record is one being made, or left by a kill: it is not."""
        found = []
        for path in self._folder.iterdir():
            if _ID.fullmatch(path.name):
                with contextlib.suppress(FileNotFoundError):  # removed this moment
                    found.append((float(Job(path).read()["created_s"]), path))
        return [Job(path) for _, path in sorted(found)]

    def find(self, job_id: str) -> Job | None:
        """The job of that id, or None."""
        job = Job(self._folder / job_id) if _ID.fullmatch(job_id) else None
        return job if job is not None and (job.folder / _RECORD).exists() else None

    def create(self, *, asked: dict[str, Any], needs_bytes: int = 0) -> Job:
        """A new job that waits. needs_bytes: what its input is said to take.

        Raises: StoreFullError when as many wait and run as may, or when its input cannot fit beside theirs.
        """
        with self._lock:
            self.tidy(room_bytes=needs_bytes)
            live = [job for job in self.jobs() if job.read()["state"] in LIVE]
            if len(live) >= self._max_jobs:
                raise StoreFullError("as many videos wait as may", came=len(live), next_step="try again later")
            if self.size_bytes() + needs_bytes > self._max_bytes:
                raise StoreFullError("no room for another video", next_step="try again later")
            job = Job(self._folder / secrets.token_hex(8))
            job.folder.mkdir()
            job.change(
                state=WAITING, asked=asked, created_s=time.time(), frames=0, frame_count=None, error=None, notes=[]
            )
            return job

    def has_room(self) -> bool:
        """Whether the files of all jobs are within the bound, once what is done and old has gone."""
        with self._lock:
            self.tidy()
            return self.size_bytes() <= self._max_bytes

    def size_bytes(self) -> int:
        """What all files take."""
        return sum(job.size_bytes() for job in self.jobs())

    def tidy(self, *, room_bytes: int = 0) -> None:
        """Removes finished jobs that are too old, then the oldest until the rest leaves room."""
        finished = [job for job in self.jobs() if job.read()["state"] not in LIVE]
        for job in list(finished):
            if time.time() - float(job.read()["changed_s"]) > self._keep_s:
                self.remove(job)
                finished.remove(job)
        while finished and self.size_bytes() + room_bytes > self._max_bytes:
            self.remove(finished.pop(0))

    def remove(self, job: Job) -> None:
        """Takes it and its files away."""
        shutil.rmtree(job.folder, ignore_errors=True)
