"""One bar on stderr with a count and the time left; silent where stderr is no terminal.

with progress_bar("portrait.tflite", total=250) as on_progress:
    on_progress(1)
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress_bar(what: str, *, total: int | None) -> Iterator[Callable[[int], None]]:
    """Shows a bar while the block runs, and takes it away again.

    Args:
        what: stands before the bar.
        total: how many there are; None when unknown.
    Returns: a function to call with the number done.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    # without a terminal rich would write an empty line, and a bar in a log helps no one
    shown = Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
    with shown:
        task = shown.add_task(what, total=total)
        yield lambda done: shown.update(task, completed=done)
