"""From depth of any kind to disparity, and from disparity and focus (`focus.py`) to the defocus map (paper Eq. 1).

Disparity is (B, 1, H, W) in [0, 1], 1 = nearest. It is normalised once over a whole batch and the focus is one value
for a whole batch, so that the frames of a video do not flicker.
"""

import math
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from .clips import Frames, extremes, percentiles
from .focal_plane import tilted
from .focus import focus_from_box, focus_from_mask, focus_from_point, focus_on_nearest, released_focus
from .planes import OVERSHOOT, check_image, check_map, check_same_shape, fill_unknown, fit, match_batch, resize
from .windows import widen

# Scripts know what is defined in `focus` and `planes` from here, too.
__all__ = [
    "CONVENTIONS",
    "FOCUS_THRESHOLD",
    "K_TRAINED",
    "check_any_distance",
    "check_disparity",
    "check_image",
    "check_map",
    "check_same_shape",
    "cut_to_8_bit",
    "defocus_map",
    "fill_unknown",
    "find_range",
    "fit",
    "focus_from_box",
    "focus_from_mask",
    "focus_from_point",
    "focus_mask",
    "focus_on_nearest",
    "from_distance",
    "from_inverted_depth",
    "match_batch",
    "normalize",
    "reciprocal",
    "released_focus",
    "resize",
    "signed_radius",
    "stretch",
    "to_disparity",
]

K_TRAINED = 32.0  # largest K of the paper; the network sees radius / 32
SOFT_END = 0.25  # of a focus range over which the blur beyond it begins
FOCUS_THRESHOLD = 0.1  # of radius / 32, as released: a pixel is in focus up to 3.2 pixels of blur


def check_disparity(disparity: Tensor, tilt: float = 0.0) -> None:
    """Raise ValueError unless `disparity` is a finite (B, 1, H, W) map, within [0, 1] but for an overshoot.

    It must not be constant unless the focal plane has a `tilt`, which then makes all the difference.
    """
    check_map(disparity, "disparity")
    low, high = float(disparity.amin()), float(disparity.amax())
    if low == high and not tilt:
        raise _constant(low, "disparity")
    _check_range(low, high, "disparity", "normalise it first (in ComfyUI by Disparity From Depth)")


def _check_range(low: float, high: float, name: str, advice: str) -> None:
    if low < -OVERSHOOT or high > 1 + OVERSHOOT:
        raise ValueError(f"{name} goes from {low:.4g} to {high:.4g}; it must lie in 0..1, so {advice}.")


def _constant(value: float, name: str) -> ValueError:
    return ValueError(f"{name} is constant ({value:.4g} everywhere), so nothing is nearer or farther; use a depth map.")


def normalize(disparity: Tensor, method: str = "percentile") -> Tensor:
    """Stretch disparity to [0, 1] over the whole batch.

    method: "percentile" clips the lowest and highest 0.1 % (a few stray pixels don't set the scale), "minmax" does
    not, "none" only checks that values already lie in [0, 1].
    Raises ValueError if there is nothing to stretch since all values are equal.
    """
    check_map(disparity, "disparity")
    return stretch(disparity, *find_range(lambda: disparity, method))


def find_range(frames: Frames, method: str, name: str = "disparity") -> tuple[Tensor, Tensor]:
    """What `normalize` stretches to [0, 1], of finite frames that are made one at a time. name: what an error calls them.

    Raises ValueError as `normalize` does.
    """
    low, high = extremes(frames)
    if method == "none":
        _check_range(float(low), float(high), name, "choose another normalize than none")
        return torch.zeros_like(low), torch.ones_like(high)
    if low == high:
        raise _constant(float(low), name)
    if method == "percentile":
        lowest, highest = percentiles(frames, 0.001, 0.999)
        if lowest < highest:
            return low.new_tensor(lowest), low.new_tensor(highest)
    elif method != "minmax":
        raise ValueError(f"normalize is {method!r}; choose percentile, minmax or none.")
    return low, high


