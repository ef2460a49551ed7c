"""Real files that change under the reader or in their middle, through both readers and the whole pipeline."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.opencv_file import OpencvVideoSource
from edge_deeplab.video.pipeline import run_pipeline
from edge_deeplab.video.sink import SinkOptions, open_sink
from edge_deeplab.video.source import SourceOptions, open_source

READERS = [PyavVideoSource, OpencvVideoSource]
DECODERS = ["pyav", "opencv"]


@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_grows_while_it_is_read_gives_whole_frames_in_order(reader, tmp_path, clip_maker, coded) -> None:
    """A recording that still runs: what is there comes in order, and what is added does no harm."""
    whole = clip_maker(tmp_path / "in.mkv", count=90).read_bytes()
    growing = tmp_path / "growing.mkv"
    growing.write_bytes(whole[: len(whole) // 3])
    with reader(growing) as source, growing.open("ab") as file:
        frames = iter(source)
        codes = [coded[1](frame.bgr) for frame in itertools.islice(frames, 5)]
        file.write(whole[len(whole) // 3 : 2 * len(whole) // 3])
        file.flush()
        codes += [coded[1](frame.bgr) for frame in frames]
    assert len(codes) >= 20
    assert codes[:-5] == list(range(len(codes) - 5))  # the last ones may miss a neighbour that was not written yet
    assert codes == sorted(set(codes))


def test_an_mp4_that_is_still_written_has_no_index_yet_and_is_one_line(tmp_path, clip_maker) -> None:
    from edge_deeplab.errors import InputError

    whole = clip_maker(tmp_path / "in.mp4", count=60).read_bytes()
    (tmp_path / "growing.mp4").write_bytes(whole[:-200])
    for reader in READERS:
        with pytest.raises(InputError, match="truncated") as caught:
            reader(tmp_path / "growing.mp4")
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("encoder", DECODERS)
def test_a_size_that_changes_in_the_middle_ends_in_one_playable_file(decoder, encoder, tmp_path, clip_maker, coded):
    first = clip_maker(tmp_path / "a.ts", count=20, size_wh=(128, 96))
    then = clip_maker(tmp_path / "b.ts", count=20, size_wh=(64, 96))
    (tmp_path / "in.ts").write_bytes(first.read_bytes() + then.read_bytes())
    with open_source(f"{tmp_path}/in.ts", SourceOptions(decoder=decoder)) as source:
        options = SinkOptions(media=source.media, encoder=encoder)
        with open_sink(f"{tmp_path}/out.mp4", options) as sink:
            report = run_pipeline(source, lambda frame: frame.bgr, sink)
        notes = [*source.notes, *sink.notes]
    with open_source(f"{tmp_path}/out.mp4") as made:
        frames = list(made)
    assert report.frames == 40 and {frame.bgr.shape for frame in frames} == {(96, 128, 3)}
    assert coded[1](frames[3].bgr) == 3
    if decoder == "opencv":  # which stretches by itself and does not say so
        assert coded[1](frames[-1].bgr) == 19
        return
    last = np.ascontiguousarray(frames[-1].bgr[:, 32:96])
    assert coded[1](last) == 19 and frames[-1].bgr[:, :28].max() < 40  # its shape kept, between bars
    assert any("fitted into 128x96" in note for note in notes)


@pytest.mark.parametrize("decoder", DECODERS)
@pytest.mark.parametrize("cut", ["truncated", "damaged"])
def test_a_cut_or_damaged_file_ends_in_a_playable_one_and_the_user_is_told(decoder, cut, tmp_path, clip_maker, coded):
    data = bytearray(clip_maker(tmp_path / "in.mkv", count=90).read_bytes())
    if cut == "truncated":
        del data[len(data) // 2 :]
    else:
        middle = slice(len(data) // 3, len(data) // 2)
        data[middle] = np.random.default_rng(0).integers(0, 256, middle.stop - middle.start, np.uint8).tobytes()
    (tmp_path / "bad.mkv").write_bytes(data)
    with open_source(f"{tmp_path}/bad.mkv", SourceOptions(decoder=decoder)) as source:
        with open_sink(f"{tmp_path}/out.mp4", SinkOptions(media=source.media)) as sink:
            report = run_pipeline(source, lambda frame: frame.bgr, sink)
        notes = source.notes
    with open_source(f"{tmp_path}/out.mp4") as made:
        codes = [coded[1](frame.bgr) for frame in made]
    assert report.frames == len(codes) and 20 <= len(codes) < 90
    assert codes[:10] == list(range(10))
    assert len(notes) == 1 and "bad.mkv" in notes[0]
