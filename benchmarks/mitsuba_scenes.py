"""Scenes with lamps far above white and what hides them, for Mitsuba 3, and the camera that takes them. Nothing is read from files.

The camera is in the origin and looks along z, its x axis points to the left. Lamps are discs that face it. What they shine on is left
out: light that falls on the scene would be the same in every picture, and takes long to be free of noise.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import mitsuba as mi
import numpy as np
import torch
from torch import Tensor

from magicbokeh_ops.color import srgb_to_linear
from magicbokeh_ops.synthesis.procedural import picture

WIDTH, HEIGHT = 384, 256
FOV = 40.0  # degrees, of the width
FOCAL = WIDTH / 2 / math.tan(math.radians(FOV / 2))  # pixels
KEY, AMBIENT = 2.4, 0.25  # light of the sun, and from all around
LAMP_AT = (192.3, 128.2)  # pixels
LAMP_LIGHT = ((1.0, 0.75, 0.45), (1.0, 0.9, 0.7), (0.75, 0.85, 1.0), (1.0, 0.45, 0.3), (0.5, 1.0, 0.7))


@dataclass
class Lamp:
    """A disc around pixel (x, y), of some pixels' radius, at a distance z, and its linear light."""

    x: float
    y: float
    z: float
    radius: float
    light: list[float]

    def shape(self, surface: dict) -> dict:
        place = mi.ScalarTransform4f().translate(at(self.x, self.y, self.z)).rotate([0, 1, 0], 180)
        return {"type": "disk", "to_world": place.scale(self.radius * self.z / FOCAL), **surface}


@dataclass
class Scene:
    """Surfaces as Mitsuba's dictionaries, and lamps. focus: distances in z. sun: factor on all light but that of the lamps."""

    focus: tuple[float, float]
    sun: float = 1.0
    surfaces: list[dict] = field(default_factory=list)
    lamps: list[Lamp] = field(default_factory=list)

    def lamps_at(self, places: list[tuple[float, float, float]], rng: np.random.Generator, brightest: float = 500) -> None:
        """Lamps at (x, y, z) of random size, colour and brightness from 10 times white on."""
        for x, y, z in places:
            brightness = math.exp(rng.uniform(math.log(10), math.log(brightest)))
            light = brightness * np.array(LAMP_LIGHT[rng.integers(len(LAMP_LIGHT))])
            x, y = x + rng.uniform(-0.5, 0.5), y + rng.uniform(-0.5, 0.5)
            self.lamps.append(Lamp(x, y, z, rng.uniform(0.7, 2), light.tolist()))

    def card(self, center: list[float], size: tuple[float, float], paint: dict, turns: tuple[float, float, float] = (0, 0, 0)):
        """A rectangle, turned around z, x and y by degrees."""
        place = mi.ScalarTransform4f().translate(center)
        for axis, degrees in zip(([0, 1, 0], [1, 0, 0], [0, 0, 1]), turns[::-1]):
            place = place.rotate(axis, degrees)
        self.surfaces.append({"type": "rectangle", "to_world": place.scale([size[0] / 2, size[1] / 2, 1]), "bsdf": paint})

    def wall(self, z: float, paint: dict) -> None:
        self.card([0, 0, z], (1.4 * z, 1.4 * z), paint)

    def floor(self, y: float, end: float, paint: dict) -> None:
        self.card([0, y, end / 2], (end, end), paint, (0, 90, 0))

    def ball(self, center: list[float], radius: float, paint: dict) -> None:
        self.surfaces.append({"type": "sphere", "center": center, "radius": radius, "bsdf": paint})


def at(x: float, y: float, z: float) -> list[float]:
    """The point at a distance z that is seen at pixel (x, y)."""
    return [(WIDTH / 2 - x) * z / FOCAL, (HEIGHT / 2 - y) * z / FOCAL, z]


def painted(colors: np.ndarray | list[float]) -> dict:
    """What a surface is covered with: sRGB values (h, w, 3), or linear light of one colour."""
    if isinstance(colors, list):
        reflectance = {"type": "rgb", "value": colors}
    else:
        light = srgb_to_linear(torch.from_numpy(colors.astype(np.float32) / 255)).numpy()
        reflectance = {"type": "bitmap", "bitmap": mi.Bitmap(light), "raw": True}
    return {"type": "twosided", "bsdf": {"type": "diffuse", "reflectance": reflectance}}


def drawn(seed: int, side: int = 1024) -> dict:
    return painted(picture(side, np.random.default_rng(seed)))


def bricks(rng: np.random.Generator, rows: int = 44, side: int = 1024) -> dict:
    row, y = np.divmod(np.arange(side) * rows / side, 1)
    column, x = np.divmod(np.arange(side) * rows / side / 2.5 + 0.5 * (row[:, None] % 2), 1)
    brick = (y[:, None] > 0.12) & (x > 0.05)
    shade = rng.uniform(0.45, 1.1, (rows, rows))[row.astype(int)[:, None], column.astype(int)]
    color = np.where(brick[..., None], shade[..., None] * [170, 95, 75], [150, 145, 140])
    return painted((color + rng.normal(0, 8, color.shape)).clip(0, 255))


