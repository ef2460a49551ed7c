"""What a server may be asked, and what is refused before anything starts."""

from __future__ import annotations

from typing import Any

import pytest

from edge_deeplab.errors import UsageError
from edge_deeplab.serving.options import ServeOptions


def test_what_is_open_to_the_world_has_to_be_asked_for() -> None:
    options = ServeOptions()
    assert options.host == "127.0.0.1"
    assert options.cors_origins == ()
    assert options.address is None


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"port": 70000}, "port"),
        ({"replicas": 3, "max_replicas": 2}, "max_replicas is below replicas"),
        ({"max_body_mb": 30, "max_buffer_mb": 20}, "max_buffer_mb is below"),
        ({"max_video_mb": 300, "max_store_mb": 200}, "max_store_mb is below"),
        ({"token": "short"}, "the token cannot be used"),
        ({"token": "with a line\nbreak"}, "the token cannot be used"),
        ({"sizes_hw": ((4, 256),)}, "an input size is out of range"),
        ({"cors_origins": ("ours.example",)}, "a CORS origin is none"),
        ({"address": "ray://head:10001"}, "run the command on a machine of the cluster"),
    ],
)
def test_a_wrong_value_gets_one_line(given: dict[str, Any], says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        ServeOptions(**given)
    assert "\n" not in str(caught.value)


def test_replicas_scale_between_two_numbers_alone() -> None:
    assert not ServeOptions(replicas=2).scales
    assert not ServeOptions(replicas=2, max_replicas=2).scales
    assert ServeOptions(replicas=2, max_replicas=5).most_replicas == 5
