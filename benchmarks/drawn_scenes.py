"""Scenes for the pictures of docs/recipes.md, drawn by casting rays at boxes, balls and upright cylinders.

Their distance is exact. x goes right, y up, z away from the camera; light is linear.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from magicbokeh_ops.color import linear_to_srgb

FARAWAY = 1e10  # distance of the sky, as Blender writes it
BLOCK = 64  # side of what is cast at once

Color = tuple[float, ...]
Paint = Callable[[Tensor], Tensor]


def vector(values) -> Tensor:
    return torch.tensor(values, dtype=torch.float32)


class Solid(NamedTuple):
    """A shape ("box", "ball" or "can") that fills the box around `center` with these half sides.

    paint: colour, or what gives it at points (N, 3). glow: the colour shines by itself, so many times.
    shine: share of the light that is mirrored. rough: how much mirrored rays scatter.
    """

    shape: str
    center: Color
    half: Color
    paint: Color | Paint
    glow: float = 0
    shine: float = 0
    rough: float = 0

    def hit(self, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
        """Length of rays up to the surface, (N,), infinite where they miss, and the normal there, (N, 3)."""
        half = vector(self.half)
        start, step = (origin - vector(self.center)) / half, ray / half
        step = torch.where(step.abs() < 1e-9, 1e-9, step)
        groups = {"box": [[0], [1], [2]], "ball": [[0, 1, 2]], "can": [[0, 2], [1]]}[self.shape]
        enter, leave = [], []
        for axes in groups:  # a ray is inside while it is within the bounds along all groups of axes
            a, b = (step[:, axes] ** 2).sum(1), (start[:, axes] * step[:, axes]).sum(1)
            root = (b * b - a * ((start[:, axes] ** 2).sum(1) - 1)).sqrt()
            enter.append((-b - root) / a)
            leave.append((-b + root) / a)
        near, which = torch.stack(enter, 1).nan_to_num(torch.inf).max(1)
        far = torch.stack(leave, 1).nan_to_num(-torch.inf).amin(1)
        length = torch.where((near < far) & (near > 1e-4), near, torch.inf)
        at = start + length.nan_to_num(posinf=0)[:, None] * step
        bounding = vector([[float(axis in axes) for axis in range(3)] for axes in groups])[which]
        return length, F.normalize(at * bounding / half, dim=1)


class Scene(NamedTuple):
    """Solids and a camera.

    view: half the width of the picture at distance 1. sky: colour at the horizon and at the zenith. sun: where it stands, and
    its light. lamps: place and colour of lights that cast no shadows.
    """

    solids: list[Solid]
    eye: Color
    target: Color
    view: float
    sky: tuple[Color, Color]
    ambient: float = 0.45
    sun: tuple[Color, float] = ((0, 1, 0), 0)
    lamps: list[tuple[Color, Color]] = []

    def near(self, origin: Tensor, ray: Tensor) -> list[int]:
        """The solids that a beam around these rays may meet."""
        start, ray = (origin.amin(0) + origin.amax(0)) / 2, F.normalize(ray, dim=1)
        axis = F.normalize(ray.mean(0), dim=0)
        spread = (ray @ axis).min().clamp(-1, 1).acos()
        to = vector([solid.center for solid in self.solids]) - start
        size = vector([solid.half for solid in self.solids]).norm(dim=1) + (origin - start).norm(dim=1).max()
        away = to.norm(dim=1).clamp(min=1e-6)
        angle = (to @ axis / away).clamp(-1, 1).acos() - (size / away).clamp(max=1).asin()
        return ((away <= size) | (angle <= spread + 1e-3)).nonzero().flatten().tolist()

    def first(self, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Length, normal and number of the first solid along rays; length is infinite where there is none."""
        length, normal = torch.full((len(ray),), torch.inf), torch.zeros_like(ray)
        number = torch.zeros(len(ray), dtype=torch.long)
        for i in self.near(origin, ray):
            own_length, own_normal = self.solids[i].hit(origin, ray)
            nearer = own_length < length
            length, number = torch.where(nearer, own_length, length), torch.where(nearer, i, number)
            normal = torch.where(nearer[:, None], own_normal, normal)
        return length, normal, number

    def light(self, origin: Tensor, ray: Tensor, mirrors: int = 1) -> tuple[Tensor, Tensor]:
        """Colour along rays, (N, 3), and their length, (N,)."""
        length, normal, number = self.first(origin, ray)
        low, high = map(vector, self.sky)
        color = low + (high - low) * F.normalize(ray, dim=1)[:, 1:2].clamp(0, 1).sqrt()
        at = origin + length.nan_to_num(posinf=0)[:, None] * ray
        for i in number[length.isfinite()].unique().tolist():
            solid, here = self.solids[i], (number == i) & length.isfinite()
            p, n = at[here] + 1e-3 * normal[here], normal[here]
            paint = solid.paint(p) if callable(solid.paint) else vector(solid.paint).expand_as(p)
            if solid.glow:
                color[here] = solid.glow * paint
                continue
            lit = paint * self.shade(p, n)
            if solid.shine and mirrors:
                rough = n + solid.rough * (torch.cat([noise(p, 900 + axis) for axis in range(3)], 1) - 0.5)
                mirrored = ray[here] - 2 * (ray[here] * n).sum(1, keepdim=True) * F.normalize(rough, dim=1)
                lit = lit + solid.shine * (self.light(p, mirrored, mirrors - 1)[0].clamp(max=4) - lit)
            color[here] = lit
        return color, length

    def shade(self, p: Tensor, n: Tensor) -> Tensor:
        """Light that falls on points with these normals."""
        light = self.ambient * (0.75 + 0.25 * n[:, 1:2]) * vector(self.sky[1]).mean().clamp(min=0.1).expand_as(p)
        if self.sun[1]:
            sun = F.normalize(vector(self.sun[0]), dim=0)
            light = light + self.sun[1] * ((n @ sun).clamp(0) * self.first(p, sun.expand_as(p))[0].isinf())[:, None]
        for place, color in self.lamps:
            to = vector(place) - p
            light = light + vector(color) * (n * to).sum(1, keepdim=True).clamp(0) / to.norm(dim=1, keepdim=True) ** 3
        return light

    def photograph(self, width: int, height: int, samples: int = 3) -> tuple[Tensor, Tensor]:
        """sRGB (1, 3, height, width) in [0, 1], and distance along the camera's axis (1, 1, height, width)."""
        eye = vector(self.eye)
        ahead = F.normalize(vector(self.target) - eye, dim=0)
        right = F.normalize(torch.linalg.cross(vector((0, 1, 0)), ahead), dim=0)
        down = torch.linalg.cross(right, ahead)
        x, y = (
            (torch.arange(n * samples) + 0.5 - n * samples / 2) * 2 * self.view / (width * samples) for n in (width, height)
        )
        rays = ahead + x[None, :, None] * right + y[:, None, None] * down
        color, length = torch.zeros_like(rays), torch.zeros_like(rays[..., 0])
        for top in range(0, len(y), BLOCK):
            for left in range(0, len(x), BLOCK):
                block = slice(top, top + BLOCK), slice(left, left + BLOCK)
                beam = rays[block].reshape(-1, 3)
                seen, reach = self.light(eye.expand_as(beam), beam)
                color[block], length[block] = seen.view_as(color[block]), reach.view_as(length[block])
        color = F.avg_pool2d(color.permute(2, 0, 1)[None], samples).clamp(0, 1)
        return linear_to_srgb(color), length[None, None, samples // 2 :: samples, samples // 2 :: samples].clamp(max=FARAWAY)


def noise(p: Tensor, scale: float) -> Tensor:
    """A random value in 0..1 for each cell (1 / scale wide) of space, (N, 1)."""
    cell = (p * scale).floor() @ vector([12.9898, 78.233, 37.719])
    return torch.remainder(cell.sin() * 43758.547, 1)[:, None]


def mixed(share: Tensor, low: Color, high: Color) -> Tensor:
    return vector(low) + (vector(high) - vector(low)) * share


def wood(p: Tensor) -> Tensor:
    """Planks along z."""
    plank = (p[:, :1] / 0.7).floor()
    grain = torch.sin(16 * p[:, :1] + 2 * torch.sin(0.9 * p[:, 2:] + 9 * plank) + 7 * torch.sin(0.4 * p[:, 2:] + plank))
    return mixed(0.35 + 0.2 * grain + 0.35 * noise(plank.expand(-1, 3), 1), (0.16, 0.07, 0.03), (0.55, 0.3, 0.14))


def windows(wall: Color, lit: float = 0) -> Paint:
    """A wall with windows, this share of which is lit."""

    def paint(p: Tensor) -> Tensor:
        cell = p * vector([1.1, 0.9, 1.1])
        inside = (cell.frac().abs() - 0.5).abs() < vector([0.28, 0.3, 0.28])
        glass = (inside[:, 1:2] & (inside[:, :1] | inside[:, 2:] if lit else inside[:, :1] & inside[:, 2:])).float()
        on = (noise(cell, 1) < lit).float()
        inner = on * mixed(noise(p, 0.31), (1.0, 0.55, 0.2), (0.9, 0.85, 0.7)) + (1 - on) * vector((0.02, 0.03, 0.05))
        return vector(wall) * (1 - glass) + glass * inner

    return paint


def street() -> Scene:
    """A hydrant in a wet street at night."""
    draw = np.random.default_rng(3)
    ground = Solid("box", (0, -1, 60), (80, 1, 120), lambda p: (0.05 + 0.04 * noise(p, 30)).expand(-1, 3), 0, 0.35, 0.06)
    solids, lamps = [ground], [((-1.2, 3.2, 1.2), (9.0, 6.5, 4.0))]
    for side in (-1, 1):
        for z in range(10, 120, 10):
            height, wall = draw.uniform(5, 14), tuple(draw.uniform(0.01, 0.035, 3))
            solids.append(Solid("box", (11.5 * side, height, z), (4, height, 4.6), windows(wall, 0.14), glow=1))
        for z in range(8, 80, 8):
            solids.append(Solid("can", (5.5 * side, 2.5, z), (0.06, 2.5, 0.06), (0.05, 0.05, 0.05)))
            solids.append(Solid("ball", (5.2 * side, 5, z), (0.22, 0.16, 0.22), (1.0, 0.72, 0.38), glow=14))
            lamps.append(((5.2 * side, 5, z), (3.0, 2.0, 1.0)))
    for _ in range(16):
        z, lane = draw.uniform(9, 60), draw.choice([-1, 1])
        x, color = lane * draw.uniform(1.2, 3.2), (1.0, 0.92, 0.75) if lane < 0 else (1.0, 0.06, 0.03)
        solids.append(Solid("box", (x, 0.75, z + 1.6), (0.85, 0.6, 1.5), (0.03, 0.03, 0.04), shine=0.2))
        solids += [Solid("ball", (x + dx, 0.75, z), (0.13, 0.13, 0.1), color, glow=10) for dx in (-0.6, 0.6)]
    red, x, z = (0.62, 0.04, 0.03), -0.75, 3.2
    for y, wide, high in ((0.05, 0.2, 0.05), (0.4, 0.14, 0.36), (0.72, 0.18, 0.03), (0.92, 0.04, 0.05)):
        solids.append(Solid("can", (x, y, z), (wide, high, wide), red, shine=0.08))
    solids.append(Solid("ball", (x, 0.74, z), (0.15, 0.16, 0.15), red, shine=0.08))
    for dx, dz in ((0.17, 0), (-0.17, 0), (0, -0.13)):
        solids.append(Solid("ball", (x + dx, 0.5, z + dz), (0.09, 0.08, 0.09), (0.5, 0.5, 0.45)))
    return Scene(solids, (0, 0.95, 0), (0, 1.15, 10), 0.55, ((0.02, 0.02, 0.05), (0.004, 0.005, 0.02)), lamps=lamps)


def product() -> Scene:
    """Bottles on a table, before shelves."""
    draw = np.random.default_rng(5)
    solids = [Solid("box", (0, -0.5, 4), (9, 0.5, 6), wood, shine=0.08)]
    bottles = (
        (-0.15, 2.2, (0.04, 0.2, 0.16), (0.85, 0.8, 0.7)),
        (0.62, 3.3, (0.5, 0.12, 0.05), (0.9, 0.85, 0.75)),
        (-1.05, 3.9, (0.1, 0.15, 0.4), (0.85, 0.85, 0.9)),
    )
    for x, z, color, label in bottles:

        def labelled(p: Tensor, color=color, label=label) -> Tensor:
            paper = ((p[:, 1:2] - 0.42).abs() < 0.2).float()
            ink = ((p[:, 1:2] * 18).frac() < 0.4) & (noise(p, 22) < 0.6) & ((p[:, 1:2] - 0.38).abs() < 0.1)
            return vector(color) * (1 - paper) + paper * vector(label) * torch.where(ink, 0.15, 1.0)

        solids.append(Solid("can", (x, 0.4, z), (0.22, 0.4, 0.22), labelled, shine=0.1))
        solids.append(Solid("ball", (x, 0.8, z), (0.22, 0.14, 0.22), color, shine=0.15))
        solids.append(Solid("can", (x, 0.96, z), (0.07, 0.12, 0.07), color, shine=0.15))
        solids.append(Solid("can", (x, 1.08, z), (0.085, 0.06, 0.085), (0.75, 0.6, 0.35), shine=0.3))
    solids.append(Solid("box", (0, 2, 11), (9, 3, 0.3), lambda p: mixed(noise(p, 3), (0.42, 0.38, 0.34), (0.5, 0.45, 0.4))))
    for level in (0.4, 1.5, 2.6):
        solids.append(Solid("box", (0, level, 10), (5, 0.06, 0.6), (0.3, 0.17, 0.08)))
        for x in np.arange(-4.4, 4.5, 0.55):
            shape, high, color = str(draw.choice(["box", "can"])), draw.uniform(0.2, 0.45), tuple(draw.uniform(0.05, 0.8, 3))
            solids.append(Solid(shape, (x, level + high, 9.8), (0.2, high, 0.2), color, shine=0.05))
    for x in np.arange(-3, 3.1, 0.6):
        solids.append(Solid("ball", (x, 2.3 - 0.08 * x * x, 8), (0.05, 0.07, 0.05), (1.0, 0.85, 0.6), glow=8))
    sky = ((0.8, 0.85, 0.9), (1.0, 1.0, 1.0))
    return Scene(solids, (0, 1.15, -0.4), (-0.1, 0.62, 2.2), 0.5, sky, 0.3, ((-0.8, 1.2, -0.9), 0.75))


def city() -> Scene:
    """Blocks of houses from above."""
    draw = np.random.default_rng(8)

    def pick(*colors: Color) -> Color:
        return colors[draw.integers(len(colors))]

    def ground(p: Tensor) -> Tensor:
        x, z = (torch.remainder(p[:, i : i + 1], 12) - 6 for i in (0, 2))
        dashes = [torch.remainder(p[:, i : i + 1], 2) < 1 for i in (0, 2)]
        road, walk = (((x.abs() < wide) | (z.abs() < wide)).float() for wide in (1.7, 2.3))
        line = ((x.abs() < 0.12) & dashes[1] | (z.abs() < 0.12) & dashes[0]).float()
        grass = mixed(noise(p, 3), (0.13, 0.24, 0.055), (0.19, 0.36, 0.085))
        return road * (0.1 + 0.8 * line) + (walk - road) * vector((0.42, 0.4, 0.37)) + (1 - walk) * grass

    def leaves(p: Tensor) -> Tensor:
        return mixed(noise(p, 4), (0.03, 0.12, 0.02), (0.1, 0.3, 0.05))

    solids = [Solid("box", (0, -1, 60), (200, 1, 200), ground)]
    places = [
        (12 * i + dx, 12 * j + dz + 12) for i in range(-5, 6) for j in range(9) for dx in (-1.8, 1.8) for dz in (-1.8, 1.8)
    ]
    for x, z in places:
        if draw.random() < 0.22:
            for _ in range(3):
                (dx, dz), size = draw.uniform(-1.2, 1.2, 2), draw.uniform(0.5, 0.9)
                solids.append(Solid("ball", (x + dx, 1.2 * size, z + dz), (size, 1.2 * size, size), leaves))
            continue
        high = draw.uniform(0.8, 2.2) * (2.5 if draw.random() < 0.25 else 1)
        wall = pick((0.75, 0.5, 0.35), (0.8, 0.75, 0.6), (0.6, 0.25, 0.18), (0.55, 0.6, 0.65))
        solids.append(Solid("box", (x, high, z), (1.5, high, 1.5), windows(wall)))
        roof = pick((0.5, 0.14, 0.08), (0.25, 0.25, 0.28), (0.15, 0.35, 0.4))
        solids.append(Solid("box", (x, 2 * high + 0.1, z), (1.6, 0.15, 1.6), roof))
    for x in range(-48, 66, 12):
        for z in draw.uniform(5, 110, 9):
            color = pick((0.7, 0.05, 0.04), (0.85, 0.85, 0.85), (0.9, 0.6, 0.05), (0.05, 0.2, 0.6))
            solids.append(Solid("box", (x - 5.2, 0.4, z), (0.45, 0.3, 1.0), color))
            solids.append(Solid("box", (x - 5.2, 0.75, z), (0.4, 0.2, 0.5), (0.08, 0.1, 0.12)))
    return Scene(solids, (3, 26, -14), (0, 0, 30), 0.42, ((0.75, 0.85, 0.95), (0.35, 0.55, 0.9)), sun=((-0.8, 1.1, -0.5), 1.0))


def toys(eye: float = 0) -> Scene:
    """Balls, boxes and cylinders on a chessboard that reaches the horizon. eye: how far right the camera stands."""
    draw = np.random.default_rng(11)
    colors = ((0.75, 0.08, 0.05), (0.9, 0.55, 0.05), (0.08, 0.45, 0.15), (0.06, 0.2, 0.7), (0.5, 0.1, 0.5), (0.8, 0.8, 0.8))

    def floor(p: Tensor) -> Tensor:
        return mixed((p[:, :1].floor() + p[:, 2:].floor()) % 2, (0.12, 0.14, 0.17), (0.75, 0.75, 0.72))

    solids = [Solid("box", (0, -1, 0), (400, 1, 400), floor, shine=0.08)]
    for i in range(24):
        z, size = 1.8 + 0.09 * i * (i + 5), draw.uniform(0.3, 0.42)
        x = (-1, 1, 0.15)[i % 3] * (0.75 + 0.1 * i) + draw.uniform(-0.2, 0.2)
        shape = ("ball", "box", "can", "box", "ball")[i % 5]
        solids.append(Solid(shape, (x, size, z), (size, size, size), colors[i % 6], shine=0.25 if shape == "ball" else 0.05))
    sky = ((0.8, 0.88, 0.95), (0.25, 0.5, 0.9))
    return Scene(solids, (eye, 1.5, -1.6), (0, 0.5, 3.5), 0.5, sky, sun=((-0.7, 0.9, -0.5), 0.9))


def lamps() -> Scene:
    """A mug and fruit on a table in a garden at night, before cords with coloured lamps."""
    draw = np.random.default_rng(4)
    solids = [
        Solid("box", (0, -1, 20), (40, 1, 60), lambda p: mixed(noise(p, 3), (0.15, 0.2, 0.12), (0.2, 0.3, 0.15))),
        Solid("box", (0, 0.68, 1.3), (1.3, 0.04, 0.85), wood, shine=0.06),
        Solid("can", (-0.16, 0.85, 1.5), (0.09, 0.13, 0.09), (0.06, 0.3, 0.36), shine=0.12),
        Solid("ball", (0.1, 0.8, 1.42), (0.08, 0.08, 0.08), (0.85, 0.3, 0.03), shine=0.06),
        Solid("ball", (0.24, 0.79, 1.56), (0.07, 0.07, 0.07), (0.6, 0.05, 0.03), shine=0.1),
    ]
    colors = ((1.0, 0.55, 0.2), (1.0, 0.75, 0.45), (1.0, 0.12, 0.08), (0.15, 0.8, 0.3), (0.2, 0.4, 1.0))
    for z, low, count in ((3.5, 1.25, 5), (5, 1.1, 8), (7, 1.65, 10), (9, 1.2, 12), (10, 2.7, 12), (11, 4.2, 12)):
        for x in np.linspace(-0.5 * z, 0.5 * z, count) + draw.uniform(-0.04, 0.04, count) * z:
            color = colors[draw.choice(5, p=(0.35, 0.25, 0.14, 0.13, 0.13))]
            solids.append(Solid("ball", (x, low + 0.6 * x * x / z, z), (0.005 * z, 0.006 * z, 0.005 * z), color, glow=1.6))
    lights = [((-0.9, 1.9, 0.4), (1.5, 1.2, 0.9)), ((1.2, 1.6, 2.4), (0.5, 0.3, 0.2))]
    return Scene(solids, (0, 1.15, 0.2), (0, 1.02, 1.5), 0.4, ((0.018, 0.02, 0.045), (0.004, 0.005, 0.018)), lamps=lights)
