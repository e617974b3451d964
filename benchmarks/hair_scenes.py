"""Subjects of real hair geometry for `benchmarks.edges`: fur on a ball, a head of hair, grass in front of a furry ball; by Mitsuba 3.

Strands are B-spline curves of a fraction of a pixel to a few pixels. All is told by the geometry: the photo is taken with a pinhole, and
once more without the subject as its plate; coverage is the same picture with the subject white and all else black; disparity is that of
what is seen in the middle of each pixel. A pixel is the mean over its area. Light is the sun's, and from all around. Strands cast no shadow:
rays through hair would take most of the time.
"""

import math
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import drjit as dr
import mitsuba as mi
import numpy as np
import torch
from torch import Tensor

from benchmarks.edge_views import View
from benchmarks.mitsuba_scenes import AMBIENT, FOCAL, FOV, HEIGHT, KEY, WIDTH, at, bricks, drawn, painted
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.evaluation.metrics import psnr

mi.set_variant("llvm_ad_rgb")  # before what is derived from its classes
mi.set_log_level(mi.LogLevel.Error)

STRAND, POINTS = "bsplinecurve", 9
FLOOR = -0.8  # height
SAMPLES = 100  # per pixel, twice, through a lens
TO_SUN = (0.30, 0.43, -0.85)
PINHOLE = {"type": "perspective"}


@dataclass
class HairScene:
    """Surfaces as Mitsuba's dictionaries, by the object they belong to.

    subjects: what there is a view of, each with another object whose matte is a wrong one. focus: distances in z, the last that of
    the wall. nearest: distance whose disparity is 1, in front of all.
    """

    subjects: dict[str, str]
    focus: tuple[float, float, float]
    nearest: float = 2.0
    parts: dict[str, list[dict]] = field(default_factory=dict)

    def add(self, part: str, shape: dict, paint: dict) -> None:
        self.parts.setdefault(part, []).append({**shape, "bsdf": paint})

    def ball(self, part: str, center: list[float], radius: float, paint: dict) -> None:
        self.add(part, {"type": "sphere", "center": center, "radius": radius}, paint)

    def card(self, part: str, center: list[float], side: float, paint: dict, turn: float = 0) -> None:
        place = mi.ScalarTransform4f().translate(center).rotate([1, 0, 0], turn).scale([side / 2, side / 2, 1])
        self.add(part, {"type": "rectangle", "to_world": place}, paint)

    def room(self, wall: dict, floor: dict | None = None) -> None:
        far = self.focus[-1]
        self.card("room", [0, 0, far], 1.4 * far, wall)
        if floor:
            self.card("room", [0, FLOOR, far / 2], far, floor, 90)

    def hair(self, part: str, curves: np.ndarray, colors: list[list[float]]) -> None:
        """Strands (N, POINTS, 4): x, y, z and radius of their points. They take turns with the colours."""
        for i, color in enumerate(colors):
            self.add(part, {"type": STRAND, "points": curves[i :: len(colors)]}, painted(color))

    def write_strands(self, folder: Path) -> None:
        """Puts strands into files, where Mitsuba reads them from."""
        shapes = [shape for shapes in self.parts.values() for shape in shapes if shape["type"] == STRAND]
        for i, shape in enumerate(shapes):
            points = shape.pop("points")
            ends = np.concatenate([points[:, :1], points, points[:, -1:]], 1)  # a spline ends before its last point
            strands = ["\n".join("{:.6f} {:.6f} {:.6f} {:.6f}".format(*point) for point in strand) for strand in ends]
            shape["filename"] = str(folder / f"{i}.txt")
            Path(shape["filename"]).write_text("\n\n".join(strands), encoding="utf-8")


