"""A video as a job: taken in, its progress, its result, its end by error, by cancelling and by a crash."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import requests
from serving_process import ServingProcess, command_of, descendants

from edge_deeplab.video.sink import open_sink
from edge_deeplab.video.source import SourceOptions, open_source

TIMEOUT_S = 60
FRAMES = 12
FINISHED = ("done", "failed", "cancelled")


def write_video(path: Path, astronaut: np.ndarray, frames: int, size_wh: tuple[int, int] = (160, 128)) -> bytes:
    options = SourceOptions(size_wh=size_wh, synthetic_frames=frames, picture=astronaut)
    with open_source("synthetic", options) as source, open_sink(str(path)) as sink:
        for frame in source:
            sink.write(frame.bgr, frame.time_s)
    return path.read_bytes()


@pytest.fixture(scope="module")
def clip(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", astronaut, FRAMES)


@pytest.fixture(scope="module")
def long_clip(astronaut: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return write_video(tmp_path_factory.mktemp("clip") / "long.mp4", astronaut, 1500, (64, 64))


def hand_in(server: ServingProcess, data: bytes, query: str = "") -> requests.Response:
    return requests.post(f"{server.url}/v1/videos?{query}", data=data, timeout=TIMEOUT_S)


def look(server: ServingProcess, job_id: str) -> dict[str, Any]:
    came: dict[str, Any] = requests.get(f"{server.url}/v1/videos/{job_id}", timeout=TIMEOUT_S).json()
    return came


def wait(server: ServingProcess, job_id: str, *, until: tuple[str, ...] = FINISHED, frames: int = 0) -> dict[str, Any]:
    ends_s = time.monotonic() + TIMEOUT_S
    while time.monotonic() < ends_s:
        card = look(server, job_id)
        if card["state"] in until and card["frames"] >= frames:
            return card
        time.sleep(0.05)
    raise AssertionError(card)


@pytest.mark.parametrize("answer", ["overlay", "matte"])
def test_a_video_comes_back_with_as_many_frames(
    server: ServingProcess, clip: bytes, tmp_path: Path, answer: str
) -> None:
    handed = hand_in(server, clip, f"answer={answer}")
    assert handed.status_code == 202, handed.text
    job_id = handed.json()["id"]
    card = wait(server, job_id)
    assert (card["state"], card["frames"], card["frame_count"], card["progress"]) == ("done", FRAMES, FRAMES, 1.0), card
    result = tmp_path / "result.mp4"
    result.write_bytes(requests.get(f"{server.url}/v1/videos/{job_id}/result", timeout=TIMEOUT_S).content)
    original = tmp_path / "clip.mp4"
    original.write_bytes(clip)
    with open_source(str(result)) as ours, open_source(str(original)) as theirs:
        pairs = [(one.bgr.astype(int), other.bgr.astype(int)) for one, other in zip(ours, theirs, strict=True)]
    assert len(pairs) == FRAMES
    for ours_bgr, theirs_bgr in pairs:
        if answer == "matte":  # grey, and both person and background are seen
            assert np.ptp(ours_bgr, axis=-1).max() <= 8
            assert ours_bgr.min() < 30 and ours_bgr.max() > 225
        else:
            assert 2 < np.abs(ours_bgr - theirs_bgr).mean() < 80
    removed = requests.delete(f"{server.url}/v1/videos/{job_id}", timeout=TIMEOUT_S)
    assert removed.json() == {"id": job_id, "state": "removed"}
    assert requests.get(f"{server.url}/v1/videos/{job_id}", timeout=TIMEOUT_S).status_code == 404


@pytest.mark.parametrize(
    ("data", "status", "says"),
    [
        (b"", 415, "no video that is known"),
        (b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", 415, "no video that is known"),
        (b"ffconcat version 1.0\nfile /etc/passwd\n", 415, "no video that is known"),
        (bytes(5_000_000), 413, "too large"),
    ],
)
def test_what_is_no_video_is_refused_and_leaves_nothing(
    server: ServingProcess, data: bytes, status: int, says: str
) -> None:
    came = hand_in(server, data)
    assert came.status_code == status
    assert says in came.json()["error"]
    text = requests.get(f"{server.url}/metrics", timeout=TIMEOUT_S).text
    assert 'edge_deeplab_video_jobs{state="waiting"} 0.0' in text


def test_a_damaged_video_fails_with_one_line(server: ServingProcess, clip: bytes) -> None:
    card = wait(server, hand_in(server, clip[:64] + bytes(2000)).json()["id"])
    assert card["state"] == "failed"
    assert card["error"].startswith("the video: ")
    assert "\n" not in card["error"] and "/" not in card["error"]
    refused = requests.get(f"{server.url}/v1/videos/{card['id']}/result", timeout=TIMEOUT_S)
    assert refused.status_code == 409


def test_a_job_is_cancelled_while_it_runs_and_while_it_waits(server: ServingProcess, long_clip: bytes) -> None:
    running, waiting = (hand_in(server, long_clip).json()["id"] for _ in range(2))
    seen = wait(server, running, until=("running",), frames=1)
    assert seen["progress"] is not None and 0 < seen["progress"] < 1
    assert look(server, waiting)["state"] == "waiting"
    for job_id in (waiting, running):
        assert requests.delete(f"{server.url}/v1/videos/{job_id}", timeout=TIMEOUT_S).json()["state"] == "stopping"
    for job_id in (waiting, running):
        assert wait(server, job_id)["state"] == "cancelled"


def test_a_worker_that_crashes_costs_its_video_alone(server: ServingProcess, long_clip: bytes, photo: bytes) -> None:
    job_id = hand_in(server, long_clip).json()["id"]
    wait(server, job_id, until=("running",), frames=1)
    (worker,) = [pid for pid in descendants(server.process.pid) if b"ray::work_on" in command_of(pid)]
    os.kill(worker, signal.SIGKILL)
    card = wait(server, job_id)
    assert card["state"] == "failed"
    assert "its worker ended" in card["error"] and "\n" not in card["error"]
    assert requests.post(f"{server.url}/v1/segment", data=photo, timeout=TIMEOUT_S).status_code == 200


def test_frames_are_decoded_no_larger_than_pictures_may_be(
    server: ServingProcess, tmp_path: Path, astronaut: np.ndarray
) -> None:
    """The server takes 2 megapixels."""
    large = write_video(tmp_path / "large.mp4", cv2.resize(astronaut, (1024, 1024)), 2, (1920, 1088))
    card = wait(server, hand_in(server, large).json()["id"])
    assert card["state"] == "failed"
    assert "frames are too large; came 1920 x 1088" in card["error"]
