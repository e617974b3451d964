"""What became of a focus track, in words and as a picture."""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .pull import shots

SIZE = (320, 960)  # height and width of the picture
_LEFT, _TOP, _RIGHT, _BOTTOM = 64, 40, 24, 40
_BACK, _GRID, _TEXT, _FOCUS, _MEASURED, _LOST, _CUT = (
    "#1b1d20",
    "#3a3d42",
    "#d0d3d8",
    "#4dd95a",
    "#ff8c1a",
    "#5a2430",
    "#6aa8ff",
)


def gaps(measured: Sequence[object | None], cuts: Sequence[int]) -> list[tuple[int, int, bool]]:
    """First and last frame of each stretch in which nothing was measured, and whether something is again later in its shot."""
    found = []
    for shot in shots(cuts, len(measured)):
        start = None
        for i in shot:
            if measured[i] is None and start is None:
                start = i
            if measured[i] is not None and start is not None:
                found.append((start, i - 1, True))
                start = None
        if start is not None:
            found.append((start, shot.stop - 1, False))
    return found


def describe(measured: Sequence[object | None], cuts: Sequence[int], what: str) -> list[str]:
    """Lines on where the subject was lost, and on cuts. what: it is called, such as "the point"."""
    lines = []
    for start, end, found_again in gaps(measured, cuts):
        frames = f"Frame {start}" if start == end else f"Frames {start} to {end}"
        known_before = any(
            measured[i] is not None for shot in shots(cuts, len(measured)) if start in shot for i in range(shot.start, start)
        )
        if found_again and known_before:
            lines.append(f"{frames}: {what} is lost, and found again; the focus goes straight from one to the other.")
        elif found_again:
            lines.append(f"{frames}: {what} is not seen yet; the focus waits where it will be.")
        else:
            lines.append(f"{frames}: {what} is lost; the focus holds.")
    if cuts:
        lines.append(f"Cut{'s' * (len(cuts) > 1)} at frame {', '.join(map(str, cuts))}.")
    return lines


def draw_plot(focus: Sequence[float], measured: Sequence[float | None] | None, cuts: Sequence[int]) -> Tensor:
    """The focus over the frames as a picture (1, 3, H, W): a line, with what was measured as dots, lost stretches and cuts marked."""
    height, width = SIZE
    canvas = Image.new("RGB", (width, height), _BACK)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(size=16)
    across, down = (width - _LEFT - _RIGHT) / max(1, len(focus) - 1), height - _TOP - _BOTTOM

    def place(frame: float, value: float) -> tuple[float, float]:
        return _LEFT + frame * across, _TOP + (1 - min(max(value, 0), 1)) * down

    for start, end, _ in [] if measured is None else gaps(measured, cuts):
        draw.rectangle((*place(max(0, start - 0.5), 1), *place(min(len(focus) - 1, end + 0.5), 0)), fill=_LOST)
    for value in (0, 0.25, 0.5, 0.75, 1):
        draw.line((*place(0, value), *place(len(focus) - 1, value)), fill=_GRID)
        draw.text((_LEFT - 8, place(0, value)[1]), f"{value:g}", font=font, fill=_TEXT, anchor="rm")
    for frame in sorted({0, (len(focus) - 1) // 2, len(focus) - 1}):
        draw.text((place(frame, 0)[0], height - _BOTTOM + 8), str(frame), font=font, fill=_TEXT, anchor="mt")
    for cut in cuts:
        draw.line((*place(cut - 0.5, 1), *place(cut - 0.5, 0)), fill=_CUT, width=2)
    for frame, seen in enumerate(measured or []):
        if seen is not None:
            x, y = place(frame, seen)
            draw.ellipse((x - 3, y - 3, x + 3, y + 3), fill=_MEASURED)
    for shot in shots(cuts, len(focus)):
        draw.line([place(frame, focus[frame]) for frame in (*shot, shot[-1])], fill=_FOCUS, width=3)
    x = float(_LEFT)
    for text, color in (("focus", _FOCUS), ("measured", _MEASURED), ("lost", _LOST), ("cut", _CUT)):
        draw.rectangle((x, 14, x + 14, 28), fill=color)
        draw.text((x + 20, 21), text, font=font, fill=_TEXT, anchor="lm")
        x += 44 + draw.textlength(text, font)
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1)[None] / 255
