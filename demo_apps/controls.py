"""What may be changed while a program runs: one value that keys and browsers change and the effect reads once a frame.

    settings = LiveSettings(Settings(compositing=CompositingOptions(strength=0.6)))
    settings.change(view="split", split_at=0.3)                              # any thread
    settings.update(lambda now: now.with_compositing(strength=0.8))          # any thread
    settings.read().compositing                                              # the thread that composes, once a frame

Neither numpy nor OpenCV is imported here, and no key is known: keys.py says which key changes what.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_deeplab.compositing.options import CompositingOptions, OverlayOptions
from edge_deeplab.recipe import check, setting

View = Literal["result", "mask", "split", "source"]


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How frames are made and shown from the next one on.

    Attributes:
        compositing: how a person is set before a background.
        overlay: how classes are drawn, for the program that draws classes.
        view: what is shown: the result, the mask alone, before and after side by side (the frame as it came on the
            left, the result on the right), or the frame as it came.
        split_at: where before meets after, as a share of the width.
        mirrors: whether the frame is turned left to right before anything else, beyond what the source does itself.
    """

    compositing: CompositingOptions = field(default_factory=CompositingOptions)
    overlay: OverlayOptions = field(default_factory=OverlayOptions)
    view: View = setting("result", help="what is shown: the result, the mask, before and after, or the source")
    split_at: float = setting(0.5, low=0.0, high=1.0, help="where before meets after, as a share of the width")
    mirrors: bool = setting(False, help="turn the frame left to right")

    def __post_init__(self) -> None:
        check(self)

    def with_compositing(self, **fields: Any) -> Settings:
        """The same with other fields of `compositing`. Raises RecipeError for a value out of range."""
        return dataclasses.replace(self, compositing=dataclasses.replace(self.compositing, **fields))

    def with_overlay(self, **fields: Any) -> Settings:
        """The same with other fields of `overlay`. Raises RecipeError for a value out of range."""
        return dataclasses.replace(self, overlay=dataclasses.replace(self.overlay, **fields))


class LiveSettings:
    """One `Settings` for several threads: a reader sees all of a change or nothing of it, and never waits long.

    Args:
        settings: what holds until the first change.
    """

    def __init__(self, settings: Settings | None = None) -> None:
        self._settings = settings or Settings()
        self._changing = threading.Lock()

    def read(self) -> Settings:
        """What holds now."""
        return self._settings

    def change(self, **fields: Any) -> Settings:
        """Sets fields of `Settings`; returns what holds then. Raises RecipeError for a value out of range."""
        return self.update(lambda now: dataclasses.replace(now, **fields))

    def update(self, change: Callable[[Settings], Settings]) -> Settings:
        """Replaces what holds by what `change` makes of it, no other change coming between; returns what holds then.

        An error of `change` leaves everything as it was.
        """
        with self._changing:
            self._settings = change(self._settings)
            return self._settings
