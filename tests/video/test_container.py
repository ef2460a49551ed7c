"""What a video file keeps on its way through: rate, time stamps, rotation, colours, sound, pixel shape."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from edge_deeplab.errors import InputError
from edge_deeplab.video.container import PyavVideoSource
from edge_deeplab.video.opencv_file import OpencvVideoSource
from edge_deeplab.video.pipeline import run_pipeline
from edge_deeplab.video.sink import SinkOptions, open_sink

NTSC = Fraction(30000, 1001)
FILM = Fraction(24000, 1001)
CODEC_LEVELS = 6  # out of 255: what 4:2:0 and crf 20 do to a flat patch, measured 3


def through(source_path: Path, target: Path, *, frames: int | None = None, **options) -> list[str]:
    """Runs a file through the pipeline unchanged, or its first frames by hand; gives the notes."""
    with PyavVideoSource(source_path) as source:
        with open_sink(str(target), SinkOptions(media=source.media, **options)) as sink:
            if frames is None:
                run_pipeline(source, lambda frame: frame.bgr, sink)
            else:
                for frame in source:
                    if frame.index == frames:
                        break
                    sink.write(frame.bgr, frame.time_s)
        return [*source.notes, *sink.notes]


def presentation_times(path: Path) -> list[Fraction]:
    import av

    with av.open(str(path)) as container:
        return [frame.pts * frame.time_base for frame in container.decode(video=0)]


def sound_packets(path: Path) -> list[tuple[Fraction, bytes]]:
    import av

    with av.open(str(path)) as container:
        track = container.streams.audio[0]
        return [(packet.pts * packet.time_base, bytes(packet)) for packet in container.demux(track) if packet.size]


@pytest.mark.parametrize("fps", [Fraction(25), Fraction(30), NTSC, FILM, Fraction(60000, 1001), Fraction(15, 2)])
@pytest.mark.parametrize(("came", "made"), [("mp4", "mp4"), ("mkv", "mp4"), ("mp4", "mkv"), ("mkv", "webm")])
def test_a_steady_rate_is_kept_exactly(came, made, fps, tmp_path, clip_maker, coded) -> None:
    _, read_code = coded
    clip = clip_maker(tmp_path / f"in.{came}", fps=fps, count=24)
    target = tmp_path / f"out.{made}"
    assert through(clip, target) == []
    with PyavVideoSource(target) as source:
        assert source.fps == fps
        frames = list(source)
    assert [read_code(frame.bgr) for frame in frames] == list(range(24))
    assert [frame.time_s for frame in frames] == [float(index / fps) for index in range(24)]


def test_avi_which_has_no_presentation_times_keeps_order_and_rate(tmp_path, clip_maker, coded) -> None:
    _, read_code = coded
    clip = clip_maker(tmp_path / "in.avi", count=24)  # with B-frames, so that packets are not in the order of pictures
    assert through(clip, tmp_path / "out.mp4") == []
    frames = list(PyavVideoSource(tmp_path / "out.mp4"))
    assert [read_code(frame.bgr) for frame in frames] == list(range(24))
    assert [frame.time_s for frame in frames] == [index / 30 for index in range(24)]


def test_a_variable_rate_keeps_every_time_stamp(tmp_path, clip_maker) -> None:
    steps = np.random.default_rng(0).integers(900, 6000, 29)
    times_s = [Fraction(int(tick), 90000) for tick in np.concatenate([[0], np.cumsum(steps)])]
    clip = clip_maker(tmp_path / "in.mp4", count=30, times_s=times_s, time_base=Fraction(1, 90000))
    assert presentation_times(clip) == times_s
    through(clip, tmp_path / "out.mp4")
    assert presentation_times(tmp_path / "out.mp4") == times_s


@pytest.mark.parametrize("rotation", [90, 180, 270])
def test_a_rotated_phone_video_comes_out_upright_without_a_rotation_mark(rotation, tmp_path, clip_maker) -> None:
    """OpenCV, which turns by the mark on its own, is the oracle; and the corner we drew is at the top left."""
    import av

    upright = np.full((64, 48, 3) if rotation != 180 else (48, 64, 3), 60, np.uint8)
    upright[:16, :16] = (0, 0, 220)
    lying = np.ascontiguousarray(np.rot90(upright, -rotation // 90))
    clip = clip_maker(
        tmp_path / "in.mp4", count=3, frame=lambda _: lying, size_wh=lying.shape[1::-1], rotation=rotation
    )
    through(clip, tmp_path / "out.mp4")
    for path in (clip, tmp_path / "out.mp4"):
        ours, theirs = next(iter(PyavVideoSource(path))).bgr, next(iter(OpencvVideoSource(path))).bgr
        assert ours.shape == theirs.shape == upright.shape
        assert np.abs(ours.astype(int) - theirs).max() <= CODEC_LEVELS
        assert ours[4, 4, 2] > 150 and ours[4, 4, 0] < 80
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert next(container.decode(video=0)).rotation == 0


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts", "in.mov"])
def test_sound_is_copied_packet_by_packet(name, tmp_path, clip_maker) -> None:
    clip = clip_maker(tmp_path / name, sound="aac", count=40)
    assert through(clip, tmp_path / "out.mp4") == []
    came, kept = sound_packets(clip), sound_packets(tmp_path / "out.mp4")
    if name.endswith(".ts"):  # there each packet has an ADTS header of 7 bytes, which MP4 does without
        came = [(time_s, packet[7:]) for time_s, packet in came]
    assert [packet for _, packet in kept] == [packet for _, packet in came]
    shifts = {float(now - before) for (before, _), (now, _) in zip(came, kept)}
    assert max(shifts) - min(shifts) < 0.0011  # Matroska's clock is one of milliseconds


@pytest.mark.parametrize("name", ["in.mp4", "in.mkv", "in.ts"])
@pytest.mark.parametrize("late", ["sound", "pictures"])
def test_sound_stays_with_its_picture(name, late, tmp_path, clip_maker) -> None:
    half_s = Fraction(1, 2)
    delays = {"sound_delay_s": 0.5} if late == "sound" else {"times_s": [half_s + Fraction(i, 30) for i in range(40)]}
    clip = clip_maker(tmp_path / name, sound="aac", count=40, **delays)
    through(clip, tmp_path / "out.mp4")

    def lead_s(path: Path) -> float:
        return float(sound_packets(path)[0][0] - presentation_times(path)[0])

    assert lead_s(tmp_path / "out.mp4") == pytest.approx(lead_s(clip), abs=0.0011)
    expected_s = 0.5 if late == "sound" else -0.5
    assert lead_s(tmp_path / "out.mp4") == pytest.approx(
        expected_s, abs=0.03
    )  # the encoder begins with a silent packet


def test_clips_strung_together_keep_every_frame_and_a_clock_that_runs_on(tmp_path, clip_maker, coded) -> None:
    """Two MPEG transport streams, one after the other, are one: its size changes and its clock begins anew."""
    _, read_code = coded
    small = clip_maker(tmp_path / "a.ts", sound="aac", count=20)
    large = clip_maker(tmp_path / "b.ts", sound="aac", count=20, size_wh=(128, 96))
    (tmp_path / "in.ts").write_bytes(small.read_bytes() + large.read_bytes())
    notes = through(tmp_path / "in.ts", tmp_path / "out.mp4")
    assert any("jumps back" in note for note in notes) and any("fitted into 64x48" in note for note in notes)
    with PyavVideoSource(tmp_path / "out.mp4") as source:
        frames = list(source)
    assert [read_code(frame.bgr) for frame in frames] == [*range(20), *range(20)]
    assert [frame.time_s for frame in frames] == pytest.approx([index / 30 for index in range(40)], abs=0.04)


def test_a_file_that_changes_its_shape_keeps_people_as_they_are(tmp_path, clip_maker) -> None:
    def bright(_: int) -> np.ndarray:
        return np.full((48, 64, 3), 200, np.uint8)

    wide = clip_maker(tmp_path / "a.ts", count=5, frame=bright)
    tall = clip_maker(tmp_path / "b.ts", count=5, frame=lambda _: bright(0)[:, :32], size_wh=(32, 48))
    (tmp_path / "in.ts").write_bytes(wide.read_bytes() + tall.read_bytes())
    with PyavVideoSource(tmp_path / "in.ts") as source:
        last = list(source)[-1].bgr.mean(axis=2)
    assert last.shape == (48, 64)
    assert last[:, 18:46].min() > 150 and max(last[:, :14].max(), last[:, 50:].max()) < 40  # bars, not a wider person


def test_what_a_file_holds_beyond_one_sound_track_is_said(tmp_path, clips) -> None:
    import av

    with av.open(str(clips / "plain.mp4")) as came, av.open(str(tmp_path / "two.mkv"), "w") as made:
        tracks = {0: [made.add_stream_from_template(came.streams.video[0])], 1: []}
        tracks[1] = [made.add_stream_from_template(came.streams.audio[0]) for _ in range(2)]
        for packet in came.demux():
            for track in tracks[packet.stream_index] if packet.size else ():
                packet.stream = track
                made.mux(packet)
    with PyavVideoSource(tmp_path / "two.mkv") as source:
        assert any("of its 2 sound tracks only the first" in note for note in source.notes)


@pytest.mark.parametrize(
    ("came", "sound", "made", "expected"),
    [
        ("in.mkv", "pcm_s16le", "out.mp4", "aac"),
        ("in.mp4", "aac", "out.webm", "opus"),
        ("in.webm", "libopus", "out.webm", "opus"),
        ("in.avi", "libmp3lame", "out.mp4", "mp3float"),
    ],
)
def test_sound_the_container_does_not_take_is_re_encoded(came, sound, made, expected, tmp_path, clip_maker) -> None:
    import av

    codec = "libvpx-vp9" if came.endswith("webm") else "libx264"
    clip = clip_maker(tmp_path / came, sound=sound, count=60, codec=codec)
    notes = through(clip, tmp_path / made)
    assert [("re-encoded" in note) for note in notes] == ([] if sound.startswith("lib") else [True])
    with av.open(str(tmp_path / made)) as container:
        track = container.streams.audio[0]
        assert track.codec_context.name == expected
        rate = track.codec_context.sample_rate
        left = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(track)])  # planar floats
    assert len(left) / rate == pytest.approx(2.0, abs=0.06)
    spectrum = np.abs(np.fft.rfft(left[:rate] * np.hanning(rate)))
    assert abs(int(spectrum.argmax()) - 440) <= 1  # one second, so a bin is one hertz: still our tone


@pytest.mark.parametrize(("layout", "made"), [("mono", "out.mp4"), ("mono", "out.webm"), ("5.1", "out.webm")])
def test_re_encoded_sound_keeps_its_channels(layout, made, tmp_path, clip_maker) -> None:
    import av

    clip = clip_maker(tmp_path / "in.mkv", sound="pcm_s16le", layout=layout)
    through(clip, tmp_path / made)
    with av.open(str(tmp_path / made)) as container:
        assert container.streams.audio[0].codec_context.layout.name == layout


def test_an_interruption_cuts_the_sound_with_the_picture(tmp_path, clip_maker) -> None:
    clip = clip_maker(tmp_path / "in.mp4", sound="aac", count=90)
    through(clip, tmp_path / "out.mp4", frames=30)
    assert len(presentation_times(tmp_path / "out.mp4")) == 30
    assert 0.9 < float(sound_packets(tmp_path / "out.mp4")[-1][0]) < 1.1


def test_sound_longer_than_the_pictures_is_kept_to_its_end(tmp_path, clip_maker) -> None:
    clip = clip_maker(tmp_path / "in.mp4", sound="aac", sound_delay_s=1.0, count=20)
    through(clip, tmp_path / "out.mp4")
    assert len(sound_packets(tmp_path / "out.mp4")) == len(sound_packets(clip))


def test_browsers_can_play_it(clips, tmp_path) -> None:
    import av

    through(clips / "plain.mp4", tmp_path / "out.mp4")
    data = (tmp_path / "out.mp4").read_bytes()
    assert 0 < data.find(b"moov") < data.find(b"mdat")  # the index in front: it plays while it still loads
    with av.open(str(tmp_path / "out.mp4")) as container:
        context = container.streams.video[0].codec_context
        assert (context.name, context.pix_fmt) == ("h264", "yuv420p")
        assert context.profile in ("High", "Main", "Constrained Baseline")


def test_odd_sizes_are_padded_and_it_is_said(tmp_path) -> None:
    frame = np.random.default_rng(0).integers(0, 255, (1, 63, 3), np.uint8).repeat(47, axis=0)
    with open_sink(f"{tmp_path}/out.mp4") as sink:
        sink.write(frame, 0.0)
    assert sink.notes == ["63x47 padded to 64x48: what browsers play has even sizes"]
    with PyavVideoSource(tmp_path / "out.mp4") as source:
        assert source.size_wh == (64, 48)


@pytest.mark.parametrize(("rotation", "expected"), [(0, Fraction(4, 3)), (90, Fraction(3, 4))])
def test_pixels_that_are_not_square_stay_so(rotation, expected, tmp_path, clip_maker) -> None:
    import av

    clip = clip_maker(tmp_path / "in.mp4", count=3, pixel_aspect=Fraction(4, 3), rotation=rotation)
    through(clip, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == expected


@pytest.mark.parametrize("size_wh", [(64, 48), (1280, 720)])
def test_colours_come_through(size_wh, tmp_path, clip_maker) -> None:
    """Untagged files mean BT.601 when small and BT.709 from 720 lines on; ours say BT.709."""
    import av

    colours = np.array([[40, 80, 200], [200, 60, 20], [60, 200, 60], [128, 128, 128]], np.uint8)
    width, height = size_wh
    bars = np.repeat(colours, width // 4, axis=0)[None].repeat(height, axis=0)
    with open_sink(f"{tmp_path}/out.mp4") as sink:
        sink.write(bars, 0.0)
    for reader in (PyavVideoSource, OpencvVideoSource):
        seen = next(iter(reader(tmp_path / "out.mp4"))).bgr[height // 2, width // 8 :: width // 4]
        assert np.abs(seen.astype(int) - colours).max() <= CODEC_LEVELS
    with av.open(str(tmp_path / "out.mp4")) as container:
        frame = next(container.decode(video=0))
        assert (frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range) == (1, 1, 1, 1)


@pytest.mark.parametrize("reader", [PyavVideoSource, OpencvVideoSource])
@pytest.mark.parametrize(
    ("name", "content", "said"),
    [("missing.mp4", None, "no such file"), ("empty.mp4", b"", "is empty"), ("wrong.mp4", b"words" * 999, "no video")],
)
def test_a_wrong_file_is_one_line(reader, name, content, said, tmp_path, capfd) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        reader(tmp_path / name)
    assert "\n" not in str(caught.value) and name in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reader", [PyavVideoSource, OpencvVideoSource])
def test_a_file_cut_before_its_index_is_one_line(reader, tmp_path, clip_maker, capfd) -> None:
    whole = clip_maker(tmp_path / "in.mp4").read_bytes()  # PyAV leaves the index at the end
    (tmp_path / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="truncated"):
        reader(tmp_path / "cut.mp4")
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reader", [PyavVideoSource, OpencvVideoSource])
def test_of_a_cut_file_what_is_there_is_read_and_the_user_told(reader, tmp_path, clip_maker, coded, capfd) -> None:
    _, read_code = coded
    whole = clip_maker(tmp_path / "in.mkv", count=60).read_bytes()
    (tmp_path / "cut.mkv").write_bytes(whole[: len(whole) // 2])
    with reader(tmp_path / "cut.mkv") as source:
        codes = [read_code(frame.bgr) for frame in source]
    assert 10 < len(codes) < 50
    assert codes[:-3] == list(range(len(codes) - 3))  # the last ones may miss a neighbour, which was cut off
    assert codes == sorted(set(codes))
    assert len(source.notes) == 1 and ("ends early" in source.notes[0] or "could not be decoded" in source.notes[0])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("reader", [PyavVideoSource, OpencvVideoSource])
def test_damage_in_the_middle_costs_only_the_damaged_frames(reader, tmp_path, clip_maker, coded, capfd) -> None:
    _, read_code = coded
    data = bytearray(clip_maker(tmp_path / "in.mp4", count=60).read_bytes())
    packets = slice(data.find(b"mdat") + len(data) // 6, len(data) // 3)
    noise = np.random.default_rng(0).integers(1, 255, packets.stop - packets.start, np.uint8)
    data[packets] = bytes(np.frombuffer(bytes(data[packets]), np.uint8) ^ noise)
    (tmp_path / "damaged.mp4").write_bytes(data)
    with reader(tmp_path / "damaged.mp4") as source:
        frames = list(source)
    assert [read_code(frame.bgr) for frame in frames[-10:]] == list(range(50, 60))
    assert any("decoded" in note for note in source.notes)
    assert capfd.readouterr() == ("", "")


def test_a_file_of_sound_alone_is_no_video(tmp_path, clip_maker) -> None:
    import av

    with av.open(str(tmp_path / "song.m4a"), "w", format="mp4") as container:
        track = container.add_stream("aac", rate=48000, layout="stereo")
        silence = av.AudioFrame.from_ndarray(np.zeros((2, 1024), np.float32), format="fltp", layout="stereo")
        silence.sample_rate = 48000
        container.mux(track.encode(silence))
        container.mux(track.encode(None))
    with pytest.raises(InputError, match="holds no pictures"):
        PyavVideoSource(tmp_path / "song.m4a")


def test_both_readers_see_the_same(clips, coded) -> None:
    with PyavVideoSource(clips / "plain.mp4") as ours, OpencvVideoSource(clips / "plain.mp4") as fallback:
        assert (ours.fps, ours.size_wh, ours.frame_count) == (fallback.fps, fallback.size_wh, fallback.frame_count)
        for one, other in zip(ours, fallback, strict=True):
            assert one.time_s == pytest.approx(other.time_s, abs=1e-6)
            assert np.abs(one.bgr.astype(int) - other.bgr).max() <= CODEC_LEVELS


def test_a_real_webcam_clip_passes_whole(shared, tmp_path) -> None:
    clip = shared / "clips" / "eat.mkv"
    with PyavVideoSource(clip) as source:
        count = sum(1 for _ in source)
    assert through(clip, tmp_path / "out.mp4") == []
    with PyavVideoSource(tmp_path / "out.mp4") as source:
        assert source.fps == 30 and source.size_wh == (640, 480)
        assert [frame.time_s for frame in source] == [index / 30 for index in range(count)]
