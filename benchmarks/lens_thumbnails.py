"""The picture of the named lenses on the help pages: a drawn night scene, and what each lens makes of it.

python -m benchmarks.lens_thumbnails

The pictures are whole, not parts, since cat's eyes and swirl show in the corners only.
"""

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from benchmarks.drawn_scenes import lamps
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
    photo, distance = lamps().photograph(WIDTH, HEIGHT)
    near = normalize(1 / distance)
    focus = focus_from_point(near, *FACE)
    pictures = {"photo": photo}
    for name in LENSES:
        pictures[name] = lens.render(photo, near, focus, RADIUS / focus, aperture=aperture_of(name), highlight_boost=BOOST)
    sheet(pictures).save(OUTPUT, quality=85, optimize=True)


if __name__ == "__main__":
    main()
