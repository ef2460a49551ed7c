"""How frames pass from one thread to the next: the newest one live, every one in order from a file.

Both boxes have one giver and one taker. `close` says that nothing more comes; `abort` wakes and ends both sides.

    box = NewestMailbox()          # or OrderedMailbox(capacity=4)
    box.put(frame)                 # the giving thread
    frame = box.take(timeout_s=1)  # the taking thread; raises MailboxEmpty or MailboxEnded
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Generic, Protocol, TypeVar

T = TypeVar("T")


class MailboxEmpty(Exception):  # noqa: N818  (a signal between threads, not an error)
    """Nothing came within the time given."""


class MailboxEnded(Exception):  # noqa: N818
    """The box is closed and drained, or was aborted."""


class Mailbox(Protocol[T]):
    """What both boxes promise. `dropped` counts the items that were given and never taken in favour of newer ones."""

    dropped: int

    def put(self, item: T) -> None:
        """Gives an item. Raises MailboxEnded when the box was closed or aborted."""
        ...

    def wait_for_room(self) -> None:
        """Waits until an item could be put at once. Raises MailboxEnded when the box was closed or aborted."""
        ...

    def take(self, timeout_s: float) -> T:
        """The next item. Raises MailboxEmpty after timeout_s seconds, MailboxEnded when none will come."""
        ...

    def close(self) -> None:
        """Nothing more will be put; what is inside can still be taken."""
        ...

    def abort(self) -> None:
        """Ends both sides at once; what is inside is gone."""
        ...


class OrderedMailbox(Generic[T]):
    """A bounded queue: nothing is dropped, order is kept, and a full box makes the giver wait.

    Args:
        capacity: how many items may wait.
    """

    def __init__(self, capacity: int = 4) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, came {capacity}")
        self.dropped = 0
        self._capacity = capacity
        self._items: deque[T] = deque()
        self._changed = threading.Condition()
        self._is_closed = False

    def put(self, item: T) -> None:
        """Gives an item, waiting while the box is full; `abort` ends the wait. Raises MailboxEnded."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room())
            if self._is_closed:
                raise MailboxEnded
            self._store(item)
            self._changed.notify_all()

    def wait_for_room(self) -> None:
        """Waits until an item could be put at once; with one giver it then can. Raises MailboxEnded."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._has_room())
            if self._is_closed:
                raise MailboxEnded

    def take(self, timeout_s: float) -> T:
        """The oldest item. Raises MailboxEmpty after timeout_s seconds, MailboxEnded when none will come."""
        with self._changed:
            if not self._changed.wait_for(lambda: self._items or self._is_closed, timeout_s):
                raise MailboxEmpty
            if not self._items:
                raise MailboxEnded
            item = self._items.popleft()
            self._changed.notify_all()
            return item

    def close(self) -> None:
        """Nothing more will be put; what is inside can still be taken."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    def abort(self) -> None:
        """Ends both sides at once; what is inside is gone."""
        with self._changed:
            self._is_closed = True
            self._items.clear()
            self._changed.notify_all()

    def _has_room(self) -> bool:
        return len(self._items) < self._capacity

    def _store(self, item: T) -> None:
        self._items.append(item)


class NewestMailbox(OrderedMailbox[T]):
    """One slot in which a newer item replaces an older one: the giver never waits, the taker is never late."""

    def __init__(self) -> None:
        super().__init__(capacity=1)

    def _has_room(self) -> bool:
        return True

    def _store(self, item: T) -> None:
        self.dropped += len(self._items)
        self._items.clear()
        self._items.append(item)
