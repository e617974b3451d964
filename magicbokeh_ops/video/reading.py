"""Clips as files of video, through PyAV: one frame at a time, upright, in the colours that the lens works in."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from types import ModuleType
from typing import Any

from torch import Tensor

from .codes import coding_of, read_planes
from .signal import Signal, siting_of, turn_of, turned

VIDEOS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mxf",
    ".mts",
    ".m2ts",
    ".ts",
    ".mpg",
    ".mpeg",
    ".3gp",
    ".wmv",
    ".flv",
)


@dataclass
class Frame:
    """A frame on its way through the stages.

    image: (1, 3, H, W), upright, in the colours of its clip. is_done: it is in the output already, by an earlier run; no more is needed
    than what stages remember of it. alpha: (1, 1, H, W). start, duration: in the time base of the clip.
    rest: what of the R'G'B' an image can't hold. is_near_new: `steadied` looks at it for a frame that is not done.
    Set by stages: disparity, (1, 1, h, w) in [0, 1]; focus and k, as for `lens.render`.
    """

    index: int
    image: Tensor
    is_done: bool = False
    alpha: Tensor | None = None
    start: int = 0
    duration: int = 1
    rest: Tensor | None = None
    is_near_new: bool = False
    disparity: Tensor = field(init=False)
    focus: float = field(init=False)
    k: float = field(init=False)


class Clip:
    """A file of video. Raises ValueError for what is none, and for interlaced video."""

    def __init__(self, path: Path):
        self.path = path
        self.signal = self._look()

    @property
    def space(self) -> str:
        return self.signal.space

    @property
    def is_deep(self) -> bool:
        return self.signal.coding.bits > 8

    @cached_property
    def count(self) -> int:
        """Frames, counted by their packets."""
        with opened(self.path) as file:
            return sum(packet.size > 0 and not packet.is_discard for packet in file.demux(video=0))

    def frames(
        self,
        is_done: Callable[[int], bool] = lambda _: False,
        take: Callable[[Any], None] | None = None,
        only: Collection[int] | None = None,
    ) -> Iterator[Frame]:
        """All frames, in order, or those of some indexes. is_done: of an index. take: gets the packets of sound on the way.

        Raises ValueError for a file that ends in the middle of a frame, or whose frames change their size.
        """
        for index, frame in self._decoded(take):
            if only is None or index in only:
                yield self._frame(frame, index, is_done(index))

    def levels(self, only: Collection[int] | None = None) -> Iterator[Tensor]:
        """Grey (1, 1, H, W), upright, 0 = black and 1 = white, of frames as above."""
        for index, frame in self._decoded(None):
            if only is None or index in only:
                coding = self.signal.coding
                yield turned(coding.to_grey(read_planes(frame, coding)), self.signal.turn)

    def _decoded(self, take: Callable[[Any], None] | None) -> Iterator[tuple[int, Any]]:
        av = library(self.path)
        with opened(self.path) as file:
            video = file.streams.video[0]
            video.thread_type = "AUTO"
            sound = file.streams.audio if take is not None else ()
            index = 0
            for packet in file.demux(video, *sound):
                if take is not None and packet.stream is not video:
                    if packet.size:
                        take(packet)
                    continue
                try:
                    shown = packet.decode()
                except av.FFmpegError:
                    raise ValueError(f"{self.path} can't be read beyond frame {index}; it may be damaged.") from None
                for frame in shown:
                    self._check_size(frame, index)
                    yield index, frame
                    index += 1

    def _check_size(self, frame: Any, index: int) -> None:
        if (frame.height, frame.width) != self.signal.size:
            height, width = self.signal.size
            raise ValueError(
                f"{self.path} changes from {width} x {height} to {frame.width} x {frame.height} pixels at frame {index}; cut it there."
            )

    def _frame(self, frame: Any, index: int, is_done: bool) -> Frame:
        image, rest = self.signal.to_picture(read_planes(frame, self.signal.coding))
        usual = round(1 / (self.signal.rate * self.signal.time_base))
        start = index * usual if frame.pts is None else frame.pts
        return Frame(index, image, is_done, start=start, duration=frame.duration or usual, rest=rest)

    def _look(self) -> Signal:
        av = library(self.path)
        with opened(self.path) as file:
            if not file.streams.video:
                raise ValueError(f"{self.path} has no video in it.")
            video = file.streams.video[0]
            try:
                frame = next(file.decode(video), None)
            except av.FFmpegError:
                frame = None
            if frame is None:
                raise ValueError(f"{self.path} has no frame that can be read; it may be damaged.")
            if frame.interlaced_frame:
                raise ValueError(f"{self.path} is interlaced, and a lens sees whole frames; deinterlace it first.")
            return Signal(
                (frame.height, frame.width),
                video.average_rate or video.guessed_rate or Fraction(25),
                video.time_base,
                coding_of(frame),
                int(frame.color_primaries),
                int(frame.color_trc),
                int(frame.color_range),
                siting_of(frame, av),
                turn_of(frame),
                video.sample_aspect_ratio,
            )


def opened(path: Path) -> Any:
    """A file to read from. Raises ValueError if it is no video."""
    av = library(path)
    try:
        return av.open(str(path))
    except (FileNotFoundError, PermissionError, IsADirectoryError):
        raise
    except av.FFmpegError:
        raise ValueError(f"{path} is not a video that can be read; it may be damaged.") from None


def library(path: Path) -> ModuleType:
    """PyAV. Raises ValueError where it is not installed, or too old to write display matrices."""
    try:
        import av
        import av.filter
        import av.logging
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{path} needs PyAV ({error.name}), which is not installed: pip install 'magicbokeh[video]'."
        ) from None
    if not hasattr(av.VideoStream, "set_display_matrix"):
        raise ValueError(
            f"{path} needs PyAV 17.1 or newer, and {av.__version__} is installed: pip install 'magicbokeh[video]'."
        )
    return av