def table() -> Scene:
    """Balls on a floor in front of a wall, lamps on the wall and in the air."""
    rng = np.random.default_rng(1)
    scene = Scene(focus=(3.2, 12.0))
    scene.wall(12, bricks(rng))
    scene.floor(-0.75, 12, drawn(16))
    for x, z, radius, paint in (
        (0.85, 2.6, 0.35, painted([0.75, 0.2, 0.1])),
        (-0.25, 3.6, 0.4, drawn(8, 512)),
        (-1.4, 5.0, 0.5, painted([0.1, 0.35, 0.6])),
        (0.9, 6.5, 0.7, drawn(7, 512)),
        (-1.6, 9.0, 0.8, painted([0.8, 0.65, 0.2])),
    ):
        scene.ball([x, radius - 0.75, z], radius, paint)
    scene.lamps_at([(x, rng.uniform(20, 110), 11.99) for x in range(30, 384, 40)], rng)
    scene.lamps_at([(215, 88, 6.0), (262, 60, 5.0), (330, 95, 4.0), (140, 150, 8.0)], rng)
    return scene


def leaves() -> Scene:
    """Leaves close to the camera, lamps behind them and behind a ball."""
    rng = np.random.default_rng(2)
    scene = Scene(focus=(2.2, 14.0))
    scene.wall(14, drawn(11))
    scene.ball(at(205, 150, 5), 0.5, drawn(16, 512))
    for _ in range(150):
        x, y = rng.uniform(-20, 404), rng.uniform(-20, 276)
        if math.hypot((x - 200) / 1.4, y - 140) < 80:
            continue
        z = rng.uniform(1.7, 3)
        size = rng.uniform(14, 34) * z / FOCAL
        green = [rng.uniform(0.1, 0.35), rng.uniform(0.3, 0.6), rng.uniform(0.03, 0.12)]
        scene.card(at(x, y, z), (size, 0.55 * size), painted(green), tuple(rng.uniform(-60, 60, 3)))
    scene.lamps_at([(x, y, 13.99) for x in range(24, 384, 56) for y in (40, 105, 190)], rng)
    return scene


def slope() -> Scene:
    """A textured plane from close to far over the whole picture, lamps on it and above."""
    rng = np.random.default_rng(3)
    scene = Scene(focus=(2.6, 6.0))
    near, far = at(192, 256, 2), at(192, 0, 10)
    angle = math.degrees(math.atan2(far[2] - near[2], far[1] - near[1]))
    center = [0, (near[1] + far[1]) / 2, (near[2] + far[2]) / 2]
    scene.card(center, (16, 16), drawn(21, 2048), (0, angle, 0))
    scene.wall(14, painted([0.1, 0.12, 0.2]))

    def depth(y: float) -> float:
        down = (HEIGHT / 2 - y) / FOCAL
        steep = (far[2] - near[2]) / (far[1] - near[1])
        return (near[2] - steep * near[1]) / (1 - steep * down)

    places = [(rng.uniform(30, 354), y) for y in range(16, 250, 18)]
    scene.lamps_at([(x, y, depth(y + 4)) for x, y in places], rng)  # else the plane cuts them
    scene.lamps_at([(x, y, 0.8 * depth(y)) for x, y in ((90, 60), (210, 100), (300, 160), (150, 200))], rng)
    return scene


def fence() -> Scene:
    """A fence close to the camera, a row of lamps behind it."""
    rng = np.random.default_rng(4)
    scene = Scene(focus=(1.8, 9.0))
    scene.wall(13, bricks(rng, 30))
    scene.floor(-0.8, 13, drawn(16))
    wood = drawn(20, 512)
    for x in range(12, 384, 45):
        scene.card(at(x, 140, 1.8), (14 * 1.8 / FOCAL, 1.5), wood, (rng.uniform(-2, 2), 0, 0))
    for y in (70, 205):
        scene.card(at(192, y, 1.82), (1.6, 10 * 1.82 / FOCAL), wood)
    scene.ball([0.3, -0.2, 5.0], 0.6, painted([0.7, 0.15, 0.25]))
    scene.lamps_at([(x, 100, 9.0) for x in range(14, 384, 27)], rng)
    return scene


