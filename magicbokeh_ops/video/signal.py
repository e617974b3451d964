"""What a video says of itself besides its frames, and what its R'G'B' means as light."""

import re
from dataclasses import dataclass, replace
from fractions import Fraction
from types import ModuleType
from typing import Any

import numpy as np
from torch import Tensor

from .codes import RGB, Coding
from .transfer import hlg_to_linear, linear_to_hlg, linear_to_pq, pq_to_linear

PQ, HLG = 16, 18  # transfers, as ITU-T H.273 numbers them
LIGHT = {PQ: (pq_to_linear, linear_to_pq), HLG: (hlg_to_linear, linear_to_hlg)}
UNKNOWN = "unspecified"
BT709 = 1  # primaries, transfer and matrix
UPRIGHT = (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)


@dataclass(frozen=True)
class Signal:
    """What is kept of a video.

    size: (height, width) as stored, before it is turned. rate: frames per second, on average. time_base: seconds in which times are
    counted. primaries, transfer, range: their code points. siting: of chroma, as FFmpeg names it. turn: display matrix, nine
    integers. aspect: width of a pixel over its height, or None.
    """

    size: tuple[int, int]
    rate: Fraction
    time_base: Fraction
    coding: Coding
    primaries: int
    transfer: int
    range: int
    siting: str
    turn: tuple[int, ...] = UPRIGHT
    aspect: Fraction | None = None

    @property
    def shown_size(self) -> tuple[int, int]:
        """Of the pictures."""
        height, width = self.size
        return (width, height) if _moves(self.turn)[0] else (height, width)

    @property
    def space(self) -> str:
        """Of the pictures that `to_picture` gives: HDR becomes linear light."""
        return "linear" if self.transfer in LIGHT else "srgb"

    def to_picture(self, planes: list[Tensor]) -> tuple[Tensor, Tensor | None]:
        """A picture (1, 3, H, W), upright, of planes of codes; and what of its R'G'B' a picture can't hold, or None.

        The latter are values below 0, which colours at edges of coarse chroma often have, and those beyond the end of PQ.
        """
        coded = self.coding.to_rgb(planes)
        picture = LIGHT[self.transfer][0](coded) if self.transfer in LIGHT else coded.clamp(min=0)
        rest = coded - self._coded(picture)
        is_held = rest.abs().amax() < 0.1 / 2**self.coding.bits
        return turned(picture, self.turn), None if is_held else turned(rest, self.turn)

    def to_planes(self, picture: Tensor, rest: Tensor | None) -> list[Tensor]:
        """The inverse of `to_picture`."""
        coded = self._coded(picture)
        return self.coding.to_planes(turned_back(coded if rest is None else coded + rest, self.turn))

    def _coded(self, picture: Tensor) -> Tensor:
        return LIGHT[self.transfer][1](picture) if self.transfer in LIGHT else picture

    def stored_as(self, coding: Coding) -> "Signal":
        """The same in another layout or with more bits."""
        if self.coding.matrix == RGB and coding.layout != "gbr":
            return replace(self, coding=replace(coding, matrix=BT709, is_full=False), range=1)
        return replace(self, coding=coding)


def of_pictures(size: tuple[int, int], rate: Fraction, bits: int) -> Signal:
    """For pictures that are no video yet: as HD and the web have it."""
    return Signal(size, rate, 1 / rate, Coding("yuv420", bits, False, BT709), BT709, BT709, 1, "left")


def siting_of(frame: Any, av: ModuleType) -> str:
    """Where chroma lies, which PyAV tells only in the log of FFmpeg's filter `showinfo`."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base)
    shown, sink = graph.add("showinfo"), graph.add("buffersink")
    source.link_to(shown)
    shown.link_to(sink)
    graph.configure()
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        with av.logging.Capture() as lines:
            graph.push(frame)
            graph.pull()
    finally:
        av.logging.set_level(level)
    found = [re.search(r" cl:(\w+)", line) for _, name, line in lines if name == "showinfo"]
    return next((match[1] for match in found if match), UNKNOWN)


def turn_of(frame: Any) -> tuple[int, ...]:
    """The display matrix of a frame of PyAV."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    return UPRIGHT if matrix is None else tuple(np.frombuffer(bytes(matrix), np.int32).tolist())


def turned(planes: Tensor, turn: tuple[int, ...]) -> Tensor:
    """Planes (B, C, H, W) as they are shown; by quarter turns and mirrored, other angles not at all."""
    swaps, flips = _moves(turn)
    planes = planes.transpose(-1, -2) if swaps else planes
    return planes.flip(flips) if flips else planes


def turned_back(planes: Tensor, turn: tuple[int, ...]) -> Tensor:
    swaps, flips = _moves(turn)
    planes = planes.flip(flips) if flips else planes
    return planes.transpose(-1, -2) if swaps else planes


def _moves(turn: tuple[int, ...]) -> tuple[bool, list[int]]:
    """Whether sides are swapped, and the axes that are reversed after that. A point (x, y) is shown at (a x + c y, b x + d y)."""
    a, b, _, c, d = turn[:5]
    if a == d == 0:
        return True, [axis for axis, sign in ((-1, c), (-2, b)) if sign < 0]
    if b == c == 0:
        return False, [axis for axis, sign in ((-1, a), (-2, d)) if sign < 0]
    return False, []
