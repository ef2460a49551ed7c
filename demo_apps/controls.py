"""What may be changed while a program runs: one value that keys and browsers change and the effect reads once a frame.

    settings = LiveSettings(Settings(compositing=CompositingOptions(strength=0.6)))
    settings.change(view="split", split_at=0.3)                              # any thread
    settings.update(lambda now: now.with_compositing(strength=0.8))          # any thread
    settings.read().compositing                                              # the thread that composes, once a frame

A `Control` is one thing a person may change: a name, its keys, and a pure function from settings to settings. The
window and the page in the browser offer the same ones.

    controls = portrait_controls(backgrounds)
    settings.update(controls[0].change)

Neither numpy nor OpenCV is imported here.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edge_deeplab.compositing.options import Background, CompositingOptions, OverlayOptions
from edge_deeplab.recipe import check, setting

STEP = 0.1  # of blur and opacity, one press of a key
SPLIT_STEP = 0.05

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


@dataclass(frozen=True)
class Control:
    """One thing a person may change while the program runs.

    Attributes:
        name: what it does, in a few words; the browser's button and the help line.
        keys: of the window, any of which does it; as WindowSink names them.
        change: the settings after it.
        tells: what holds then, in a few words.
    """

    name: str
    keys: tuple[str, ...]
    change: Callable[[Settings], Settings]
    tells: Callable[[Settings], str]


@dataclass(frozen=True)
class BackgroundChoice:
    """One of the backgrounds that a key goes through.

    Attributes:
        name: as the user gave it.
        background: None blurs the frame's own.
    """

    name: str
    background: Background | None


def portrait_controls(backgrounds: Sequence[BackgroundChoice] = ()) -> tuple[Control, ...]:
    """What may be changed of a person before a background; the backgrounds are gone through in their order."""
    blur = (
        Control("more blur", ("+", "="), lambda now: _blurred(now, +STEP), _blur_text),
        Control("less blur", ("-", "_"), lambda now: _blurred(now, -STEP), _blur_text),
    )
    choices = tuple(backgrounds)
    if len(choices) < 2:
        return (*blur, *_VIEW_CONTROLS)

    def place(now: Settings) -> int:
        return next((i for i, one in enumerate(choices) if one.background is now.compositing.background), -1)

    following = Control(
        "next background", ("b",),
        lambda now: now.with_compositing(background=choices[(place(now) + 1) % len(choices)].background),
        lambda now: f"background {choices[place(now)].name}",
    )  # fmt: skip
    return (*blur, following, *_VIEW_CONTROLS)


def class_controls() -> tuple[Control, ...]:
    """What may be changed of classes drawn over a frame."""
    return (
        Control("stronger colours", ("+", "="), lambda now: _coloured(now, +STEP), _opacity_text),
        Control("fainter colours", ("-", "_"), lambda now: _coloured(now, -STEP), _opacity_text),
        *_VIEW_CONTROLS,
    )


def _blurred(now: Settings, step: float) -> Settings:
    return now.with_compositing(strength=_stepped(now.compositing.strength, step))


def _coloured(now: Settings, step: float) -> Settings:
    return now.with_overlay(opacity=_stepped(now.overlay.opacity, step))


def _stepped(value: float, step: float) -> float:
    """Rounded, so that ten steps up and ten down end where they began."""
    return round(min(1.0, max(0.0, value + step)), 4)


def _blur_text(now: Settings) -> str:
    return f"blur {now.compositing.strength:.0%}"


def _opacity_text(now: Settings) -> str:
    return f"colours {now.overlay.opacity:.0%}"


def _toggled(view: View) -> Callable[[Settings], Settings]:
    return lambda now: dataclasses.replace(now, view="result" if now.view == view else view)


def _split_moved(step: float) -> Callable[[Settings], Settings]:
    return lambda now: dataclasses.replace(now, view="split", split_at=_stepped(now.split_at, step))


def _view_text(now: Settings) -> str:
    names = {"result": "result", "mask": "mask", "split": "before and after", "source": "as it came"}
    return names[now.view]


_VIEW_CONTROLS = (
    Control("before and after", ("c",), _toggled("split"), _view_text),
    Control("border left", ("left", ",", "<"), _split_moved(-SPLIT_STEP), _view_text),
    Control("border right", ("right", ".", ">"), _split_moved(+SPLIT_STEP), _view_text),
    Control("mask", ("m",), _toggled("mask"), _view_text),
    Control("as it came", ("o",), _toggled("source"), _view_text),
    Control(
        "mirror", ("f",), lambda now: dataclasses.replace(now, mirrors=not now.mirrors),
        lambda now: "mirrored" if now.mirrors else "not mirrored",
    ),
)  # fmt: skip
