"""Snapshots and recordings that a key asks for, beside what the program writes anyway. Nothing is ever overwritten.

keeper = Keeper(Path("."), outputs, media=source.media, say=print)
keeper.snapshot(picture)            # edge-deeplab-20261121-150412.png
keeper.start_recording()            # edge-deeplab-20261121-150415.mp4, until stop_recording
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import cv2
import numpy as np

from edge_deeplab.errors import OutputError
from edge_deeplab.imaging.decode import write_image
from edge_deeplab.video.container import has_pyav
from edge_deeplab.video.fan_out import FanOut
from edge_deeplab.video.frames import MediaFacts, Sink
from edge_deeplab.video.sink import SinkOptions, open_sink


class Keeper:
    """Used from the thread that writes.

    Args:
        folder: where files go.
        outputs: what a recording joins.
        media: of the source; a recording keeps its rate and pixel shape, not its sound.
        say: told the path of each file, once it is there.
        now: the local time, for the names.
    """

    def __init__(
        self,
        folder: Path,
        outputs: FanOut,
        *,
        media: MediaFacts,
        say: Callable[[str], None],
        now: Callable[[], datetime] = datetime.now,
    ) -> None:
        self.tell = say
        self._folder, self._outputs, self._now = folder, outputs, now
        self._media = MediaFacts(fps=media.fps, pixel_aspect=media.pixel_aspect)
        self._recording: Sink | None = None
        self._path = folder

    @property
    def is_recording(self) -> bool:
        """Whether a recording runs; one that failed does no more."""
        return self._recording is not None and self._recording in self._outputs

    def snapshot(self, picture: np.ndarray) -> Path:
        """Writes a picture, (H, W, 3) uint8 BGR, and returns where. Raises OutputError."""
        path = self._free_name(".png")
        write_image(path, cv2.cvtColor(picture, cv2.COLOR_BGR2RGB))
        self.tell(f"snapshot {path}")
        return path

    def start_recording(self) -> Path:
        """Records from the next frame on; returns where. Raises OutputError."""
        self._path = self._free_name(".mp4" if has_pyav() else ".mkv")  # what survives a crash without PyAV is .mkv
        self._recording = open_sink(str(self._path), SinkOptions(media=self._media, is_recording=True))
        self._outputs.add(self._recording)
        return self._path

    def stop_recording(self) -> Path:
        """Completes the recording and returns where it is. Raises OutputError."""
        assert self._recording is not None
        recording, self._recording = self._recording, None
        self._outputs.remove(recording)
        if not self._path.exists():
            raise OutputError(f"{self._path.name}: no frame came")
        self.tell(f"recording {self._path}")
        return self._path

    def _free_name(self, suffix: str) -> Path:
        stem = f"edge-deeplab-{self._now():%Y%m%d-%H%M%S}"
        for number in itertools.count(1):
            path = self._folder / f"{stem}{'' if number == 1 else f'-{number}'}{suffix}"
            if not path.exists():
                return path
        raise AssertionError("counting does not end")
