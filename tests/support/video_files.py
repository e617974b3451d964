"""Small videos, made with PyAV, and what is in a video."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

CLOCK = Fraction(1, 90000)
BT709, BT2020_PQ, BT2020_HLG = (1, 1, 1), (9, 16, 9), (9, 18, 9)  # primaries, transfer, matrix


def draw(seed: int, size: tuple[int, int], bits: int, low: int = 0, high: int | None = None) -> np.ndarray:
    high = 2**bits - 1 if high is None else high
    return np.random.default_rng(seed).integers(low, high + 1, size).astype(np.uint8 if bits == 8 else np.uint16)


def write_clip(
    path: Path,
    planes_of,
    count: int,
    codec: str = "ffv1",
    pix_fmt: str = "yuv420p10le",
    size: tuple[int, int] = (48, 64),
    tags: tuple[int, int, int] = BT709,
    color_range: int = 1,
    rotation: int = 0,
    sound: str | None = None,
    siting: str | None = None,
    starts=lambda index: 3750 * index,
    **options: str,
) -> Path:
    """planes_of: of an index, the planes of codes (h, w), or one number for each."""
    with av.open(str(path), mode="w") as file:
        video = file.add_stream(codec, rate=24, time_base=CLOCK)
        context = video.codec_context
        context.height, context.width = size
        context.pix_fmt, context.options = pix_fmt, {**options, **({"chroma_sample_location": siting} if siting else {})}
        if rotation:
            video.set_display_rotation(rotation)
        track = file.add_stream(sound, rate=48000) if sound else None
        tag(context, tags, color_range)
        for index in range(count):
            frame = av.VideoFrame(size[1], size[0], pix_fmt)
            for plane, codes in zip(frame.planes, planes_of(index)):
                kind = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else np.uint16)
                np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width] = codes
            tag(frame, tags, color_range)
            frame.pts, frame.time_base = starts(index), CLOCK
            frame.duration = starts(index + 1) - starts(index)
            file.mux(video.encode(frame))
            if track:
                noise = np.random.default_rng(index).normal(0, 0.1, (1, 2000)).astype(np.float32)
                samples = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
                samples.rate, samples.pts, samples.time_base = 48000, 2000 * index, Fraction(1, 48000)
                file.mux(track.encode(samples))
        for stream in (video, track) if track else (video,):
            file.mux(stream.encode(None))
    return path


def tag(coded, tags: tuple[int, int, int], color_range: int) -> None:
    coded.color_primaries, coded.color_trc, coded.colorspace = tags
    coded.color_range = color_range


def sound_of(path: Path) -> list[tuple[bytes, Fraction]]:
    with av.open(str(path)) as file:
        return [(bytes(packet), packet.pts * packet.time_base) for packet in file.demux(audio=0) if packet.size]


def frames_of(path: Path) -> list[tuple[Fraction, list[np.ndarray]]]:
    """Times and planes of codes."""
    with av.open(str(path)) as file:
        return [(frame.pts * frame.time_base, planes(frame)) for frame in file.decode(video=0)]


def planes(frame) -> list[np.ndarray]:
    kind = np.dtype(np.uint8 if frame.format.components[0].bits == 8 else np.uint16)
    return [np.frombuffer(plane, kind).reshape(plane.height, -1)[:, : plane.width].copy() for plane in frame.planes]


def times_of(path: Path) -> list[Fraction]:
    return [time for time, _ in frames_of(path)]


def are_equal(path: Path, other: Path) -> bool:
    """Whether two videos have the same frames at the same times."""
    pairs = list(zip(frames_of(path), frames_of(other), strict=True))
    return all(a[0] == b[0] and all((x == y).all() for x, y in zip(a[1], b[1], strict=True)) for a, b in pairs)


def seconds(path: Path) -> float:
    with av.open(str(path)) as file:
        return file.duration / av.time_base
