"""Laws of the multipart reader: what is written comes back however it is cut, and no bytes break or bloat it."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edge_deeplab.video.multipart import MAX_HEAD_BYTES, MultipartError, MultipartParts

BODIES = st.lists(st.binary(min_size=1, max_size=300).filter(lambda body: b"\n--" not in body), max_size=6)
ENDS = st.sampled_from([b"\r\n", b"\n"])


def written(bodies: list[bytes], *, end: bytes, has_length: bool, preamble: bytes = b"") -> bytes:
    data = preamble
    for body in bodies:
        length = b"Content-length : %d%b" % (len(body), end) if has_length else b""
        data += b"--frame" + end + b"Content-Type: image/jpeg" + end + length + end + body + end
    return data + b"--frame--" + end


def taken(parts: MultipartParts, data: bytes, cuts: list[int]) -> list[bytes]:
    bodies, edges = [], sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    for start, stop in itertools.pairwise(edges):
        parts.feed(data[start:stop])
        while (body := parts.next_part()) is not None:
            bodies.append(body)
    return bodies


@given(BODIES, ENDS, st.booleans(), st.booleans(), st.lists(st.integers(0, 10**6), max_size=20))
@example([b"\r\n", b"\n\n", b"--"], b"\r\n", True, True, [])
def test_what_was_written_comes_back_however_it_is_cut(bodies, end, has_length, is_declared, cuts) -> None:
    if not has_length:  # the line end before a delimiter belongs to the delimiter
        bodies = [body for body in bodies if not body.endswith((b"\r", b"\n")) and not body.startswith(b"--frame")]
    if not is_declared:  # learnt from the first delimiter, which the last one is not
        bodies = bodies or [b"one"]
    parts = MultipartParts("frame" if is_declared else "")
    assert taken(parts, written(bodies, end=end, has_length=has_length), cuts) == bodies
    assert parts.has_ended
    assert parts.next_part() is None


def test_what_stands_before_the_first_delimiter_is_no_part() -> None:
    data = written([b"one"], end=b"\r\n", has_length=True, preamble=b"This is a stream.\r\n")
    assert taken(MultipartParts("frame"), data, []) == [b"one"]


def test_a_length_that_lies_costs_one_part_and_no_more() -> None:
    good = written([b"A" * 50, b"B" * 50], end=b"\r\n", has_length=True)
    short = good.replace(b"50", b"20", 1)
    assert taken(MultipartParts("frame"), short, []) == [b"A" * 20, b"B" * 50]


@given(st.lists(st.binary(max_size=400), max_size=20), st.sampled_from(["", "frame", "--", "a"]))
@example([b"--frame\r\nContent-Length: 99999999999999999999\r\n\r\n"], "frame")
@example([b"--frame\r\nContent-Length: -5\r\n\r\n", b"x\r\n--frame--"], "frame")
def test_no_bytes_break_it_or_make_it_keep_more_than_its_bounds(pieces, boundary) -> None:
    limit = 1000
    parts = MultipartParts(boundary, max_part_bytes=limit)
    try:
        for piece in pieces:
            parts.feed(piece)
            while (body := parts.next_part()) is not None:
                assert len(body) <= limit + len(piece)
            assert len(parts._buffer) <= max(limit, MAX_HEAD_BYTES) + 512 + len(piece)
    except MultipartError as error:
        assert str(error) and "\n" not in str(error)


DELIMITED = st.lists(
    st.sampled_from([b"--frame", b"\r\n", b"\n", b"--", b"Content-Length: 3", b": ", b"abc", b"\r\n\r\n", b"\xff\xd8"]),
    max_size=60,
).map(b"".join)


@given(DELIMITED, st.lists(st.integers(0, 10**6), max_size=10))
def test_what_comes_out_does_not_hang_on_where_reads_were_cut(data, cuts) -> None:
    def outcome(cuts: list[int]) -> tuple[list[bytes], bool]:
        parts = MultipartParts("frame", max_part_bytes=1000)
        return taken(parts, data, cuts), parts.has_ended

    assert outcome(cuts) == outcome([])


def test_endless_headers_are_refused() -> None:
    parts = MultipartParts("frame")
    parts.feed(b"--frame\r\n")
    with pytest.raises(MultipartError, match="headers of a part"):
        for _ in range(10_000):
            parts.feed(b"X-Header: and so on\r\n")
            assert parts.next_part() is None