def strands(
    roots: np.ndarray,
    directions: np.ndarray,
    lengths: np.ndarray,
    radii: np.ndarray,
    rng: np.random.Generator,
    fall: float,
    wild: float,
    around: tuple[np.ndarray, float] | None = None,
) -> np.ndarray:
    """Strands (N, POINTS, 4) from roots along directions (N, 3), thinner towards their ends.

    fall: how fast they turn down, and wild: anywhere, per length. around: centre and radius of a ball that they stay outside of.
    """
    place, direction, points = roots.copy(), directions.copy(), []
    for i in range(POINTS):
        points.append(np.concatenate([place, (radii * (1 - 0.7 * i / (POINTS - 1)))[:, None]], 1))
        turn = wild * rng.normal(size=place.shape) - fall * np.array([0, 1, 0])
        direction = direction + turn / POINTS
        direction /= np.linalg.norm(direction, axis=1, keepdims=True)
        place = place + direction * (lengths / (POINTS - 1))[:, None]
        if around is not None:
            away = place - around[0]
            distance = np.linalg.norm(away, axis=1, keepdims=True)
            place = around[0] + away * np.maximum(1, around[1] * rng.uniform(1.01, 1.06, distance.shape) / distance)
    return np.stack(points, 1)


def directions_from(rng: np.random.Generator, count: int) -> np.ndarray:
    normals = rng.normal(size=(count, 3))
    return normals / np.linalg.norm(normals, axis=1, keepdims=True)


def shades(color: list[float], rng: np.random.Generator, count: int = 5) -> list[list[float]]:
    return [(np.array(color) * rng.uniform(0.6, 1.25)).clip(0, 0.95).tolist() for _ in range(count)]


def any_color(rng: np.random.Generator) -> list[float]:
    return rng.uniform(0.05, 0.8, 3).tolist()


def furry(scene: HairScene, part: str, center: list[float], radius: float, rng: np.random.Generator, count: int) -> None:
    """A ball with fur, about half a pixel to one and a half wide."""
    color, pixel = any_color(rng), center[2] / FOCAL
    scene.ball(part, center, radius, painted([0.6 * c for c in color]))
    normals = directions_from(rng, count)
    normals = normals[normals[:, 2] < 0.3]  # those behind are not seen
    lengths, radii = (rng.uniform(low, high, len(normals)) for low, high in ((0.2, 0.5), (0.25 * pixel, 0.75 * pixel)))
    curves = strands(np.array(center) + radius * normals, normals, lengths * radius, radii, rng, 0.8, 0.7)
    scene.hair(part, curves, shades(color, rng))


def fur(seed: int) -> HairScene:
    """A furry ball in the air, a plain one behind it, and a wall."""
    rng = np.random.default_rng([1, seed])
    z = rng.uniform(2.8, 3.6)
    scene = HairScene({"ball": "other"}, (2.0, z, 12.0))
    scene.room(bricks(rng), drawn(100 * seed + 1))
    scene.ball("other", at(rng.uniform(90, 160), rng.uniform(90, 140), 6), 0.8, drawn(100 * seed + 2, 512))
    furry(scene, "ball", at(rng.uniform(180, 240), rng.uniform(110, 150), z), 0.1 * z, rng, 6000)
    return scene


def head(seed: int) -> HairScene:
    """A head with long hair, of which some strands fly, in front of a few balls and a wall."""
    rng = np.random.default_rng([2, seed])
    z, radius = 3.4, 0.42
    center, pixel = np.array(at(rng.uniform(170, 215), 115, z)), z / FOCAL
    scene = HairScene({"head": "other"}, (2.0, z, 12.0))
    scene.room(drawn(100 * seed + 3))
    for x in (60, 150, 330):
        scene.ball("other", at(x, rng.uniform(60, 200), rng.uniform(5, 8)), 0.6, drawn(100 * seed + x, 512))
    skin, color = [0.55, 0.35, 0.25], rng.uniform([0.05, 0.03, 0.02], [0.8, 0.6, 0.3]).tolist()
    scene.ball("head", center.tolist(), radius, painted(skin))
    scene.ball("head", (center - [0, 1.0, -0.1]).tolist(), 0.65, drawn(100 * seed + 4, 512))
    for count, length, fall, wild in ((4000, 0.9, 7.0, 0.5), (120, 0.6, 0.6, 1.5)):
        normals = directions_from(rng, count)
        normals = normals[(normals[:, 1] > -0.2) & ((normals[:, 2] > -0.3) | (normals[:, 1] > 0.5))]
        lengths, radii = (rng.uniform(0.5, 1, len(normals)) * most for most in (length, 0.5 * pixel))
        curves = strands(center + radius * normals, normals, lengths, radii, rng, fall, wild, (center, radius))
        scene.hair("head", curves, shades(color, rng))
    return scene


