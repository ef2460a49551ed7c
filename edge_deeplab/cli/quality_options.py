"""The options of a command that holds a frame rate or a processor budget: one per field of QualityOptions.

@click.command()
@quality_options
def command(quality: QualityOptions, ...) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from edge_deeplab.cli.live_program import setting_option
from edge_deeplab.demo_apps.options import SMALL_MODELS, QualityOptions
from edge_deeplab.recipe import describe

_SMALL = "".join(f" [{small} beside {model}]" for model, small in SMALL_MODELS.items())
_OPTIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "target_fps": ("--target-fps", {"metavar": "N"}),
    "max_cpu": ("--max-cpu", {"metavar": "PERCENT"}),
    "mask_every": ("--mask-every", {"metavar": "N"}),
    "delays_frame": ("--delay-frame/--no-delay-frame", {}),
    "small_model": (
        "--small-model",
        {
            "type": str,
            "metavar": "MODEL",
            "help": f"{describe(QualityOptions, 'small_model').help.capitalize()}.{_SMALL}",
        },
    ),
}


def quality_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of QualityOptions; the command gets them as `quality`."""

    @functools.wraps(function)
    def with_quality(*arguments: Any, **given: Any) -> Any:
        fields = {name: given.pop(name) for name in _OPTIONS}
        return function(*arguments, quality=QualityOptions(**fields), **given)

    for field, (name, extra) in reversed(_OPTIONS.items()):
        setting_option(QualityOptions, field, name, field, **extra)(with_quality)
    return with_quality
