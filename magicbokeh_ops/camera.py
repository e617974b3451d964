"""A camera in real units: what focus and k of a thin lens are, and its depth of field.

A lens of focal length f and opening A = f / N, focused on distance S, turns a point at distance D into a disc on the sensor, the
circle of confusion, with the diameter (f, S and D in one unit; Potmesil and Chakravarty 1981)

    c = A f |D - S| / (D (S - f)) = f^2 / N  S / (S - f)  |1/S - 1/D|.

This is linear in 1/D, as disparity is. With disparity d = (1/D - 1/D_far) / (1/D_near - 1/D_far) the radius c / 2 is K (d - d_f)
(paper Eq. 1) for

    K = pixels per mm  f^2 / 2N  S / (S - f)  (1/D_near - 1/D_far)    and    d_f = (1/S - 1/D_far) / (1/D_near - 1/D_far).

Calculated in dioptres, which are 1 / metres, so that infinity is an ordinary number, 0.

The depth of field ends where c reaches what still looks like a point, c0. With H = f^2 / (N c0) + f, the hyperfocal distance, it goes
from S (H - f) / (H + S - 2f) to S (H - f) / (H - S), or to infinity for S >= H.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from .clips import Frames, percentiles
from .focus import focus_from_point
from .planes import OVERSHOOT, fill_unknown

FULL_FRAME = (36.0, 24.0)
# Sides in mm. Makers differ by some tenths.
SENSORS = {
    "full frame": FULL_FRAME,
    "medium format": (43.8, 32.9),
    "Super 35": (24.9, 18.7),
    "APS-C": (23.6, 15.7),
    "Micro Four Thirds": (17.3, 13.0),
    "1 inch": (13.2, 8.8),
    "phone main camera": (9.8, 7.3),
    "phone small camera": (5.6, 4.2),
}
SHARP = 0.03  # mm: the circle of confusion on full frame that still looks like a point
MOST_METRES = 1e5  # of a distance that is not called infinity in words


@dataclass(frozen=True)
class Camera:
    """A thin lens and a sensor.

    focal_length: mm, the real one. f_number: focal length over the diameter of the opening. focus_distance: metres from the lens;
    0 is infinity, like infinity itself. sensor: its sides in mm, of which the picture is the largest crop in its own shape, turned by
    90 degrees for a portrait.

    Raises ValueError for what no camera has, and for a focus within the focal length.
    """

    focal_length: float
    f_number: float
    focus_distance: float
    sensor: tuple[float, float] = FULL_FRAME

    def __post_init__(self) -> None:
        for name, value, unit in (("focal_length", self.focal_length, "in mm, "), ("f_number", self.f_number, "")):
            if not 0 < value < math.inf:
                raise ValueError(f"{name} is {value:g}; it is a number {unit}above 0.")
        if not all(0 < side < math.inf for side in self.sensor):
            raise ValueError(f"sensor is {self.sensor[0]:g} x {self.sensor[1]:g} mm; its sides are above 0.")
        if not self.focus_distance >= 0:
            raise ValueError(f"focus_distance is {self.focus_distance:g}; it is in metres, 0 for infinity.")
        if self.vergence * self.focal_length >= 1000:
            raise ValueError(
                f"focus_distance is {self.focus_distance:g} m; a lens focuses on what is farther away than its focal length, "
                f"{self.focal_length:.4g} mm (0 is infinity)."
            )

    @property
    def vergence(self) -> float:
        """1 / S in dioptres."""
        return 1 / self.focus_distance if self.focus_distance else 0.0

    @property
    def hyperfocal(self) -> float:
        """The nearest focus distance with which infinity still looks sharp, in metres."""
        sharp = SHARP / crop_factor(self.sensor)
        return (self.focal_length * self.focal_length / (self.f_number * sharp) + self.focal_length) / 1000

    def limits(self) -> tuple[float, float]:
        """The nearest and the farthest distance that look sharp, in metres; the farthest may be infinite."""
        # In dioptres both limits are as far from the focus.
        step = (1 - self.vergence * self.focal_length / 1000) / (self.hyperfocal - self.focal_length / 1000)
        endless = self.focus_distance == 0 or self.focus_distance >= self.hyperfocal
        return 1 / (self.vergence + step), math.inf if endless else 1 / (self.vergence - step)

    def focus_and_k(self, far: float, near: float, size: Sequence[int]) -> tuple[float, float]:
        """Disparity in focus, which may lie outside 0..1, and blur radius in pixels at a disparity difference of 1.

        far, near: dioptres that have disparity 0 and 1. size: (height, width) of the picture in pixels.
        """
        return (self.vergence - far) / (near - far), self.radius_per_dioptre(size) * (near - far)

    def radius_per_dioptre(self, size: Sequence[int]) -> float:
        """Blur radius in pixels of a point whose 1 / D differs by one dioptre from what is in focus."""
        magnified = self.focal_length * self.focal_length / (1 - self.vergence * self.focal_length / 1000)
        return self._pixels_per_mm(size) * magnified / (2 * self.f_number) / 1000

    def field_of_view(self, size: Sequence[int]) -> tuple[float, float]:
        """Angles across and down in degrees, with the focus at infinity."""
        height, width = (pixels / self._pixels_per_mm(size) for pixels in size)
        across, down = (2 * math.degrees(math.atan(side / (2 * self.focal_length))) for side in (width, height))
        return across, down

    def describe(self, far: float, near: float, size: Sequence[int]) -> str:
        """A few lines on what the camera makes of a scene. far, near, size: as for `focus_and_k`."""
        nearest, infinite = (abs(self.radius_per_dioptre(size) * (dioptres - self.vergence)) for dioptres in (near, 0.0))
        sharp_from, sharp_to = self.limits()
        across, down = self.field_of_view(size)
        missed = "" if far <= self.vergence <= near else ": nothing at the focus distance"
        return "\n".join(
            [
                f"{self.focal_length:.4g} mm, f/{self.f_number:.3g}, focus at {_metres(self.vergence)}",
                f"Blur radius in pixels: {nearest:.1f} nearest, {infinite:.1f} at infinity",
                f"Sharp from {_metres(1 / sharp_from)} to {_metres(1 / sharp_to)}",
                f"Hyperfocal distance {_metres(1 / self.hyperfocal)}",
                f"Field of view {across:.1f} x {down:.1f} degrees",
                f"Depth from {_metres(near)} to {_metres(far)}{missed}",
            ]
        )

    def _pixels_per_mm(self, size: Sequence[int]) -> float:
        return max(max(size) / max(self.sensor), min(size) / min(self.sensor))


def crop_factor(sensor: tuple[float, float]) -> float:
    """The diagonal of full frame over that of a sensor: full-frame equivalent over real focal length."""
    return math.hypot(*FULL_FRAME) / math.hypot(*sensor)


def from_disparity(disparity: Tensor) -> Tensor:
    """Disparity (B, 1, H, W) of any scale, with 0 infinitely far, freed of unknown values and of what is a little below 0.

    Raises ValueError for a frame in which nothing is known, and for what lies clearly below 0.
    """
    found = fill_unknown(disparity, "depth")
    low, high = float(found.amin()), float(found.amax())
    if low < -OVERSHOOT * max(high, 0):
        raise ValueError(f"depth goes from {low:.4g} to {high:.4g}; as disparity it starts at 0, which is infinitely far.")
    return found.clamp(min=0)


def dioptres_per_unit(disparity: Tensor, x: float, y: float, distance: float) -> float:
    """The scale of disparity (1, 1, H, W), with 0 infinitely far, that puts a point of it at a distance in metres.

    x, y: 0..1 from left and top. Raises ValueError for a point outside the map or infinitely far, and for what is no distance.
    """
    for name, value in (("known_x", x), ("known_y", y)):
        if not 0 <= value <= 1:
            raise ValueError(f"{name} is {value:g}; it goes from 0 to 1.")
    if not 0 < distance < math.inf:
        raise ValueError(f"known_distance is {distance:g}; it is in metres, above 0.")
    there = focus_from_point(disparity, x, y)
    if there <= 0:
        raise ValueError(f"known_x, known_y is ({x:g}, {y:g}), which is infinitely far by depth; choose a point that is near.")
    return 1 / (distance * there)


def check_distances(frames: Frames) -> str:
    """A line that doubts whether distances are in metres, or "" if they may well be.

    frames: their reciprocals, 0 where infinite, with something else among them.
    """
    least, median = percentiles(lambda: (frame[frame > 0] for frame in frames()), 0, 0.5)
    if not 1 / 1000 <= median <= 1 / 0.01:
        return f"Note: the median distance is {_four_digits(1 / median)} m. Is depth in metres?"
    if least >= 1:
        return "Note: no distance is above 1 m. Is depth in metres, or is it disparity?"
    return ""


def _metres(dioptres: float) -> str:
    return f"{_four_digits(1 / dioptres)} m" if dioptres * MOST_METRES > 1 else "infinity"


def _four_digits(value: float) -> str:
    return f"{float(f'{value:.4g}'):g}"  # 46350 and not 4.635e+04
