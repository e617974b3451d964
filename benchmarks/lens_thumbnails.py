"""The picture of the named lenses on the help pages: a drawn night scene, and what each lens makes of it.

python -m benchmarks.lens_thumbnails

The pictures are whole, not parts, since cat's eyes and swirl show in the corners only.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.drawn_scenes import Scene, Solid, mixed, noise, wood
from magicbokeh_ops import lens
from magicbokeh_ops.defocus import normalize
from magicbokeh_ops.focus import focus_from_point
from magicbokeh_ops.lenses import LENSES, aperture_of

OUTPUT = Path(__file__).parents[1] / "web" / "docs" / "images" / "lenses.jpg"
WIDTH, HEIGHT = 300, 200  # pixels of a picture
BAR, GAP = 26, 8  # of the line below it, and between pictures
COLUMNS = 2
FACE = (0.3, 0.6)
RADIUS = 17  # pixels of blur far away
BOOST = 5.5  # stops


def figure() -> Scene:
    """A wooden figure at night, before strings of lamps that reach into the corners of the picture."""
    draw = np.random.default_rng(4)
    colors = ((1.0, 0.6, 0.25), (1.0, 0.8, 0.5), (0.6, 0.8, 1.0), (1.0, 0.35, 0.25))

    def hedge(p: Tensor) -> Tensor:
        return mixed(noise(p, 7) * noise(p, 1.7), (0.002, 0.004, 0.004), (0.02, 0.04, 0.018))

    solids = [Solid("box", (0, -0.5, 6), (12, 0.5, 12), lambda p: 0.3 * wood(p))]
    solids.append(Solid("box", (0, 3, 10), (12, 4, 0.5), hedge, glow=1))
    for row in range(5):
        for column in range(8):
            x, y = 1.1 * (column - 3.5 + row % 2 / 2) + draw.uniform(-0.15, 0.15), 0.4 + 0.8 * row + draw.uniform(-0.12, 0.12)
            solids.append(
                Solid("ball", (x, y, 8.5), (0.05, 0.05, 0.05), colors[draw.choice(4, p=(0.4, 0.3, 0.15, 0.15))], glow=1)
            )
    red, skin, x, z = (0.62, 0.05, 0.03), (0.8, 0.6, 0.42), -0.35, 2.2
    for shape, y, size, color in (
        ("can", 0.3, (0.26, 0.3, 0.26), red),
        ("ball", 0.6, (0.26, 0.2, 0.26), red),
        ("ball", 0.95, (0.19, 0.21, 0.19), skin),
    ):
        solids.append(Solid(shape, (x, y, z), size, color))
    for dx in (-0.04, 0.1):
        solids.append(Solid("ball", (x + dx, 0.98, z - 0.17), (0.022, 0.03, 0.022), (0.02, 0.02, 0.02)))
    sky = ((0.02, 0.02, 0.05), (0.004, 0.005, 0.02))
    return Scene(solids, (0, 1, -0.4), (0, 1.3, 8), 0.42, sky, lamps=[((-1.4, 2.4, 0.4), (7.0, 6.0, 4.5))])


def sheet(pictures: dict[str, Tensor]) -> Image.Image:
    """Pictures (1, 3, HEIGHT, WIDTH) in rows, with their names below."""
    rows = -(-len(pictures) // COLUMNS)
    across, down = WIDTH + GAP, HEIGHT + BAR + GAP
    canvas = Image.new("RGB", (COLUMNS * across - GAP, rows * down - GAP), "#1b1b1b")
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(18)
    for i, (name, picture) in enumerate(pictures.items()):
        left, top = i % COLUMNS * across, i // COLUMNS * down
        pixels = (255 * picture[0].clamp(0, 1)).round().byte().permute(1, 2, 0)
        canvas.paste(Image.fromarray(pixels.numpy()), (left, top))
        draw.text((left + WIDTH / 2, top + HEIGHT + BAR / 2), name, fill="#eee", font=font, anchor="mm")
    return canvas


def main():
    photo, distance = figure().photograph(WIDTH, HEIGHT)
    near = normalize(1 / distance)
    focus = focus_from_point(near, *FACE)
    pictures = {"photo": photo}
    for name in LENSES:
        pictures[name] = lens.render(photo, near, focus, RADIUS / focus, aperture=aperture_of(name), highlight_boost=BOOST)
    sheet(pictures).save(OUTPUT, quality=85, optimize=True)


if __name__ == "__main__":
    main()
