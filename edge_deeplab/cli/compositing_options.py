"""The options of a command that sets a person before a background: one per field of CompositingOptions.

@click.command()
@compositing_options
def command(compositing: CompositingOptions, ...) -> None: ...
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from edge_deeplab.cli.live_program import setting_option
from edge_deeplab.compositing.options import CompositingOptions

NAMES = {
    "strength": "--strength",
    "blur_style": "--blur-style",
    "aperture": "--aperture",
    "highlights": "--highlights",
    "smoothing": "--smoothing",
    "people": "--people",
    "keeps_held": "--keep-held/--no-keep-held",
    "least_person": "--least-person",
    "refines_edges": "--refine-edges/--no-refine-edges",
    "edge_softness": "--edge-softness",
    "edge_level": "--edge-level",
    "cleans_edges": "--clean-edges/--no-clean-edges",
    "despill": "--despill",
    "light_wrap": "--light-wrap",
}


def compositing_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options of CompositingOptions; the command gets them as `compositing`."""

    @functools.wraps(function)
    def with_compositing(*arguments: Any, **given: Any) -> Any:
        fields = {name: given.pop(name) for name in NAMES}
        return function(*arguments, compositing=CompositingOptions(**fields), **given)

    for field, name in reversed(NAMES.items()):
        setting_option(CompositingOptions, field, name, field)(with_compositing)
    return with_compositing
