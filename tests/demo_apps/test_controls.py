from __future__ import annotations

import threading

import pytest

from edge_deeplab.demo_apps.controls import (
    BackgroundChoice,
    Control,
    LiveSettings,
    Settings,
    class_controls,
    portrait_controls,
)
from edge_deeplab.errors import RecipeError


def test_a_change_is_seen_by_the_next_read_and_leaves_the_rest():
    settings = LiveSettings(Settings().with_compositing(strength=0.8))
    settings.change(view="split", split_at=0.25)
    now = settings.read()
    assert (now.view, now.split_at, now.compositing.strength, now.mirrors) == ("split", 0.25, 0.8, False)


def test_a_value_out_of_range_is_refused_and_changes_nothing():
    settings = LiveSettings()
    before = settings.read()
    for fields in ({"split_at": 1.5}, {"view": "sideways"}):
        with pytest.raises(RecipeError):
            settings.change(**fields)
    with pytest.raises(RecipeError, match="strength: out of range"):
        settings.update(lambda now: now.with_compositing(strength=2.0))
    assert settings.read() is before


def test_updates_from_several_threads_are_never_lost():
    settings = LiveSettings(Settings(split_at=0.0))

    def step() -> None:
        for _ in range(200):
            settings.update(lambda now: Settings(split_at=now.split_at + 1 / 1024, compositing=now.compositing))

    threads = [threading.Thread(target=step) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert settings.read().split_at == 800 / 1024  # whole parts of 1024 add without rounding


def control(controls: tuple[Control, ...], key: str) -> Control:
    (found,) = [one for one in controls if key in one.keys]
    return found


def test_every_key_does_one_thing():
    for controls in (portrait_controls([BackgroundChoice("blur", None)] * 2), class_controls()):
        keys = [key for one in controls for key in one.keys]
        assert len(keys) == len(set(keys)) and not set(keys) & {"h", "?", "s", "r", "i", "q", "escape"}


def test_blur_stays_in_range_and_comes_back_to_where_it_was():
    controls, settings = portrait_controls(), LiveSettings()
    for _ in range(20):
        settings.update(control(controls, "+").change)
    assert settings.read().compositing.strength == 1.0
    for _ in range(5):
        settings.update(control(controls, "-").change)
    assert settings.read().compositing.strength == 0.5
    assert control(controls, "-").tells(settings.read()) == "blur 50%"


def test_backgrounds_are_gone_through_in_order_and_begin_again():
    choices = [BackgroundChoice("blur", None), BackgroundChoice("navy", object()), BackgroundChoice("red", object())]
    following = control(portrait_controls(choices), "b")
    settings, told = LiveSettings(), []
    for _ in range(4):
        told.append(following.tells(settings.update(following.change)))
    assert told == ["background navy", "background red", "background blur", "background navy"]
    assert not any("b" in one.keys for one in portrait_controls(choices[:1])), "one background has no next"


def test_a_view_is_left_by_the_key_that_chose_it_and_moving_the_border_shows_it():
    controls, settings = class_controls(), LiveSettings()
    seen = [settings.update(control(controls, key).change).view for key in ("m", "c", "c", "o", "o", ",")]
    assert seen == ["mask", "split", "result", "source", "result", "split"]
    assert settings.read().split_at == 0.45


def test_opacity_is_changed_for_classes():
    settings = LiveSettings()
    settings.update(control(class_controls(), "+").change)
    assert settings.read().overlay.opacity == 0.65