def stretch(disparity: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Disparity with this range brought to [0, 1], and what lies beyond cut off."""
    return ((disparity - low) / (high - low)).clamp_(0, 1)


CONVENTIONS = {
    "disparity (near = white)": "disparity",
    "inverted depth (near = white)": "inverted depth",
    "depth (near = black)": "depth",
    "distance (in any unit)": "distance",
}


def to_disparity(values: Tensor, convention: str, depth_ratio: float = 10.0) -> Tensor:
    """Disparity, not yet normalised, of a depth map (B, 1, H, W) in one of the `CONVENTIONS`.

    disparity: as it is. distance: 1 / distance. inverted depth, depth: pictures that are linear in distance, stretched
    to 0..1 with near = 1 or near = 0 (see `from_inverted_depth`, which `depth_ratio` is for).
    Of all but distance, NaN and infinite values are filled from around them (in stereo they mark what could not be found).
    Raises ValueError for an unknown convention, for pictures outside 0..1, and for a frame in which nothing is known.
    """
    if convention in ("inverted depth", "depth"):
        values = fill_unknown(values, "depth")
        low, high = float(values.amin()), float(values.amax())
        if low < -OVERSHOOT or high > 1 + OVERSHOOT:
            raise ValueError(
                f"depth goes from {low:.4g} to {high:.4g}, so it is not a picture in 0..1; "
                "choose the convention distance if these are distances."
            )
        values = values.clamp(0, 1)
        return from_inverted_depth(values if convention == "inverted depth" else 1 - values, depth_ratio)
    if convention == "distance":
        return from_distance(values)
    if convention != "disparity":
        raise ValueError(f"convention is {convention!r}; choose one of: {', '.join(CONVENTIONS.values())}.")
    return fill_unknown(values, "depth")


def from_distance(distance: Tensor, sky: Tensor | None = None) -> Tensor:
    """Disparity 1 / distance, not yet normalised, of distances in any unit, (B, 1, H, W).

    Infinite, NaN, zero or negative distance, and `sky` (probability above one half, any size), become disparity 0.
    Raises ValueError if no pixel is left.
    """
    found = reciprocal(distance, sky)
    check_any_distance(lambda: found)
    return found


def check_any_distance(frames: Frames) -> None:
    """Raise ValueError unless `reciprocal` has found a distance in one of these frames."""
    if not any(bool(frame.any()) for frame in frames()):
        raise ValueError("depth has no pixel with a finite positive distance; use another depth map or convention.")


def reciprocal(distance: Tensor, sky: Tensor | None = None) -> Tensor:
    """`from_distance` of frames in which there may be no distance at all."""
    valid = torch.isfinite(distance) & torch.isfinite(1 / distance) & (distance > 0)
    if sky is not None:
        valid &= match_batch(fit(sky, distance.shape[-2:], "sky", "depth"), len(distance), "sky") < 0.5
    return torch.where(valid, 1 / distance.where(valid, torch.ones_like(distance)), torch.zeros_like(distance))


def from_inverted_depth(inverted: Tensor, depth_ratio: float = 10.0) -> Tensor:
    """Disparity in [0, 1] of a picture of depth with near = white, (B, 1, H, W) in [0, 1].

    Such a picture is linear in distance and does not say how far its ends are, so the scene's depth ratio (distance
    of the farthest point over that of the nearest) has to be given. Disparity is stretched so that white stays 1 and
    black stays 0.
    """
    if not 1 < depth_ratio < math.inf:
        raise ValueError(f"depth_ratio is {depth_ratio:g}; the farthest distance over the nearest is above 1.")
    distance = 1 + (1 - inverted.clamp(0, 1)) * (depth_ratio - 1)
    return (1 / distance - 1 / depth_ratio) / (1 - 1 / depth_ratio)


def signed_radius(
    disparity: Tensor,
    focus: float | Sequence[float],
    k: float | Sequence[float],
    focus_range: float = 0.0,
    falloff: float = 1.0,
    tilt: float = 0.0,
    tilt_direction: float = 0.0,
) -> Tensor:
    """Blur radius in pixels, K (d - d_f), of disparity (B, 1, H, W): positive in front of the focal plane (Eq. 1).

    focus and k: one value, or one per frame. What no lens does: everything within `focus_range` (in disparity, half of it to either
    side of the focus) stays sharp, and the blur begins softly at its ends; `falloff` is the power with which it grows with the
    distance from there, 1 as in a lens. tilt, tilt_direction: of the focal plane, as for `focal_plane.slopes`; focus is then that of
    the middle of the picture. Raises ValueError for a negative k or focus_range, and a falloff of 0 or less.
    """
    check_map(disparity, "disparity")
    values = {}
    for name, given in (("focus", focus), ("k", k)):
        values[name] = torch.as_tensor(given, dtype=torch.float32, device=disparity.device).reshape(-1, 1, 1, 1)
        if len(values[name]) not in (1, len(disparity)):
            raise ValueError(f"{name} has {len(values[name])} values for {len(disparity)} frames; give one, or one per frame.")
        if not torch.isfinite(values[name]).all():
            raise ValueError(f"{name} is NaN or infinite; it should be a number.")
    if values["k"].min() < 0:
        raise ValueError(f"k is {float(values['k'].min()):g}; a blur radius is 0 or more pixels.")
    if not 0 <= focus_range < math.inf:
        raise ValueError(f"focus_range is {focus_range:g}; it is a disparity of 0 or more.")
    if not 0 < falloff < math.inf:
        raise ValueError(f"falloff is {falloff:g}; it is above 0, and 1 in a lens.")
    distance = tilted(disparity.float(), tilt, tilt_direction) - values["focus"]
    return blur_radius(distance, values["k"], focus_range, falloff)


def blur_radius(distance: Tensor, k: Tensor | float, focus_range: float = 0.0, falloff: float = 1.0) -> Tensor:
    """Signed radius in pixels of a distance from the focal plane, in disparity. Options as for `signed_radius`, which checks them."""
    if focus_range:
        beyond = (distance.abs() - focus_range / 2).clamp(min=0)
        distance = (beyond**2 / (beyond + focus_range * SOFT_END).clamp(min=1e-12)).copysign(distance)
    if falloff != 1:
        distance = (distance.abs() ** falloff).copysign(distance)
    return k * distance


def defocus_map(
    disparity: Tensor,
    focus: float | Sequence[float],
    k: float | Sequence[float],
    focus_range: float = 0.0,
    falloff: float = 1.0,
    tilt: float = 0.0,
    tilt_direction: float = 0.0,
) -> Tensor:
    """|K (d - d_f)| / 32, what the network sees (Eq. 1): (B, 1, H, W) in [0, 1], above 1 only for K above 32.

    focus_range, falloff, tilt, tilt_direction: as for `signed_radius`.
    """
    return signed_radius(disparity, focus, k, focus_range, falloff, tilt, tilt_direction).abs() / K_TRAINED


def focus_mask(defocus: Tensor, threshold: float = FOCUS_THRESHOLD, smooth: int = 0, min_area: float = 0.0) -> Tensor:
    """1 where the defocus map is at most `threshold`, else 0, (B, 1, H, W).

    smooth: radius in pixels of a closing and an opening, which drop thin cracks and hairlines.
    min_area: islands and holes smaller than this share of the picture are dropped, in 0..1.
    Raises ValueError for NaN and a negative radius.
    """
    check_map(defocus, "defocus")
    if smooth < 0:
        raise ValueError(f"smooth is {smooth}; it is a radius of 0 or more pixels.")
    mask = (defocus <= threshold).float()
    if smooth:
        mask = _erode(widen(mask, smooth), smooth)
        mask = widen(_erode(mask, smooth), smooth)
    if min_area:
        mask = _drop_small(mask, min_area)
        mask = 1 - _drop_small(1 - mask, min_area)
    return mask


def cut_to_8_bit(disparity: Tensor) -> Tensor:
    """Disparity in steps of 1/255, cut as by the released front end."""
    return (disparity * 255).floor() / 255


def _erode(mask: Tensor, radius: int) -> Tensor:
    return -widen(-mask, radius)


def _drop_small(mask: Tensor, min_area: float) -> Tensor:
    from scipy import ndimage  # a fifth of a second at start-up, for an option few switch on

    kept = torch.empty_like(mask)
    for i, frame in enumerate(mask):
        islands = np.empty(frame.shape[1:], dtype=np.int32)
        ndimage.label(frame[0].cpu().numpy(), output=islands)
        labels = torch.from_numpy(islands).long()
        large = torch.bincount(labels.flatten()) >= min_area * labels.numel()
        large[0] = False
        kept[i, 0] = large[labels].to(mask)
    return kept
