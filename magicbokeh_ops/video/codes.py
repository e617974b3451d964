"""The codes that a video stores, as R'G'B' and back: matrix, range, bits and coarser chroma (ITU-R BT.601, BT.709, BT.2020).

Chroma is repeated for the pixels that share it, and their mean is stored: what nothing has changed comes out as the same codes.
An interpolation would be smoother, but not exact, and would blur chroma a little with every pass.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

RGB, FULL = 0, 2  # a matrix, as ITU-T H.273 numbers them, and a range, as FFmpeg does
BT709, BT601 = (0.2126, 0.0722), (0.299, 0.114)
WEIGHTS = {1: BT709, 4: (0.30, 0.11), 5: BT601, 6: BT601, 7: (0.212, 0.087), 9: (0.2627, 0.0593), 10: (0.2627, 0.0593)}
LAYOUTS = {(1, 1): "yuv444", (2, 1): "yuv422", (2, 2): "yuv420", (1, 2): "yuv440", (4, 1): "yuv411", (4, 4): "yuv410"}
SHARED = {layout: shared for shared, layout in LAYOUTS.items()}  # pixels across and down that share chroma


@dataclass(frozen=True)
class Coding:
    """How pixels are stored in planes.

    layout: "yuv420" and the like, or "gbr". bits: per value. is_full: whether black and white are the lowest and the highest code.
    matrix: its code point.
    """

    layout: str
    bits: int
    is_full: bool
    matrix: int

    @property
    def format(self) -> str:
        """The name that FFmpeg gives to it."""
        return f"{self.layout}p" + (f"{self.bits}le" if self.bits > 8 else "")

    @property
    def _scales(self) -> tuple[float, float, float, float]:
        """Codes of black, of white minus black, of grey chroma, and of chroma from -0.5 to 0.5."""
        if self.is_full:
            return 0, 2**self.bits - 1, 2 ** (self.bits - 1), 2**self.bits - 1
        unit = 2 ** (self.bits - 8)
        return 16 * unit, 219 * unit, 128 * unit, 224 * unit

    def _weights(self, height: int) -> tuple[float, float]:
        """Of red and blue in luma. Without a matrix, players take that of BT.709 from 720 lines on."""
        return WEIGHTS.get(self.matrix, BT709 if height >= 720 else BT601)

    def to_rgb(self, planes: Sequence[Tensor]) -> Tensor:
        """R'G'B' (1, 3, H, W), 0 = black and 1 = white, and beyond that for codes beyond, of planes (h, w) of codes."""
        black, span, grey, chroma_span = self._scales
        if self.layout == "gbr":
            green, blue, red = ((plane.float() - black) / span for plane in planes)
            return torch.stack([red, green, blue])[None]
        luma = (planes[0].float() - black) / span
        across, down = SHARED[self.layout]
        height, width = luma.shape
        blue, red = (
            ((plane.float() - grey) / chroma_span).repeat_interleave(down, 0).repeat_interleave(across, 1)[:height, :width]
            for plane in planes[1:]
        )
        k_red, k_blue = self._weights(height)
        out = torch.empty(1, 3, height, width)
        out[0, 0] = luma + 2 * (1 - k_red) * red
        out[0, 2] = luma + 2 * (1 - k_blue) * blue
        out[0, 1] = (luma - k_red * out[0, 0] - k_blue * out[0, 2]) / (1 - k_red - k_blue)
        return out

    def to_grey(self, planes: Sequence[Tensor]) -> Tensor:
        """Luma (1, 1, H, W), 0 = black and 1 = white; of RGB the green."""
        black, span, *_ = self._scales
        return (planes[0][None, None].float() - black) / span

    def to_planes(self, rgb: Tensor) -> list[Tensor]:
        """Planes (h, w) of codes of R'G'B' (1, 3, H, W), the inverse of `to_rgb`; what no code can hold is cut off."""
        black, span, grey, chroma_span = self._scales
        red, green, blue = rgb[0]
        if self.layout == "gbr":
            return [self._codes(plane * span + black) for plane in (green, blue, red)]
        k_red, k_blue = self._weights(rgb.shape[-2])
        luma = k_red * red + (1 - k_red - k_blue) * green + k_blue * blue
        across, down = SHARED[self.layout]
        chroma = torch.stack([(blue - luma) / (2 * (1 - k_blue)), (red - luma) / (2 * (1 - k_red))])[None]
        rest = (0, -chroma.shape[-1] % across, 0, -chroma.shape[-2] % down)
        chroma = F.avg_pool2d(F.pad(chroma, rest, mode="replicate"), (down, across))[0]
        return [self._codes(luma * span + black), *(self._codes(plane * chroma_span + grey) for plane in chroma)]

    def _codes(self, values: Tensor) -> Tensor:
        return values.round().clamp(0, 2**self.bits - 1).to(torch.uint8 if self.bits == 8 else torch.int32)


def coding_of(frame: Any) -> Coding:
    """How `read_planes` gives the planes of a frame of PyAV."""
    name, components = frame.format.name, frame.format.components
    bits = max(components[0].bits, 8)
    is_full = frame.color_range == FULL or name.startswith("yuvj")
    if name.startswith("gray"):
        return Coding("yuv420", bits, is_full, int(frame.colorspace))
    if frame.format.is_rgb or len(components) < 3:  # with a palette, or black and white
        return Coding("gbr", bits, True, RGB)
    shared = 64 // frame.format.chroma_width(64), 64 // frame.format.chroma_height(64)
    return Coding(LAYOUTS[shared], bits, is_full, int(frame.colorspace))


def read_planes(frame: Any, coding: Coding) -> list[Tensor]:
    """Planes (h, w) of codes. Transparency is left out, and grey gets chroma."""
    is_grey = frame.format.name.startswith("gray")
    if len(frame.planes) < 3 and not is_grey:
        frame = frame.reformat(format=coding.format)
    planes = [_rows(plane, coding.bits)[:, : plane.width] for plane in frame.planes[: 1 if is_grey else 3]]
    found = [torch.from_numpy(plane.astype(np.uint8 if coding.bits == 8 else np.int32)) for plane in planes]
    if is_grey:
        height, width = (-(-side // 2) for side in found[0].shape)
        found += [torch.full((height, width), 2 ** (coding.bits - 1), dtype=found[0].dtype)] * 2
    return found


def write_planes(frame: Any, planes: Sequence[Tensor], bits: int) -> None:
    """Fill a frame of PyAV with planes of codes."""
    for plane, codes in zip(frame.planes, planes):
        _rows(plane, bits)[:, : plane.width] = codes.numpy()


def _rows(plane: Any, bits: int) -> np.ndarray:
    """The memory of a plane, with what is behind the end of its rows."""
    kind = np.dtype(np.uint8 if bits == 8 else np.uint16)
    return np.frombuffer(plane, kind).reshape(plane.height, plane.line_size // kind.itemsize)