def grass(seed: int) -> HairScene:
    """Grass in front of a furry ball, and around it, on a floor."""
    rng = np.random.default_rng([3, seed])
    scene = HairScene({"grass": "ball", "ball": "grass"}, (2.7, 4.6, 11.0))
    scene.room(drawn(100 * seed + 5), drawn(100 * seed + 6))
    furry(scene, "ball", [rng.uniform(-0.3, 0.3), -0.25, 4.6], 0.5, rng, 4000)
    for part, count, nearest, farthest in (("grass", 170, 2.4, 3.0), ("room", 400, 4.4, 6.5)):
        z = rng.uniform(nearest, farthest, count)
        roots = np.stack([rng.uniform(-0.5, 0.5, count) * z, np.full(count, FLOOR), z], 1)
        up = np.array([0, 1, 0]) + rng.normal(0, 0.25, (count, 3)) * [1, 0, 0.3]
        lengths, radii = rng.uniform(0.5, 1, count), rng.uniform(0.5, 1.5, count) * z / FOCAL
        curves = strands(roots, up, lengths if part == "grass" else 0.4 * lengths, radii, rng, 0.6, 0.5)
        scene.hair(part, curves, shades([0.25, 0.5, 0.1] if seed % 2 else any_color(rng), rng))
    return scene


SCENES: dict[str, Callable[[int], HairScene]] = {"fur": fur, "head": head, "grass": grass}


class Sunlit(mi.SamplingIntegrator):
    """Surfaces in the light of the sun and of all around, and their distance along z."""

    def __init__(self, bodies: mi.Scene):
        super().__init__(mi.Properties())
        self.bodies = bodies

    def aov_names(self) -> list[str]:
        return ["distance"]

    def sample(self, scene, sampler, ray, medium=None, active=True):
        seen = scene.ray_intersect(ray, active)
        bsdf, context = seen.bsdf(), mi.BSDFContext()
        to_sun = mi.Vector3f(TO_SUN)
        light = KEY * bsdf.eval(context, seen, seen.to_local(to_sun), active)
        light[self.bodies.ray_test(mi.Ray3f(seen.p + 1e-3 * to_sun, to_sun), active)] = 0
        outwards = mi.Vector3f(0, 0, dr.select(seen.wi.z > 0, 1, -1))
        light += AMBIENT * math.pi * bsdf.eval(context, seen, outwards, active)
        return light, seen.is_valid(), [seen.p.z]


