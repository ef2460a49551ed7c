"""A live source that is opened again when it goes away: a cable, a camera that restarts, a server that stalls.

What comes is judged by frame_checks.py; a frame that is no picture is not handed on, so the pipeline holds the last
good one. The user is told in one line when a trouble begins and in one when it is over; trouble that comes and goes is
told once a minute and counted in the notes.

    with ReconnectingSource(CameraSource("0"), lambda closing: CameraSource("0")) as source: ...
"""

from __future__ import annotations

import dataclasses
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from edge_deeplab.errors import DeviceError
from edge_deeplab.recipe import check, setting
from edge_deeplab.video.frame_checks import CheckOptions, FrameCheck, Judgement
from edge_deeplab.video.frames import Frame
from edge_deeplab.video.source_life import SourceLife

TOLD_AGAIN_S = 60.0
KEPT_NOTES = 20  # of the openings, the newest: a source that comes and goes for weeks must not fill the memory


@dataclass(frozen=True, kw_only=True)
class ReconnectOptions:
    """How a live source is brought back, in seconds.

    Attributes:
        reconnects: whether it is at all; else the first loss is an error.
        gives_up_after_s: of one loss; None never gives up.
        first_wait_s, longest_wait_s: before the second try (the first comes at once); each following wait is twice as
            long, shortened by up to a half at random, so that many programs do not come back in the same moment.
        steady_after_s: a source that lasted so long starts again with the first wait.
        checks: what is doubted in its frames.
    """

    reconnects: bool = True
    gives_up_after_s: float | None = setting(600.0, low=0.001, help="seconds")
    first_wait_s: float = setting(0.5, low=0, help="seconds")
    longest_wait_s: float = setting(15.0, low=0, help="seconds")
    steady_after_s: float = setting(10.0, low=0, help="seconds")
    checks: CheckOptions = CheckOptions()

    def __post_init__(self) -> None:
        check(self)


