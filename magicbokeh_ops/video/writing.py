"""Clips into files of video, so that they play wherever writing ends, and can be gone on with.

A file is written in fragments, each of which plays as soon as it is there; closing it makes an ordinary one of them. Every `SEGMENT`
frames begin with a new encoder, which knows nothing of those before. So a run that goes on after whole segments gives the same
frames as one that was never stopped. Packets of sound are passed through as they are.
"""

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

from ..color import linear_to_srgb
from .codes import write_planes
from .encoders import QUALITY, check_ending, encoder_for, stored_coding
from .reading import Clip, Frame, library, opened
from .signal import UNKNOWN, UPRIGHT, Signal

SEGMENT = 24  # frames
FRAGMENTS = {"movflags": "+frag_keyframe+delay_moov+hybrid_fragmented"}


class ClipWriter:
    """A file of video that is written frame by frame.

    signal: what is kept of the source. space: colours of the frames. sound: where sound comes from; its packets go to `pass_on`.
    resume: whole segments in a file that is there already are done. Raises ValueError for what can't be written, or gone on with.
    """

    def __init__(
        self, path: Path, signal: Signal, space: str, sound: Clip | None = None, quality: float = QUALITY, resume: bool = False
    ):
        check_ending(path)
        self.path, self.space, self.av = path, space, library(path)
        self.kind = encoder_for(path, signal.coding, quality)
        self.signal = signal.stored_as(stored_coding(signal.coding, self.kind, self.av))
        self.earlier = path.with_name(f"{path.name}.earlier{path.suffix}")
        self.done = self._keep() if resume else 0
        self.kept = self._kept_packets() if self.done else iter(())
        self.file = self._open(sound)
        self.copied = 0
        self.encoder: Any = None
        self.durations: dict[int, int] = {}

    def is_done(self, index: int) -> bool:
        return index < self.done

    def write(self, frame: Frame) -> None:
        self.durations[frame.start] = frame.duration
        if frame.is_done:
            packet = next(self.kept)
            # Its file may have moved and rounded it.
            packet.time_base, packet.pts = self.signal.time_base, frame.start
            self._mux([packet])
            self.copied += 1
            return
        if self.encoder is None or frame.index % SEGMENT == 0:
            self._end_segment()
            self.encoder = self.av.CodecContext.create(self.kind.name, "w")
            self.encoder.flags |= self.av.codec.context.Flags.global_header
            self._set_up(self.encoder)
        picture = linear_to_srgb(frame.image) if self.space != self.signal.space else frame.image
        if frame.alpha is not None:  # what is transparent becomes black
            picture = picture * frame.alpha
        height, width = self.signal.size
        stored = self.av.VideoFrame(width, height, self.signal.coding.format)
        write_planes(stored, self.signal.to_planes(picture.cpu().float(), frame.rest), self.signal.coding.bits)
        _tag(stored, self.signal)
        stored.pts, stored.duration, stored.time_base = frame.start, frame.duration, self.signal.time_base
        self._mux(self.encoder.encode(stored))

    def pass_on(self, packet: Any) -> None:
        """A packet of sound."""
        packet.stream = self.tracks[packet.stream.index]
        self.file.mux(packet)

    def close(self) -> None:
        self._end_segment()
        self.file.close()
        if self.copied == self.done:
            self.earlier.unlink(missing_ok=True)

    def _mux(self, packets: list[Any]) -> None:
        for packet in packets:
            packet.dts = packet.pts  # of a single frame, x265 gives anything
            packet.duration = self.durations.pop(packet.pts, packet.duration)
            packet.stream = self.stream
            self.file.mux(packet)

    def _end_segment(self) -> None:
        if self.encoder is not None:
            self._mux(self.encoder.encode(None))
            self.encoder = None

    def _open(self, sound: Clip | None) -> Any:
        options = {"flush_packets": "1", **(FRAGMENTS if self.path.suffix.lower() != ".mkv" else {})}
        file = self.av.open(str(self.path), mode="w", options=options)
        self.stream = file.add_stream(self.kind.name, rate=self.signal.rate, time_base=self.signal.time_base)
        self._set_up(self.stream.codec_context)
        if self.kind.tag:
            self.stream.codec_context.codec_tag = self.kind.tag
        if self.signal.turn != UPRIGHT:
            self.stream.set_display_matrix(self.signal.turn)
        try:
            self.stream.codec_context.open()
        except self.av.FFmpegError as error:
            height, width = self.signal.size
            raise ValueError(
                f"{self.path} can't be written: {self.kind.name} does not take {width} x {height} pixels as {self.signal.coding.format} "
                f"({error.strerror})."
            ) from None
        self.tracks = {}
        if sound is not None:
            with opened(sound.path) as source:
                file.metadata.update(source.metadata)
                kinds = ", ".join(sorted({track.codec_context.name for track in source.streams.audio}))
                try:
                    for track in source.streams.audio:
                        self.tracks[track.index] = file.add_stream_from_template(track)
                        self.tracks[track.index].metadata.update(track.metadata)
                    file.start_encoding()
                except (ValueError, self.av.FFmpegError):
                    raise ValueError(f"{self.path} can't hold the sound of {sound.path} ({kinds}); write .mkv.") from None
        return file

    def _set_up(self, context: Any) -> None:
        """Settings of an encoder."""
        context.height, context.width = self.signal.size
        context.pix_fmt = self.signal.coding.format
        context.framerate, context.time_base = self.signal.rate, self.signal.time_base
        context.sample_aspect_ratio = self.signal.aspect or Fraction(0, 1)
        siting = {} if self.signal.siting == UNKNOWN else {"chroma_sample_location": self.signal.siting}
        context.options = {**self.kind.options, **siting}
        _tag(context, self.signal)

    def _keep(self) -> int:
        """Puts aside what is there of an earlier run, and counts the frames in its whole segments."""
        found = {path: self._frames_in(path) for path in (self.path, self.earlier) if path.exists()}
        if not found:
            return 0
        longest = max(found, key=lambda path: found[path])
        if longest == self.path:
            self.path.replace(self.earlier)
        return found[longest] // SEGMENT * SEGMENT

    def _frames_in(self, path: Path) -> int:
        try:
            file = opened(path)
        except ValueError:  # ended before its first fragment
            return 0
        with file:
            video = file.streams.video[0]
            coded = video.codec_context
            there = coded.codec.id, coded.height, coded.width, coded.pix_fmt
            wanted = self.av.Codec(self.kind.name, "w").id, *self.signal.size, self.signal.coding.format
            count = sum(1 for _ in _whole_packets(file, video, self.av))
            if count and there != wanted:
                raise ValueError(
                    f"{path} is {coded.width} x {coded.height} pixels of {coded.name} ({coded.pix_fmt}), not what this clip becomes, so it "
                    "can't be gone on with; leave out --resume."
                )
            return count

    def _kept_packets(self) -> Iterator[Any]:
        with opened(self.earlier) as file:
            video = file.streams.video[0]
            in_line = self.kind.in_line and self.av.bitstream.BitStreamFilterContext(self.kind.in_line, video)
            for packet in _whole_packets(file, video, self.av):
                yield from in_line.filter(packet) if in_line else [packet]


def _whole_packets(file: Any, video: Any, av: Any) -> Iterator[Any]:
    """Packets of video up to where a file breaks off."""
    try:
        for packet in file.demux(video):
            if packet.is_corrupt:
                return
            if packet.size:
                yield packet
    except av.FFmpegError:
        return


def _tag(coded: Any, signal: Signal) -> None:
    """Say what colours a frame or an encoder has."""
    coded.color_primaries, coded.color_trc = signal.primaries, signal.transfer
    coded.colorspace, coded.color_range = signal.coding.matrix, signal.range