def night() -> Scene:
    """Dark houses with lit windows, lamps at all distances, and posts that hide some of them."""
    rng = np.random.default_rng(5)
    scene = Scene(focus=(2.5, 12.0), sun=0.06)
    scene.wall(16, painted([0.3, 0.4, 0.8]))
    scene.floor(-0.7, 16, drawn(20))
    for x, z, width, height in ((60, 12, 110, 150), (180, 14, 100, 120), (310, 10, 120, 190)):
        left, top = at(x - width / 2, 160 - height, z)[:2]
        scene.card([left - width * z / FOCAL / 2, (top - 0.7) / 2, z], (width * z / FOCAL, top + 0.7), bricks(rng, 60))
        windows = [(x + i * width / 4, 160 - j * height / 5, z - 0.01) for i in (-1, 0, 1) for j in (1, 2, 3, 4)]
        scene.lamps_at([window for window in windows if rng.random() < 0.6], rng, 60)
    for x, z in ((120, 2.5), (250, 4.0), (345, 7.0)):
        scene.card(at(x, 128, z), (0.06, 3.0), painted([0.5, 0.5, 0.55]))
    scene.ball(at(180, 190, 2.5), 0.2, painted([0.8, 0.5, 0.3]))
    scene.lamps_at([(rng.uniform(20, 364), rng.uniform(30, 170), rng.uniform(3, 12)) for _ in range(14)], rng)
    return scene


def single_lamp(distance: float) -> Scene:
    """One lamp in front of black, and far from it in the picture a black speck that is closer to the camera."""
    scene = Scene(focus=(2.0, 12.0))
    black = painted([0.0, 0.0, 0.0])
    scene.wall(12, black)
    scene.card(at(20, 20, 2), (0.015, 0.015), black)
    scene.lamps.append(Lamp(*LAMP_AT, distance, 1.5, [500.0] * 3))
    return scene


SCENES: dict[str, Callable[[], Scene]] = {"table": table, "leaves": leaves, "slope": slope, "fence": fence, "night": night}


class Camera:
    """Takes pictures of a scene, all (C, HEIGHT, WIDTH). A pixel is the mean over its area.

    Lamps that a pinhole would not see are taken away: the photo does not show them, so no method can know of their discs.
    """

    def __init__(self, scene: Scene):
        sun = {"type": "directional", "direction": [-0.35, -0.5, 1], "irradiance": KEY * scene.sun}
        black = {"bsdf": {"type": "diffuse", "reflectance": {"type": "rgb", "value": 0.0}}}
        surfaces = {"type": "scene", **{f"surface{i}": surface for i, surface in enumerate(scene.surfaces)}}
        self.ambient = AMBIENT * scene.sun
        self.surfaces = mi.load_dict(surfaces)
        distance = self.distance()[0]
        self.lit = [lamp for lamp in scene.lamps if lamp.z < distance[int(lamp.y), int(lamp.x)]]
        dark, bright = {}, {}
        for i, lamp in enumerate(self.lit):
            dark[f"lamp{i}"] = lamp.shape(black)
            bright[f"lamp{i}"] = lamp.shape({"emitter": {"type": "area", "radiance": {"type": "rgb", "value": lamp.light}}})
        self.surfaces = mi.load_dict({**surfaces, **dark, "sun": sun})
        self.lamps = mi.load_dict({**surfaces, **bright})

    def photo(self, lens: dict) -> tuple[Tensor, Tensor]:
        """Linear light, twice with noise of its own each. lens: the sensor's `type` and what it takes."""
        return self._exposed(lens, 0), self._exposed(lens, 1)

    def _exposed(self, lens: dict, seed: int) -> Tensor:
        if lens["type"] == "perspective":
            samples, ambient_samples, lamp_samples = 400, 144, 400
            lamps = {"type": "path", "max_depth": 1}
        else:
            samples, ambient_samples, lamp_samples = 196, 64, 20 * len(self.lit)
            # From the lamps to the lens: a path from a pixel would find one now and then. Not for a pinhole, where all its samples
            # end in a few pixels and their sum would be rounded.
            lamps = {"type": "ptracer", "max_depth": 1}
        sun = self._render(self.surfaces, {"type": "direct", "emitter_samples": 1, "bsdf_samples": 0}, lens, samples, seed)
        albedo = self._render(self.surfaces, {"type": "aov", "aovs": "albedo:albedo"}, lens, ambient_samples, 2 + seed)
        return sun + self.ambient * albedo + self._render(self.lamps, lamps, lens, lamp_samples, seed)

    def distance(self) -> Tensor:
        """Of what is seen in the middle of each pixel, along z, (1, HEIGHT, WIDTH)."""
        integrator = {"type": "aov", "aovs": "place:position"}
        return self._render(self.surfaces, integrator, {"type": "perspective"}, 1, 0)[2:3]

    def _render(self, scene, integrator: dict, lens: dict, samples: int, seed: int) -> Tensor:
        film = {"type": "hdrfilm", "width": WIDTH, "height": HEIGHT, "pixel_format": "rgb", "rfilter": {"type": "box"}}
        # One sample is in the middle of the pixel.
        kind = {"type": "multijitter"} if samples > 1 else {"type": "stratified", "jitter": False}
        sampler = {**kind, "sample_count": samples}
        sensor = mi.load_dict({"fov": FOV, **lens, "film": {**film, "component_format": "float32"}, "sampler": sampler})
        values = mi.render(scene, integrator=mi.load_dict(integrator), sensor=sensor, spp=samples, seed=seed)
        return torch.from_numpy(np.array(values)).movedim(-1, 0)