class ReconnectingSource(SourceLife):
    """Frames of a live source across its losses: indices and times go on, the size may change.

    Args:
        first: the source, just opened; closed with this one.
        open_again: opens it again, called after each loss with an event that is set when this one is closed meanwhile.
            Raises DeviceError while the source is not there.
        tell: gets each line for the user; None: logged as a warning.
        wait: waits so many seconds, or until closed, whichever is first. Returns whether it was closed.
        clock_s: seconds that never go back.

    Raises: while iterating, DeviceError when the source is given up.
    """

    is_live = True

    def __init__(
        self,
        first: SourceLife,
        open_again: Callable[[threading.Event], SourceLife],
        options: ReconnectOptions | None = None,
        *,
        tell: Callable[[str], None] | None = None,
        wait: Callable[[float], bool] | None = None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._options = options or ReconnectOptions()
        self._closing = threading.Event()
        self._wait, self._clock_s = wait or self._closing.wait, clock_s
        self._open_again = open_again
        self._inner = first
        assert first.is_live, "what is not live does not come back"
        self.may_pause = first.may_pause
        self.size_wh, self.fps, self.media = self._inner.size_wh, self._inner.fps, self._inner.media
        self._name = self._inner.describe().partition(" (")[0].removeprefix("live stream ")
        self._check = FrameCheck(self._options.checks)
        self._trouble = _Trouble(self._name, tell or _log, clock_s)
        self._inner_notes: list[str] = []
        self._tries = 0

    @property
    def notes(self) -> list[str]:
        """As the Protocol says; those of each opening once."""
        return [*dict.fromkeys((*self._inner_notes, *self._inner.notes)), *self._trouble.notes()]

    @notes.setter
    def notes(self, value: list[str]) -> None:
        """SourceLife begins with none."""

    def describe(self) -> str:
        """One line: what it is, size, rate."""
        return self._inner.describe()

    def interrupt(self) -> None:
        """Ends a read or a wait that is under way in another thread."""
        self._closing.set()
        self._inner.interrupt()

    def _frames(self) -> Iterator[Frame]:
        began_ns = 0
        passed = 0  # frames of earlier openings
        while True:
            opened_s, last = self._clock_s(), -1
            self._check.begin(opened_s)
            loss: DeviceError | None = None
            try:
                for frame in self._inner:
                    last = frame.index
                    judgement = self._check.judge(frame.bgr, self._clock_s())
                    if judgement.reopens and self._options.reconnects:
                        loss = DeviceError(f"{self._name}: {judgement.trouble}")
                        break
                    self._note(judgement)
                    if judgement.is_shown:
                        began_ns = began_ns or frame.captured_ns
                        self._follow_size(frame)
                        time_s = (frame.captured_ns - began_ns) / 1e9
                        yield dataclasses.replace(frame, index=passed + frame.index, time_s=time_s)
            except DeviceError as error:
                loss = error
            if self._closing.is_set():
                return
            passed += last + 1
            if self._clock_s() - opened_s >= self._options.steady_after_s:
                self._tries = 0
            self._reopen(loss or DeviceError(f"{self._name}: ended"))
            if self._closing.is_set():
                return

    def _note(self, judgement: Judgement) -> None:
        if judgement.trouble:
            kept = "" if judgement.is_shown else "; the last good picture is kept"
            self._trouble.begin(judgement.trouble, f"{self._name}: {judgement.trouble}{kept}")
        elif judgement.is_shown:
            self._trouble.end()
        self.trouble = self._trouble.words

    def _follow_size(self, frame: Frame) -> None:
        size_wh = (frame.bgr.shape[1], frame.bgr.shape[0])
        if size_wh != self.size_wh:
            line = f"{self._name}: gives {size_wh[0]}x{size_wh[1]} now, {_text(self.size_wh)} before"
            self._trouble.tell_sometimes("size", line)
            self.size_wh = size_wh

    def _reopen(self, loss: DeviceError) -> None:
        """Opens the source again, waiting longer from try to try. Raises the loss when it is given up."""
        if not self._options.reconnects:
            raise loss
        lost_s = self._clock_s()
        self._trouble.begin("no picture, trying again", f"{loss.what}; trying again{self._until_text()}")
        self.trouble = self._trouble.words
        self._let_go()
        while not self._closing.is_set():
            if self._wait(self._next_wait_s()):
                return
            try:
                self._inner = self._open_again(self._closing)
            except DeviceError as error:
                loss = error
            else:
                return
            limit_s = self._options.gives_up_after_s
            if limit_s is not None and self._clock_s() - lost_s >= limit_s:
                raise DeviceError(
                    f"{self._name}: did not come back within {_duration_text(limit_s)}", came=loss.what,
                    next_step="--reconnect-minutes allows longer, 0 for ever",
                )  # fmt: skip

    def _until_text(self) -> str:
        limit_s = self._options.gives_up_after_s
        return " until it is back" if limit_s is None else f" for {_duration_text(limit_s)}"

    def _next_wait_s(self) -> float:
        """0, then first_wait_s, doubled from try to try up to the longest, each shortened by up to a half."""
        tries, self._tries = self._tries, self._tries + 1
        if tries == 0:
            return 0.0
        full_s = min(self._options.longest_wait_s, self._options.first_wait_s * 2.0 ** min(tries - 1, 30))
        return full_s * random.uniform(0.5, 1.0)

    def _let_go(self) -> None:
        self._inner.close()
        notes = list(dict.fromkeys((*self._inner_notes, *self._inner.notes)))
        self._inner_notes = notes[-KEPT_NOTES:]
        self._inner.notes.clear()

    def _release(self) -> None:
        self._let_go()


class _Trouble:
    """One trouble at a time, told when it begins and when it is over, and all of them counted."""

    def __init__(self, name: str, tell: Callable[[str], None], clock_s: Callable[[], float]) -> None:
        self.words = ""
        self._tell = tell
        self._name, self._clock_s = name, clock_s
        self._told_s: dict[str, float] = {}
        self._began_s = self._away_s = 0.0
        self._is_told = False
        self._count = 0

    def begin(self, words: str, line: str) -> None:
        now_s = self._clock_s()
        if self.words == words:
            return
        if not self.words:
            self._began_s, self._is_told = now_s, False
            self._count += 1
        self.words = words
        self._is_told |= self.tell_sometimes(words, line)

    def tell_sometimes(self, what: str, line: str) -> bool:
        """Tells the line unless one of the same kind was told within TOLD_AGAIN_S. Returns: whether it was told."""
        now_s = self._clock_s()
        if now_s - self._told_s.get(what, float("-inf")) < TOLD_AGAIN_S:
            return False
        self._told_s[what] = now_s
        self._tell(line)
        return True

    def end(self) -> None:
        if not self.words:
            return
        lasted_s = self._clock_s() - self._began_s
        self._away_s += lasted_s
        self.words = ""
        if self._is_told:
            self._tell(f"{self._name}: is back after {_duration_text(lasted_s)}")

    def notes(self) -> list[str]:
        if not self._count:
            return []
        away_s = self._away_s + (self._clock_s() - self._began_s if self.words else 0.0)
        times = "once" if self._count == 1 else f"{self._count} times"
        return [f"{self._name}: gave no good picture {times}, for {_duration_text(away_s)} in all"]


def _log(line: str) -> None:
    logging.getLogger(__name__).warning("%s", line)


def _duration_text(seconds: float) -> str:
    """Seconds for a person: "0.4 s", "12 s", "10 minutes"."""
    if seconds < 0.1:
        return "less than 0.1 s"
    if seconds < 120:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} minutes"


def _text(size_wh: tuple[int, int]) -> str:
    return f"{size_wh[0]}x{size_wh[1]}"
