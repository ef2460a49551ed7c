"""The sound of a video file, copied packet by packet beside new pictures, or re-encoded where it must be.

encoder.py drives it. Without PyAV there is no sound.

    track = SoundTrack.open(facts, output)
    track.write_until(output, time_s)
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from edge_deeplab.video.frames import MediaFacts

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer
    from av.packet import Packet

# What a container takes as it is; Matroska takes everything. Others are re-encoded as the first that there is.
COPIED = {
    "mp4": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac"),
    "mov": ("aac", "mp3", "ac3", "eac3", "alac", "opus", "flac", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_f32le"),
    "webm": ("opus", "vorbis"),
}
ENCODERS = {"mp4": ("aac",), "mov": ("aac",), "webm": ("libopus", "libvorbis")}


class SoundTrack:
    """The first sound stream of a file, moved so that it stays with the pictures it came with.

    Args:
        container: the opened file the sound comes from; closed by `close`.
        stream: its sound stream.
        output: the container that is written; nothing may have been written to it yet.
        format_name: "mp4", "mov", "matroska" or "webm".
        offset_s: seconds to take off every time stamp.
    """

    def __init__(
        self,
        container: InputContainer,
        stream: AudioStream,
        output: OutputContainer,
        *,
        format_name: str,
        offset_s: Fraction,
    ) -> None:
        self.notes: list[str] = []
        self._container, self._stream, self._offset_s = container, stream, offset_s
        self._is_ended = False
        self._last_dts: int | None = None
        self._output = output
        codec = stream.codec_context.codec.canonical_name  # the format; `name` is the decoder's: mp3float for mp3
        if codec in COPIED.get(format_name, (codec,)):
            self._target: Any = output.add_stream_from_template(stream)
            self._packets = self._copied()
        else:
            encoder = _first_encoder(ENCODERS[format_name])
            rate = 48000 if encoder == "libopus" else stream.codec_context.sample_rate  # the only rate Opus has
            self._target = output.add_stream(encoder, rate=rate)
            self._target.codec_context.layout = _layout_for(stream)
            self._target.codec_context.bit_rate = 64_000 * self._target.codec_context.layout.nb_channels
            self._packets = self._encoded(encoder)
            self.notes.append(f"sound re-encoded from {codec} to {encoder}: .{format_name} does not take {codec}")
        self._waiting: Packet | None = None
        self._misplaced = 0

    @classmethod
    def open(cls, facts: MediaFacts, output: OutputContainer, format_name: str) -> SoundTrack | None:
        """The sound that belongs to the pictures, ready to write; None when there is none."""
        import av

        if facts.sound_from is None:
            return None
        container = av.open(str(facts.sound_from))
        stream = next(iter(container.streams.audio), None)
        if stream is None:
            container.close()
            return None
        return cls(container, stream, output, format_name=format_name, offset_s=facts.offset_s)

    def write_until(self, time_s: float) -> None:
        """Writes the sound that begins before a time, in seconds of the output."""
        while not self._is_ended:
            if self._waiting is None:
                self._waiting = next(self._packets, None)
            if self._waiting is None:
                self._is_ended = True
                return
            packet = self._waiting
            if packet.pts is not None and float(packet.pts * packet.time_base) >= time_s:
                return
            self._waiting = None
            if self._last_dts is not None and packet.dts is not None and packet.dts <= self._last_dts:
                self._misplaced += 1  # a container refuses time that goes backwards; damaged files have it
                continue
            self._last_dts = packet.dts
            self._output.mux(packet)

    def write_rest(self) -> None:
        """Writes all that is left."""
        self.write_until(float("inf"))

    def close(self) -> None:
        """Lets go of the file the sound comes from; the notes are complete then."""
        if self._misplaced:
            self.notes.append(f"{self._misplaced} pieces of sound were left out: their time goes backwards")
            self._misplaced = 0
        self._container.close()

    def _demuxed(self) -> Iterator[Packet]:
        import av

        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except av.error.FFmpegError:
                self.notes.append("the sound ends early: the file is damaged")
                return
            if packet.size:  # the last one is empty: it flushes decoders
                yield packet

    def _copied(self) -> Iterator[Packet]:
        for packet in self._demuxed():
            if packet.dts is None:
                continue
            shift = self._shift(packet.time_base)
            packet.pts = None if packet.pts is None else packet.pts - shift
            packet.dts -= shift
            packet.stream = self._target
            yield packet

    def _encoded(self, encoder: str) -> Iterator[Packet]:
        import av

        context = self._target.codec_context
        resampler = av.AudioResampler(
            format=_sample_format(encoder), layout=context.layout, rate=context.sample_rate,
            frame_size=context.frame_size or 1024,
        )  # fmt: skip
        damaged = 0
        for packet in self._demuxed():
            try:
                frames = self._stream.codec_context.decode(packet)
            except av.error.FFmpegError:
                damaged += 1
                continue
            for frame in frames:
                yield from self._encode(resampler.resample(self._moved(frame)))
        yield from self._encode(resampler.resample(None))
        yield from self._target.encode(None)
        if damaged:
            self.notes.append(f"{damaged} pieces of the sound could not be decoded and are silent")

    def _moved(self, frame: AudioFrame) -> AudioFrame:
        if frame.pts is not None:
            frame.pts -= self._shift(frame.time_base)
        return frame

    def _shift(self, time_base: Fraction | None) -> int:
        return round(self._offset_s / time_base) if time_base else 0

    def _encode(self, frames: list[AudioFrame]) -> Iterator[Packet]:
        for frame in frames:
            yield from self._target.encode(frame)


def _first_encoder(names: tuple[str, ...]) -> str:
    import av

    return next((name for name in names if name in av.codecs_available), names[-1])


def _sample_format(encoder: str) -> str:
    import av

    formats = av.Codec(encoder, "w").audio_formats
    assert formats, encoder  # every sound encoder names the formats it takes
    return formats[0].name


def _layout_for(stream: AudioStream) -> str:
    """Mono stays mono and 5.1 stays 5.1; anything unusual becomes stereo.

    By number, because raw PCM has channels but no names for them.
    """
    return {1: "mono", 2: "stereo", 6: "5.1"}.get(stream.codec_context.layout.nb_channels, "stereo")
