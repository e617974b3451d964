"""Pictures and silhouettes that need no files: dead leaves with texture, text, lines, shaded balls.

What makes such pictures useful for training a restorer follows VibrantLeaves (arXiv 2504.10201): sizes by a power law,
a texture on every leaf, colours that belong together, and drawing at twice the size so that edges are antialiased.
"""

import math

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

LETTERS = list("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789&%?!.,:-+")


def picture_and_silhouette(seed: int, side: int, i: int) -> tuple[np.ndarray, np.ndarray]:
    """Number i of the endless row of pictures of a seed, and a silhouette half as wide."""
    return picture(side, np.random.default_rng([seed, 0, i])), silhouette(side // 2, np.random.default_rng([seed, 1, i]))


def picture(side: int, rng: np.random.Generator) -> np.ndarray:
    """A random sRGB picture, (side, side, 3) uint8."""
    kinds = (_leaves, _text, _lines, _balls)
    draw = kinds[rng.choice(len(kinds), p=[0.65, 0.15, 0.1, 0.1])]
    canvas = draw(2 * side, _Palette(rng), rng)
    small = canvas.reshape(side, 2, side, 2, 3).mean((1, 3))
    light = 1 + rng.uniform(0, 0.25) * _noise(side, 2.0, rng)
    return (small * light[..., None] * 255).clip(0, 255).round().astype(np.uint8)


class _Palette:
    """Colours of one picture: they differ mostly in brightness, as in photos, and little in hue."""

    def __init__(self, rng: np.random.Generator):
        self.rng = rng
        self.mean = rng.uniform(0.2, 0.7) + rng.normal(0, 0.1, 3)
        self.axes = np.stack([np.full(3, rng.uniform(0.12, 0.3)), *rng.normal(0, rng.uniform(0.02, 0.15), (2, 3))])

    def draw(self) -> np.ndarray:
        return (self.mean + self.rng.normal(size=3) @ self.axes).clip(0, 1).astype(np.float32)

    def ink(self) -> tuple[int, ...]:
        return tuple(int(255 * c) for c in self.draw())


def _noise(side: int, slope: float, rng: np.random.Generator) -> np.ndarray:
    """Noise whose amplitude falls as 1 / frequency^slope, (side, side), mean 0 and spread 1, periodic."""
    frequency = np.hypot(np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side))
    frequency[0, 0] = np.inf
    noise = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((side, side))) / frequency**slope, (side, side))
    return (noise / noise.std()).astype(np.float32)


def _mix(colors: _Palette, share: np.ndarray) -> np.ndarray:
    """Two colours of the palette by `share`, 0..1, of any shape."""
    first, second = colors.draw(), colors.draw()
    return first + (second - first) * share[..., None]


def _wall(side: int, colors: _Palette, rng: np.random.Generator) -> np.ndarray:
    """Something quiet to draw on."""
    return _mix(colors, 1 / (1 + np.exp(-rng.uniform(0.3, 2) * _noise(side, rng.uniform(1.2, 2.5), rng))))


def _leaves(side: int, colors: _Palette, rng: np.random.Generator, most: int = 4000) -> np.ndarray:
    """Dead leaves, drawn front to back: every leaf takes what is still bare."""
    smallest, largest = 2 * math.exp(rng.uniform(math.log(1.5), math.log(8))), side / 2
    fall = rng.uniform(2.5, 3.2) - 1
    radii = (smallest**-fall + rng.random(most) * (largest**-fall - smallest**-fall)) ** (-1 / fall)
    centers = rng.uniform(0, side, (most, 2))
    noises = [_noise(side, slope, rng) for slope in rng.uniform(0.5, 2, 3)]
    canvas = _wall(side, colors, rng)
    bare = np.ones((side, side), dtype=bool)
    for radius, (center_y, center_x) in zip(radii, centers):
        rows = slice(max(0, math.ceil(center_y - radius)), min(side, math.floor(center_y + radius) + 1))
        cols = slice(max(0, math.ceil(center_x - radius)), min(side, math.floor(center_x + radius) + 1))
        row, col = bare[rows, cols].nonzero()
        if not len(row):
            continue
        row, col = row + rows.start, col + cols.start
        angle, flat = rng.uniform(0, math.tau), rng.uniform(0.3, 1)
        y, x = (row - center_y).astype(np.float32), (col - center_x).astype(np.float32)
        along, across = x * math.cos(angle) + y * math.sin(angle), (y * math.cos(angle) - x * math.sin(angle)) / flat
        leaf = np.hypot(along, across) < radius * _outline(along, across, radius, rng)
        row, col = row[leaf], col[leaf]
        if radius < 10:
            canvas[row, col] = colors.draw()
        else:
            shift_y, shift_x = rng.integers(side, size=2)
            noise = noises[rng.integers(len(noises))][(row + shift_y) % side, (col + shift_x) % side]
            canvas[row, col] = _mix(colors, _pattern(along[leaf], across[leaf], radius, noise, rng))
        bare[row, col] = False
    return canvas


