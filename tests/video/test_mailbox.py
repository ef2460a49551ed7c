"""Laws of the two mailboxes, and what only one of them promises."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_deeplab.video.mailbox import MailboxEmpty, MailboxEnded, NewestMailbox, OrderedMailbox

WAIT_S = 10.0


@pytest.fixture(params=[NewestMailbox, OrderedMailbox])
def box(request):
    return request.param()


def test_what_is_put_is_taken(box) -> None:
    box.put("a")
    assert box.take(WAIT_S) == "a"


def test_an_empty_box_says_so_after_a_bounded_wait(box) -> None:
    with pytest.raises(MailboxEmpty):
        box.take(timeout_s=0.01)


def test_a_closed_box_is_drained_before_it_ends(box) -> None:
    box.put("a")
    box.close()
    assert box.take(WAIT_S) == "a"
    with pytest.raises(MailboxEnded):
        box.take(WAIT_S)
    with pytest.raises(MailboxEnded):
        box.put("b")


def test_abort_loses_what_is_inside(box) -> None:
    box.put("a")
    box.abort()
    with pytest.raises(MailboxEnded):
        box.take(WAIT_S)


@pytest.mark.parametrize("end", ["close", "abort"])
def test_ending_wakes_a_waiting_taker(box, end) -> None:
    seen: list[str] = []

    def take() -> None:
        try:
            box.take(WAIT_S)
        except MailboxEnded:
            seen.append("ended")

    taker = threading.Thread(target=take)
    taker.start()
    getattr(box, end)()
    taker.join(WAIT_S)
    assert seen == ["ended"]


def test_abort_wakes_a_giver_that_waits_for_room() -> None:
    box, seen = OrderedMailbox(capacity=1), []
    box.put(0)

    def give() -> None:
        try:
            box.put(1)
        except MailboxEnded:
            seen.append("ended")

    giver = threading.Thread(target=give)
    giver.start()
    box.abort()
    giver.join(WAIT_S)
    assert seen == ["ended"]


def test_room_is_waited_for_until_the_taker_makes_it_or_the_box_ends() -> None:
    box, seen = OrderedMailbox(capacity=1), []
    box.wait_for_room()
    box.put(0)

    def wait() -> None:
        try:
            box.wait_for_room()
            seen.append("room")
            box.put(1)
            box.wait_for_room()
        except MailboxEnded:
            seen.append("ended")

    waiter = threading.Thread(target=wait)
    waiter.start()
    assert box.take(WAIT_S) == 0
    while not seen:
        assert waiter.is_alive()
    box.abort()
    waiter.join(WAIT_S)
    assert seen == ["room", "ended"]


@given(st.lists(st.integers(), min_size=1))
def test_newest_keeps_the_last_and_counts_the_rest(items) -> None:
    box = NewestMailbox()
    for item in items:
        box.put(item)
    assert box.take(WAIT_S) == items[-1]
    assert box.dropped == len(items) - 1


@given(st.lists(st.integers()), st.integers(1, 5))
def test_ordered_loses_nothing_between_threads(items, capacity) -> None:
    box, taken = OrderedMailbox(capacity), []

    def take_all() -> None:
        try:
            while True:
                taken.append(box.take(WAIT_S))
        except MailboxEnded:
            pass

    taker = threading.Thread(target=take_all)
    taker.start()
    for item in items:
        box.put(item)
    box.close()
    taker.join(WAIT_S)
    assert taken == items
    assert box.dropped == 0


def test_a_box_without_room_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        OrderedMailbox(capacity=0)
