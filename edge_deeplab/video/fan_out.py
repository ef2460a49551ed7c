"""Several outputs at once, each living and failing by itself: the others go on.

with FanOut([open_sink("out.mp4"), open_sink("window")], on_lost=print) as sink: ...
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

import numpy as np

from edge_deeplab.errors import EdgeDeepLabError
from edge_deeplab.video.frames import Sink


class FanOut:
    """Hands every frame to several sinks, one after the other, in the caller's thread; itself a Sink.

    A sink that fails is ended, told of once and left out from then on. The error of the last one that is left is
    raised. Opened sinks are this object's to close.

    Args:
        sinks: in the order in which they are given each frame; a window comes last, for it may wait.
        on_lost: told the one line of an output's error, when it happens.
        is_paced: each frame waits for its own time: for a file that is watched and not written.
        wait: waits for so many seconds, or less when the run is to end.

    Attributes:
        lost: the error of each output that failed, one line each.
    """

    def __init__(
        self,
        sinks: Iterable[Sink],
        *,
        on_lost: Callable[[str], None] | None = None,
        is_paced: bool = False,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.lost: list[str] = []
        self._sinks = list(sinks)
        self._named = [sink.describe() for sink in self._sinks]
        self._on_lost, self._is_paced, self._wait = on_lost, is_paced, wait
        self._began_s: float | None = None
        self._notes_of_gone: list[str] = []

    @property
    def notes(self) -> list[str]:
        """One line each for what could not be kept, and for each output that failed."""
        return [*self._notes_of_gone, *(note for sink in self._sinks for note in sink.notes)]

    def describe(self) -> str:
        """One line: all of the outputs it began with."""
        return ", ".join(self._named) or "nowhere"

    def __contains__(self, sink: Sink) -> bool:
        return sink in self._sinks

    def add(self, sink: Sink) -> None:
        """Gives it the frames from the next one on; before the others, so that a window stays the last."""
        self._sinks.insert(0, sink)

    def add_last(self, sink: Sink) -> None:
        """As one of those it began with, after the others."""
        self._sinks.append(sink)
        self._named.append(sink.describe())

    def remove(self, sink: Sink) -> None:
        """Completes a sink and gives it no more frames; harmless when it is not among them. Raises its error."""
        if sink not in self._sinks:
            return
        try:
            sink.close()
        finally:
            self._remove(sink)

    def write(self, frame_bgr: np.ndarray, time_s: float, name: str = "") -> None:
        """Hands the frame on. Raises the error of the last output when none is left."""
        self._keep_pace(time_s)
        for sink in tuple(self._sinks):
            try:
                sink.write(frame_bgr, time_s, name)
            except EdgeDeepLabError as error:
                self._lose(sink, error)

    def idle(self) -> None:
        """Tells all that no frame comes."""
        for sink in tuple(self._sinks):
            sink.idle()

    def finish(self) -> None:
        """Says to all that the source ended by itself."""
        for sink in self._sinks:
            sink.finish()

    def close(self) -> None:
        """Completes all; an output that cannot be completed is told of, and none keeps another from it."""
        self.__exit__(None, None, None)

    def discard(self) -> None:
        """Leaves nothing of what was written."""
        for sink in self._sinks:
            sink.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failures: list[EdgeDeepLabError] = []
        ended = tuple(self._sinks)
        with contextlib.ExitStack() as all_of_them:  # one that breaks keeps none of the others from being completed
            for sink in ended:
                all_of_them.callback(self._end, sink, (kind, error, trace), failures)
        if kind is None and ended and len(failures) == len(ended):
            raise failures[0]
        for failure in failures:
            self._tell_of(failure)

    def _end(self, sink: Sink, cause: tuple[Any, Any, Any], failures: list[EdgeDeepLabError]) -> None:
        """Ends a sink as its own `with` block would."""
        try:
            sink.__exit__(*cause)
        except EdgeDeepLabError as failure:
            failures.append(failure)
            self._remove(sink)

    def _lose(self, sink: Sink, error: EdgeDeepLabError) -> None:
        """Ends a sink that failed and tells of it; raises the error when none is left."""
        with contextlib.suppress(EdgeDeepLabError):  # the first error is the one that says why
            sink.__exit__(type(error), error, error.__traceback__)
        self._remove(sink)
        if not self._sinks:
            raise error
        self._tell_of(error)

    def _remove(self, sink: Sink) -> None:
        self._sinks.remove(sink)
        self._notes_of_gone.extend(sink.notes)

    def _tell_of(self, error: EdgeDeepLabError) -> None:
        self.lost.append(str(error))
        self._notes_of_gone.append(f"lost: {error}")
        if self._on_lost is not None:
            self._on_lost(str(error))

    def _keep_pace(self, time_s: float) -> None:
        if not self._is_paced:
            return
        now_s = time.perf_counter()
        if self._began_s is None:
            self._began_s = now_s - time_s
        wait_s = self._began_s + time_s - now_s
        if wait_s > 0:
            self._wait(wait_s)