def _outline(along: np.ndarray, across: np.ndarray, radius: float, rng: np.random.Generator) -> np.ndarray | float:
    """Distance of the edge from the centre in units of the radius, by direction: ellipse, polygon or wavy."""
    corners = rng.choice([0, 0, 3, 4, 4, 5, 7])
    if corners == 0 or radius < 5:
        return 1.0
    angle = np.arctan2(across, along)
    if corners == 7:
        waves = [np.cos(n * angle + rng.uniform(0, math.tau)) * rng.uniform(0, 1 / n) for n in range(2, 6)]
        return 0.7 + 0.23 * sum(waves)
    half = math.pi / corners
    return math.cos(half) / np.cos(np.remainder(angle, 2 * half) - half)


def _pattern(along: np.ndarray, across: np.ndarray, radius: float, noise: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Gradient, noise, stripes or checks, 0..1, with some noise on all of them."""
    kind = rng.choice(["gradient", "noise", "stripes", "checks"], p=[0.25, 0.45, 0.2, 0.1])
    period = math.exp(rng.uniform(math.log(5), math.log(max(6, radius))))
    weight = rng.uniform(0, 0.15)
    if kind == "gradient":
        share = 0.5 + along / (2 * radius)
    elif kind == "noise":
        share, weight = np.full(noise.shape, 0.5), rng.uniform(0.1, 0.5)
    elif kind == "stripes":
        share = 0.5 + 0.5 * np.sin(along * (math.tau / period))
    else:
        share = ((np.floor(along / period) + np.floor(across / period)) % 2).astype(np.float32)
    return (share + weight * noise).clip(0, 1)


def _text(side: int, colors: _Palette, rng: np.random.Generator) -> np.ndarray:
    draw_ground = _leaves if rng.random() < 0.3 else _wall
    canvas = draw_ground(side, colors, rng)
    for _ in range(rng.integers(2, 9)):
        size = math.exp(rng.uniform(math.log(16), math.log(160)))
        font = ImageFont.load_default(size=size)
        lines = ["".join(rng.choice(LETTERS, rng.integers(3, 12))) for _ in range(rng.integers(1, 6))]
        mask = Image.new("L", (side, side))
        at = (int(rng.uniform(-0.1, 0.7) * side), int(rng.uniform(-0.1, 0.9) * side))
        ImageDraw.Draw(mask).multiline_text(at, "\n".join(lines), fill=255, font=font)
        if rng.random() < 0.5:
            mask = mask.rotate(rng.uniform(-60, 60), Image.Resampling.BILINEAR)
        share = np.asarray(mask, dtype=np.float32)[..., None] / 255
        canvas = canvas + share * (colors.draw() - canvas)
    return canvas


def _lines(side: int, colors: _Palette, rng: np.random.Generator) -> np.ndarray:
    """Grids, single lines and bundles of hair."""
    page = Image.fromarray((_wall(side, colors, rng) * 255).clip(0, 255).astype(np.uint8))
    pen = ImageDraw.Draw(page)
    for _ in range(rng.integers(1, 4)):
        kind = rng.choice(["grid", "single", "hair"])
        if kind == "grid":
            angle, pitch, thickness, ink = rng.uniform(0, math.pi), rng.uniform(8, 60), int(rng.integers(1, 6)), colors.ink()
            for direction in (angle, angle + math.pi / 2)[: rng.integers(1, 3)]:
                reach_x, reach_y = side * math.cos(direction), side * math.sin(direction)
                for offset in np.arange(-side, side, pitch):
                    x, y = side / 2 - offset * math.sin(direction), side / 2 + offset * math.cos(direction)
                    pen.line([(x - reach_x, y - reach_y), (x + reach_x, y + reach_y)], fill=ink, width=thickness)
        elif kind == "single":
            for _ in range(rng.integers(5, 40)):
                ends = [tuple(p) for p in rng.uniform(0, side, (2, 2))]
                pen.line(ends, fill=colors.ink(), width=int(rng.integers(1, 8)))
        else:
            root, angle, length = rng.uniform(0, side, 2), rng.uniform(0, math.tau), rng.uniform(0.3, 0.9) * side
            for _ in range(rng.integers(60, 300)):
                start, turn = root + rng.normal(0, 0.06 * side, 2), rng.normal(0.4, 0.3)
                strand = _strand(start, angle + rng.normal(0, 0.15), length * rng.uniform(0.6, 1), turn)
                pen.line(strand, fill=colors.ink(), width=int(rng.integers(1, 4)))
    return np.asarray(page, dtype=np.float32) / 255


def _strand(start: np.ndarray, angle: float, length: float, turn: float) -> list[tuple[float, float]]:
    """A curve that turns by `turn` radians over its length."""
    angles = angle + turn * np.linspace(0, 1, 12)
    steps = np.stack([np.cos(angles), np.sin(angles)], 1) * (length / 12)
    return [tuple(p) for p in np.concatenate([start[None], start + steps.cumsum(0)])]


def _balls(side: int, colors: _Palette, rng: np.random.Generator) -> np.ndarray:
    """A smooth gradient with softly shaded balls, so that skies and skin are not taken for noise."""
    y, x = np.mgrid[0:side, 0:side].astype(np.float32) / side
    angle = rng.uniform(0, math.tau)
    canvas = _mix(colors, 0.5 + 0.7 * ((x - 0.5) * math.cos(angle) + (y - 0.5) * math.sin(angle)))
    light = rng.normal(0, 0.6, 2)
    for _ in range(rng.integers(0, 9)):
        radius = math.exp(rng.uniform(math.log(0.04), math.log(0.35)))
        center_x, center_y = rng.uniform(0, 1, 2)
        to_x, to_y = (x - center_x) / radius, (y - center_y) / radius
        height = np.sqrt((1 - to_x**2 - to_y**2).clip(0, 1))
        lit = (to_x * light[0] + to_y * light[1] + height).clip(0, None) / math.sqrt(1 + light @ light)
        ball = colors.draw() * (0.15 + 0.85 * lit[..., None])
        canvas = np.where((to_x**2 + to_y**2 < 1)[..., None], ball, canvas)
    return canvas


def silhouette(side: int, rng: np.random.Generator) -> np.ndarray:
    """Alpha of a random subject that fills the square, (side, side) uint8: blobs, stars, letters, some with holes or hair."""
    page = Image.new("L", (4 * side, 4 * side))
    pen = ImageDraw.Draw(page)
    kind = rng.choice(["blob", "blobs", "star", "letters"], p=[0.4, 0.25, 0.25, 0.1])
    middle = np.full(2, 2.0 * side)
    if kind == "letters":
        text = "".join(rng.choice(LETTERS, rng.integers(1, 4)))
        font = ImageFont.load_default(size=rng.uniform(1.5, 3.5) * side)
        pen.text(tuple(middle), text, fill=255, font=font, anchor="mm")
    elif kind == "blobs":
        for _ in range(rng.integers(2, 6)):
            center = middle + rng.normal(0, 0.5, 2) * side
            pen.polygon(_ring(center, rng.uniform(0.3, 1) * side, rng), fill=255)
    else:
        pen.polygon(_ring(middle, 1.4 * side, rng, points=int(rng.integers(3, 12)) if kind == "star" else 0), fill=255)
    if rng.random() < 0.35:
        for _ in range(rng.integers(1, 6)):
            pen.polygon(_ring(middle + rng.normal(0, 0.6, 2) * side, rng.uniform(0.06, 0.3) * side, rng), fill=0)
    if rng.random() < 0.6:
        _hair(pen, np.asarray(page) > 127, side, rng)
    if rng.random() < 0.3:
        page = page.filter(ImageFilter.GaussianBlur(4 * rng.uniform(0.5, 2)))
    return np.asarray(page.reduce(4))


def _ring(center: np.ndarray, radius: float, rng: np.random.Generator, points: int = 0) -> list[tuple[float, float]]:
    """A closed outline: wavy, or a star with so many points, turned and flattened."""
    angle = np.linspace(0, math.tau, 240, endpoint=False)
    if points:
        reach = 1 - rng.uniform(0.3, 0.7) * np.abs(np.remainder(angle * points / math.pi, 2) - 1)
    else:
        reach = np.ones_like(angle)
        for n in range(2, 9):
            reach += rng.normal(0, 0.5 / n) * np.cos(n * angle + rng.uniform(0, math.tau))
        reach = reach.clip(0.15, None) / max(reach.max(), 1)
    turn, flat = rng.uniform(0, math.tau), rng.uniform(0.45, 1)
    x, y = radius * reach * np.cos(angle), radius * flat * reach * np.sin(angle)
    outline = np.stack([x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)], 1)
    return [tuple(p) for p in center + outline]


def _hair(pen: ImageDraw.ImageDraw, inside: np.ndarray, side: int, rng: np.random.Generator) -> None:
    """Strands away from the middle, rooted near the edge, on a page four times the final size."""
    shifted = [np.roll(inside, shift, axis) for shift in (-12, 12) for axis in (0, 1)]
    rows, cols = (inside & ~np.logical_and.reduce(shifted)).nonzero()
    if not len(rows):
        return
    length, curl = rng.uniform(0.1, 0.6) * side, rng.normal(0, 0.6)
    for i in rng.integers(len(rows), size=rng.integers(10, 120)):
        root = np.array([cols[i], rows[i]], dtype=np.float64)
        out = math.atan2(root[1] - 2 * side, root[0] - 2 * side) + rng.normal(0, 0.3)
        strand = _strand(root, out, length * rng.uniform(0.4, 1.2), curl + rng.normal(0, 0.3))
        thickness = int(rng.integers(3, 9))
        pen.line(strand, fill=255, width=thickness)
        pen.line(strand[8:], fill=255, width=max(thickness // 2, 3))