class Studio:
    """Takes pictures of a scene, all (1, C, HEIGHT, WIDTH), with or without a part of it."""

    def __init__(self, scene: HairScene, without: str | None = None):
        self.parts = {part: shapes for part, shapes in scene.parts.items() if part != without}
        self.all = self._load(self.parts)
        bodies = {part: [shape for shape in shapes if shape["type"] != STRAND] for part, shapes in self.parts.items()}
        self.lit = Sunlit(self._load(bodies))

    @staticmethod
    def _load(parts: dict[str, list[dict]]) -> mi.Scene:
        shapes = {f"{part}{i}": shape for part, shapes in parts.items() for i, shape in enumerate(shapes)}
        return mi.load_dict({"type": "scene", **shapes})

    def light(self, lens: dict, samples: int, seed: int = 0) -> Tensor:
        """lens: the sensor's `type` and what it takes. samples: per pixel; their noise is that of the seed."""
        return self._render(self.all, self.lit, lens, samples, seed)[:, :3]

    def inverse_distance(self) -> Tensor:
        """1 / z of what is seen in the middle of each pixel."""
        return 1 / self._render(self.all, self.lit, PINHOLE, 1, 0)[:, 3:]

    def coverage(self, part: str, samples: int) -> Tensor:
        """Share of each pixel that shows a part, by the samples of a photo."""
        white, black = painted([1.0] * 3), painted([0.0] * 3)
        scene = self._load(
            {name: [{**shape, "bsdf": white if name == part else black} for shape in own] for name, own in self.parts.items()}
        )
        integrator = mi.load_dict({"type": "aov", "aovs": "albedo:albedo"})
        return self._render(scene, integrator, PINHOLE, samples, 0)[:, :1]

    @staticmethod
    def _render(scene: mi.Scene, integrator: mi.Integrator, lens: dict, samples: int, seed: int) -> Tensor:
        film = {"type": "hdrfilm", "width": WIDTH, "height": HEIGHT, "pixel_format": "rgb", "rfilter": {"type": "box"}}
        # One sample is in the middle of the pixel.
        kind = {"type": "multijitter"} if samples > 1 else {"type": "stratified", "jitter": False}
        sampler = {**kind, "sample_count": samples}
        sensor = mi.load_dict({"fov": FOV, **lens, "film": {**film, "component_format": "float32"}, "sampler": sampler})
        values = mi.render(scene, integrator=integrator, sensor=sensor, spp=samples, seed=seed)
        return torch.from_numpy(np.array(values)).movedim(-1, 0)[None]


def views(name: str, seed: int, ks: tuple[int, ...], samples: int = SAMPLES) -> list[View]:
    """Each subject of a scene, through lenses that blur the wall by k pixels where the nearest is in focus."""
    with tempfile.TemporaryDirectory() as folder:
        scene = SCENES[name](seed)
        scene.write_strands(Path(folder))
        studio = Studio(scene)
        farthest = 1 / scene.focus[-1]
        span = 1 / scene.nearest - farthest

        def photographed(studio: Studio) -> tuple[Tensor, Tensor]:
            """Photo, and disparity, 1 at the nearest and 0 at the wall."""
            disparity = (studio.inverse_distance() - farthest) / span
            return _encoded(studio.light(PINHOLE, 4 * samples)), disparity.clamp(0, 1)

        photo, disparity = photographed(studio)
        given = [
            (studio.coverage(subject, 4 * samples), studio.coverage(other, samples), *photographed(Studio(scene, subject)))
            for subject, other in scene.subjects.items()
        ]
        lenses = [(place, distance, k) for k in ks for place, distance in enumerate(scene.focus)]
        halves: tuple[list[Tensor], ...] = [], []
        for _, distance, k in lenses:
            lens = {"type": "thinlens", "aperture_radius": k / (FOCAL * span), "focus_distance": distance}
            for seed, half in enumerate(halves):
                half.append(studio.light(lens, samples, seed))
    first, second = (torch.cat(half) for half in halves)
    place, distance, k = (torch.tensor(values) for values in zip(*lenses))
    out = []
    for matte, other, plate, plate_disparity in given:
        view = View(
            photo=photo,
            disparity=disparity,
            matte=matte,
            other=other,
            plate=plate,
            plate_disparity=plate_disparity,
            truth=_encoded((first + second) / 2),
            focus=(1 / distance - farthest) / span,
            k=k,
            place=place,
            noise=torch.full((len(lenses),), torch.inf),
            margin=k.max(),
        )
        noise = []
        for shot in range(len(lenses)):
            near = view.inner(view.near_mixed(matte, shot))
            # The mean of two has half the noise of their difference.
            compared = [view.inner(_encoded(half[shot : shot + 1])) for half in (first, second)]
            noise.append(psnr(*compared, near) + 20 * math.log10(2))
        out.append(replace(view, noise=torch.tensor(noise)))
    return out


def _encoded(light: Tensor) -> Tensor:
    return linear_to_srgb(light.clamp(max=1))
