"""A picture of what will be sharp: green in focus, orange in front of it, blue behind."""

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from .defocus import FOCUS_THRESHOLD, K_TRAINED, check_image, fit, match_batch, signed_radius

IN_FOCUS, IN_FRONT, BEHIND = (0.30, 0.85, 0.35), (1.00, 0.55, 0.10), (0.20, 0.50, 1.00)


def focus_overlay(
    image: Tensor,
    disparity: Tensor,
    focus: float,
    k: float,
    point: tuple[float, float] | None = None,
    drawing: Tensor | None = None,
    focus_range: float = 0.0,
    falloff: float = 1.0,
    tilt: float = 0.0,
    tilt_direction: float = 0.0,
) -> Tensor:
    """Tint `image` (B, 3, H, W, in [0, 1]) by where the focus lies, with a legend; same shape.

    The tint grows with the blur radius up to 32 pixels. The focus mask's threshold bounds the green.
    point: where the focus was taken, 0..1 from left and top; marked with a ring.
    drawing: what `draw_legend` gives for the same values, so that the frames of a clip share it.
    focus_range, falloff, tilt, tilt_direction: as for `defocus.signed_radius`.
    """
    check_image(image)
    disparity = match_batch(fit(disparity, image.shape[-2:], "disparity"), len(image), "disparity")
    radius = signed_radius(disparity, focus, k, focus_range, falloff, tilt, tilt_direction).div_(K_TRAINED)
    # As numbers, with which lerp chooses several times as fast as where does.
    in_focus, in_front = (radius.abs() <= FOCUS_THRESHOLD).to(radius), (radius > 0).to(radius)
    strength = radius.abs_().clamp_(max=1).mul_(0.45).add_(0.25).lerp_(radius.new_tensor(0.35), in_focus)
    shown = image.float().clamp(0, 1)
    shown.lerp_(shown.mean(1, keepdim=True), 0.5)
    for plane, *levels in zip(shown.split(1, dim=1), IN_FOCUS, IN_FRONT, BEHIND):
        green, orange, blue = (radius.new_tensor(level) for level in levels)
        plane.lerp_(torch.lerp(blue, orange, in_front).lerp_(green, in_focus), strength)
    drawing = (draw_legend(shown.shape[-1], shown.shape[-2], focus, k, point) if drawing is None else drawing).to(shown)
    return shown.lerp_(drawing[:3], drawing[3:])


def draw_legend(width: int, height: int, focus: float, k: float, point: tuple[float, float] | None = None) -> Tensor:
    """Legend and ring of `focus_overlay` as (4, H, W) colour and alpha."""
    canvas = Image.new("RGBA", (width, height))
    draw = ImageDraw.Draw(canvas)
    entries = [("in focus", IN_FOCUS), ("in front", IN_FRONT), ("behind", BEHIND), (f"focus {focus:.3f}, K {k:g}", None)]
    unit = max(2, min(width // 28, height // 20))
    font = ImageFont.load_default(size=unit)
    x, y = float(unit), height - 2 * unit
    length = sum(draw.textlength(text, font) + unit * (1 if color is None else 2.5) for text, color in entries)
    draw.rectangle((x - unit // 2, y - unit // 2, x + length, y + 1.5 * unit), fill=(0, 0, 0, 170))
    for text, color in entries:
        if color is not None:
            draw.rectangle((x, y + unit // 6, x + unit, y + unit), fill=tuple(round(255 * c) for c in color))
            x += 1.4 * unit
        draw.text((x, y), text, font=font, fill="white", anchor="la")
        x += draw.textlength(text, font) + 1.1 * unit
    if point is not None:
        cx, cy = point[0] * width, point[1] * height
        for radius, line in ((unit, "black"), (unit - max(1, unit // 8), "white")):
            draw.ellipse((cx - radius, cy - radius, cx + radius, cy + radius), outline=line, width=max(2, unit // 6))
    return torch.from_numpy(np.array(canvas)).permute(2, 0, 1) / 255
