"""Ctrl-C and SIGTERM, in a real process: what was written is whole and has its name."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.signals import stop_on_signals

WAIT_S = 60.0

# A pipeline as the command line runs it: endless frames, slow enough to be interrupted, a line after some.
PROGRAM = """
import sys, threading, time
import numpy as np
from edge_deeplab.video import pipeline
from edge_deeplab.video.signals import stop_on_signals
from edge_deeplab.video.sink import SinkOptions, open_sink
from edge_deeplab.video.source import SourceOptions, open_source

pipeline.PROGRESS_EVERY_S = 0
picture = np.random.default_rng(0).integers(0, 255, (90, 120, 3), np.uint8)
options = SourceOptions(picture=picture, size_wh=(64, 48), synthetic_frames=10**6)
stop = threading.Event()

def process(frame):
    time.sleep(0.002)
    return frame.bgr

def tell(progress):
    if progress.frames == 20:
        print("ready", flush=True)

with stop_on_signals(stop), open_source("synthetic", options) as source:
    with open_sink(sys.argv[1], SinkOptions(media=source.media, encoder=sys.argv[2])) as sink:
        report = pipeline.run_pipeline(source, process, sink, stop=stop, on_progress=tell)
print("written", report.frames, report.was_stopped, flush=True)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("encoder", ["pyav", "opencv"])
def test_an_interrupted_run_leaves_a_playable_video(number, encoder, tmp_path, repository) -> None:
    target = tmp_path / "out.mp4"
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(target), encoder],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=repository,
    ) as running:  # fmt: skip
        assert running.stdout is not None
        assert running.stdout.readline() == "ready\n"
        assert not target.exists()
        running.send_signal(number)
        said, complaints = running.communicate(timeout=WAIT_S)
    assert running.returncode == 0, complaints
    assert "Traceback" not in complaints
    word, frames, was_stopped = said.split()
    assert (word, was_stopped) == ("written", "True") and int(frames) >= 20
    with PyavVideoSource(target) as source:
        assert sum(1 for _ in source) == int(frames)
        assert source.notes == []
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_the_second_signal_interrupts_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    stop = threading.Event()
    with stop_on_signals(stop):
        signal.raise_signal(signal.SIGINT)
        assert stop.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is before


def test_in_another_thread_it_changes_nothing() -> None:
    before, seen = signal.getsignal(signal.SIGINT), []

    def enter() -> None:
        with stop_on_signals(threading.Event()):
            seen.append(signal.getsignal(signal.SIGINT))

    worker = threading.Thread(target=enter)
    worker.start()
    worker.join(WAIT_S)
    assert seen == [before]


def test_importing_sources_and_sinks_loads_no_heavy_package(repository: Path) -> None:
    program = (
        "import sys; import edge_deeplab.video.source, edge_deeplab.video.sink, edge_deeplab.video.pipeline;"
        "print(*sorted({'av', 'skimage', 'tensorflow', 'keras', 'scipy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=repository, check=True)
    assert done.stdout.strip() == ""
