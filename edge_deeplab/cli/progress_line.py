"""One line of progress on stderr: on a terminal it renews itself, elsewhere a line is written now and then.

line = ProgressLine()
line.show("step 3/100", is_final=False)
"""

from __future__ import annotations

import sys
import time

import click

TERMINAL_EVERY_S = 0.3
LOG_EVERY_S = 10.0


class ProgressLine:
    """Shows the newest text, not too often."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._every_s = TERMINAL_EVERY_S if self._is_terminal else LOG_EVERY_S
        self._shown_s = float("-inf")

    def show(self, text: str, *, is_final: bool) -> None:
        """Shows `text` when it is due. is_final: at once, and the line stays; what follows begins a new one."""
        now_s = time.monotonic()
        if not is_final and now_s - self._shown_s < self._every_s:
            return
        self._shown_s = now_s
        if self._is_terminal:
            click.echo(f"\r\x1b[K{text}", nl=is_final, err=True)
        else:
            click.echo(text, err=True)
