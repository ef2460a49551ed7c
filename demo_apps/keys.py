"""What the keys of the window do: the controls of the program, and what all have: help, snapshot, record, quit.

desk = Desk(settings, controls, keeper, stop=stop, latency_ms=...)
open_sink("window", SinkOptions(on_key=desk.press, over=desk.screen.over))
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence

from edge_deeplab.demo_apps.controls import Control, LiveSettings
from edge_deeplab.demo_apps.keeping import Keeper
from edge_deeplab.demo_apps.screen import RateText, Screen
from edge_deeplab.errors import EdgeDeepLabError

HELP_KEYS, SNAPSHOT_KEYS, RECORD_KEYS, RATE_KEYS = ("h", "?"), ("s",), ("r",), ("i",)
STOP_KEYS = ("q", "escape")


class Desk:
    """Keys in, changes out, each said on the screen. Used from the window's thread.

    Args:
        settings: what the controls change.
        controls: with their keys.
        keeper: takes snapshots and recordings.
        stop: set by the keys that quit.
        latency_ms: for the line of state; None where it says nothing.
        shows_rate: whether that line is shown from the start.

    Attributes:
        screen: what is drawn over the picture.
    """

    def __init__(
        self,
        settings: LiveSettings,
        controls: Sequence[Control],
        keeper: Keeper,
        *,
        stop: threading.Event,
        latency_ms: Callable[[], float | None] = lambda: None,
        shows_rate: bool = False,
    ) -> None:
        self._settings, self._keeper, self._stop = settings, keeper, stop
        self._controls = {key: control for control in controls for key in control.keys}
        self.screen = Screen(
            help_lines(controls), RateText(latency_ms), shows_rate=shows_rate, is_recording=lambda: keeper.is_recording
        )

    def press(self, key: str) -> None:
        """Does what a key means, as WindowSink names it; an unknown one says how to find the others."""
        if key in STOP_KEYS:
            self._stop.set()
        elif key in HELP_KEYS:
            self.screen.shows_help = not self.screen.shows_help
        elif key in RATE_KEYS:
            self.screen.shows_rate = not self.screen.shows_rate
        elif key in SNAPSHOT_KEYS:
            self._keep(self._snapshot)
        elif key in RECORD_KEYS:
            self._keep(self._record)
        elif key in self._controls:
            control = self._controls[key]
            self.screen.say(control.tells(self._settings.update(control.change)))
        elif len(key) == 1 and key.isprintable():
            self.screen.say(f"{key} does nothing; h for help")

    def drag(self, share: float) -> None:
        """Moves the border between before and after to a share of the width, where it is shown."""
        self._settings.update(
            lambda now: now if now.view != "split" else dataclasses.replace(now, split_at=min(1.0, max(0.0, share)))
        )

    def _keep(self, action: Callable[[], str]) -> None:
        """What cannot be written is said where the user looks, and ends nothing."""
        try:
            self.screen.say(action())
        except EdgeDeepLabError as error:
            self.screen.say(f"not saved: {error.what}")
            self._keeper.tell(str(error))

    def _snapshot(self) -> str:
        if self.screen.picture is None:
            return "no picture yet"
        return f"saved {self._keeper.snapshot(self.screen.picture).name}"

    def _record(self) -> str:
        if not self._keeper.is_recording:
            path = self._keeper.start_recording()
            self.screen.start_recording()
            return f"recording {path.name}"
        self.screen.records_since_s = None
        return f"saved {self._keeper.stop_recording().name}"


def help_lines(controls: Sequence[Control]) -> list[tuple[str, str]]:
    """The keys and what they do, a line each."""
    own = (
        (SNAPSHOT_KEYS, "snapshot"), (RECORD_KEYS, "record, and stop it"), (RATE_KEYS, "rate and latency"),
        (HELP_KEYS, "this help"), (STOP_KEYS, "quit"),
    )  # fmt: skip
    shown = [(_shown(one.keys), one.name) for one in controls]
    return [*shown, ("mouse", "drag the border"), *((_shown(keys), what) for keys, what in own)]


def _shown(keys: Sequence[str]) -> str:
    """One way to do it, as printed on a keyboard; help is asked for in two ways."""
    return " or ".join(keys) if tuple(keys) == HELP_KEYS else keys[0]
