from __future__ import annotations

import threading

import pytest

from edge_deeplab.demo_apps.controls import LiveSettings, Settings
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
