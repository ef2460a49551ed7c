"""A video that never ends, asked for the picture of a time: what stands behind a person.

with LoopingVideo(Path("beach.mp4")) as video:
    video.picture_at(2.5)       # (h, w, 3) uint8 BGR
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import numpy as np

from edge_deeplab.errors import InputError
from edge_deeplab.video.frames import Frame, Source
from edge_deeplab.video.source import SourceOptions, open_source

# A picture due this little later is shown now: Matroska rounds time stamps to milliseconds, and sums of rounds drift.
EARLY_S = 0.002
LAST_FRAME_S = 1 / 30  # how long the last picture of a video stands when its rate is unknown


class LoopingVideo:
    """Reads a video forward, again and again, keeping one picture.

    Raises: InputError when the file is no video or holds no picture.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._source: Source | None = None
        self._frames: Iterator[Frame] = iter(())
        self._began_s = 0.0  # when this round began, on the clock of picture_at
        self._shown = self._first()
        self._next = next(self._frames, None)

    def picture_at(self, time_s: float) -> np.ndarray:
        """The picture that stands at time_s, seconds from the start; times must not go back.

        Returns: (h, w, 3) uint8 BGR; the same array for as long as the same picture stands.
        """
        while True:
            if self._next is None:
                ends_s = self._began_s + self._shown.time_s + self._last_duration_s()
                if time_s + EARLY_S < ends_s:
                    return self._shown.bgr
                self._began_s = ends_s
                self._shown = self._first()
            elif self._began_s + self._next.time_s > time_s + EARLY_S:
                return self._shown.bgr
            else:
                self._shown = self._next
            self._next = next(self._frames, None)

    def close(self) -> None:
        """Lets go of the file; twice is harmless."""
        if self._source is not None:
            self._source.close()

    def __enter__(self) -> LoopingVideo:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _first(self) -> Frame:
        """Opens the file anew and reads its first picture."""
        self.close()
        self._source = open_source(str(self._path), SourceOptions())
        self._frames = iter(self._source)
        frame = next(self._frames, None)
        if frame is None:
            self.close()
            raise InputError(f"{self._path}: holds no picture", allowed="a picture or a video as background")
        return frame

    def _last_duration_s(self) -> float:
        rate = self._source.fps if self._source is not None else None
        return float(1 / rate) if rate else LAST_FRAME_S
