"""Ctrl-C and SIGTERM as a stop signal, so that what is being written is completed before the program ends.

It goes around the sink as well, whose closing is what must not be interrupted.

    with stop_on_signals(stop), open_source(...) as source, open_sink(...) as sink:
        run_pipeline(source, process, sink, stop=stop)
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def stop_on_signals(stop: threading.Event) -> Iterator[None]:
    """Within the block, SIGINT and SIGTERM set `stop`; a second one interrupts at once, as Python does by itself.

    Outside the main thread, where Python allows no handlers, nothing changes.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: FrameType | None) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    previous = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
