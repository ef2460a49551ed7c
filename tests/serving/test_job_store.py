"""Jobs on the disk: bounded in number, bytes and time; what a killed server left is said to have failed."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from edge_deeplab.serving import job_store
from edge_deeplab.serving.job_store import CANCELLED, DONE, FAILED, RUNNING, Job, JobStore, StoreFullError


def store(folder: Path, *, max_jobs: int = 3, max_bytes: int = 10_000, keep_s: float = 3600) -> JobStore:
    return JobStore(folder / "videos", max_jobs=max_jobs, max_bytes=max_bytes, keep_s=keep_s)


def finished(jobs: JobStore, size_bytes: int) -> Job:
    job = jobs.create(asked={})
    job.result.write_bytes(bytes(size_bytes))
    job.change(state=DONE)
    return job


def test_a_record_is_whole_at_every_moment(tmp_path: Path) -> None:
    job = store(tmp_path).create(asked={"answer": "overlay"})
    stop = threading.Event()

    def write() -> None:
        while not stop.is_set():
            job.change(frames=job.read()["frames"] + 1, notes=["x" * 3000])

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(300):
            assert job.read()["asked"] == {"answer": "overlay"}
    finally:
        stop.set()
        writer.join()


def test_no_more_wait_and_run_than_may(tmp_path: Path) -> None:
    jobs = store(tmp_path, max_jobs=2)
    first = jobs.create(asked={})
    jobs.create(asked={})
    with pytest.raises(StoreFullError, match="as many videos wait as may"):
        jobs.create(asked={})
    first.change(state=CANCELLED)
    jobs.create(asked={})


def test_the_oldest_finished_goes_when_room_is_needed_and_none_that_runs(tmp_path: Path) -> None:
    jobs = store(tmp_path)
    old, new = finished(jobs, 4000), finished(jobs, 4000)
    running = jobs.create(asked={}, needs_bytes=5000)
    running.input.write_bytes(bytes(5000))
    assert [job.id for job in jobs.jobs()] == [new.id, running.id]
    assert jobs.find(old.id) is None
    with pytest.raises(StoreFullError, match="no room"):
        jobs.create(asked={}, needs_bytes=9000)
    assert jobs.find(running.id) is not None
    assert jobs.has_room()
    running.result.write_bytes(bytes(6000))
    assert not jobs.has_room()


def test_a_finished_job_stays_as_long_as_was_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = store(tmp_path, keep_s=100)
    job = finished(jobs, 10)
    now_s = job.read()["changed_s"]
    monkeypatch.setattr(job_store.time, "time", lambda: now_s + 99)
    jobs.tidy()
    assert jobs.find(job.id) is not None
    monkeypatch.setattr(job_store.time, "time", lambda: now_s + 101)
    jobs.tidy()
    assert jobs.find(job.id) is None


def test_what_ran_when_the_server_ended_has_failed_and_says_so(tmp_path: Path) -> None:
    job = store(tmp_path).create(asked={})
    job.input.write_bytes(b"video")
    job.change(state=RUNNING)
    done = finished(store(tmp_path, max_jobs=9), 1)
    again = store(tmp_path)
    record = again.find(job.id)
    assert record is not None
    assert record.read()["state"] == FAILED
    assert record.read()["error"] == "the server ended before it was done"
    assert not job.input.exists()
    assert again.find(done.id) is not None


@pytest.mark.parametrize("job_id", ["", "..", "../videos", "0" * 15, "A" * 16, "0" * 16, "0123456789abcde/"])
def test_an_id_that_is_none_finds_nothing(tmp_path: Path, job_id: str) -> None:
    jobs = store(tmp_path)
    jobs.create(asked={})
    assert jobs.find(job_id) is None
