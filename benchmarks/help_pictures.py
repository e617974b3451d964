"""Pictures of the help pages of mattes and of depth by hand, made by the functions that the nodes call.

python -m benchmarks.help_pictures

Hair is drawn, so that it is known: a furry ball in front of leaves. The lines of *Disparity By Hand* are those of the page, in the
last ComfyUI that `tests/host` finds.
"""

import base64
import io
import math
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from playwright.sync_api import sync_playwright
from torch import Tensor

from magicbokeh_ops import by_hand, lens, matting, touch_up
from magicbokeh_ops.color import linear_to_srgb
from magicbokeh_ops.demo import ASSETS, demo_photo
from tests.browser.conftest import CHROMIUM, FLAGS, opened
from tests.browser.test_hand import BUILD
from tests.host.conftest import HOSTS, Host
from tests.support.spoiled import spoil

IMAGES = Path(__file__).parents[1] / "web" / "docs" / "images"
SIDE = 320  # pixels of a picture
FINER = 4  # a pixel is the mean of so many squared
STRANDS, STEPS = 3500, 8
NEAR, FAR = 0.8, 0.2  # disparity of the ball and of the leaves
K = 32
HAND = {"horizon": 0.157, "near_end": 1.0, "vanishing_x": 0.62}
# On toys.jpg, x and y in pixels: corners, or where two are an ellipse's box.
THINGS = (
    (178, 212, 203, 198, 397, 198, 378, 418, 178, 413),
    (396, 147, 541, 294),
    (71, 134, 80, 131, 194, 131, 194, 230, 167, 237, 71, 237),
    (0, 192, 61, 192, 62, 318, 22, 326, 0, 326),
    (209, 106, 282, 179),
    (497, 143, 572, 143, 572, 218, 497, 216),
    (353, 118, 438, 117, 438, 200, 353, 200),
)
SET = """(values) => {
  const node = app.graph.nodes.find((node) => node.comfyClass === "MagicBokehDisparityByHand");
  node.setSize([700, node.size[1]]);
  for (const [name, value] of Object.entries(values)) node.widgets.find((widget) => widget.name === name).value = value;
}"""
VIEW = """() => [...document.querySelectorAll("[data-testid=magicbokeh-stage] canvas")].at(-1).toDataURL().split(",")[1]"""


def ball(chance: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Linear light (1, 3, SIDE, SIDE) of a furry ball before black, and how much of each pixel it covers (1, 1, SIDE, SIDE)."""
    side = FINER * SIDE
    middle, radius = np.array([0.5, 0.54]) * side, 0.25 * side
    inner = (*(middle - radius), *(middle + radius))
    canvas, cover = Image.new("RGB", (side, side)), Image.new("L", (side, side))
    brush, stencil = ImageDraw.Draw(canvas), ImageDraw.Draw(cover)
    brush.ellipse(inner, fill=(60, 30, 12))
    stencil.ellipse(inner, fill=255)
    for out in np.sqrt(np.sort(chance.uniform(0, 1, STRANDS)))[::-1]:  # the front ones last
        turn = chance.uniform(0, 2 * math.pi)
        bend, length = chance.normal(0, 0.1), radius * chance.uniform(0.2, 0.55) / STEPS
        points = [middle + out * radius * np.array([math.cos(turn), math.sin(turn)])]
        turn += chance.normal(0, 0.4)
        for _ in range(STEPS):
            points.append(points[-1] + length * np.array([math.cos(turn), math.sin(turn) + 0.15]))
            turn += bend
        light = chance.uniform(0.3, 1) * (0.7 - 0.3 * math.sin(turn))
        line = [tuple(point) for point in points]
        brush.line(line, fill=tuple(int(255 * light * share) for share in (1, 0.55, 0.22)), width=4)
        stencil.line(line, fill=255, width=4)
    for x in (-0.35, 0.35):
        at = middle + radius * np.array([x, -0.2])
        brush.ellipse((*(at - 30), *(at + 30)), fill=(8, 6, 6))
        brush.ellipse((*(at - 16), *(at + 2)), fill=(255, 255, 255))
    return F.avg_pool2d(as_planes(canvas), FINER), F.avg_pool2d(as_planes(cover), FINER)


def leaves(chance: np.random.Generator) -> Tensor:
    """Linear light (1, 3, SIDE, SIDE)."""
    side = FINER * SIDE
    canvas = Image.new("RGB", (side, side), (10, 26, 14))
    brush = ImageDraw.Draw(canvas)
    for x, y, size, light in chance.uniform((0, 0, 20, 0.05), (side, side, 70, 0.7), (500, 4)):
        color = tuple(int(255 * light * share) for share in (0.35 + 0.4 * light, 0.75, 0.3))
        brush.ellipse((x - size, y - 0.5 * size, x + size, y + 0.5 * size), fill=color)
    return F.avg_pool2d(as_planes(canvas), FINER)


def as_planes(picture: Image.Image) -> Tensor:
    """(1, 1 or 3, H, W) in 0..1."""
    levels = torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)
    return levels.reshape(*levels.shape[:2], -1).permute(2, 0, 1)[None]


def side_by_side(name: str, *pictures: Tensor) -> None:
    """Pictures (1, 1 or 3, H, W) in 0..1 as one file, each SIDE pixels high."""
    height, width = pictures[0].shape[-2:]
    size = (SIDE, round(SIDE * width / height))
    row = torch.cat([F.interpolate(picture.expand(-1, 3, -1, -1), size, mode="area") for picture in pictures], -1)
    levels = (255 * row[0].clamp(0, 1)).round().byte().permute(1, 2, 0).numpy()
    Image.fromarray(levels).save(IMAGES / f"{name}.jpg", quality=85, optimize=True)


def hair() -> None:
    chance = np.random.default_rng(3)
    (light, cover), behind = ball(chance), leaves(chance)
    photo = linear_to_srgb(light + (1 - cover) * behind)
    near = spoil(torch.where(cover > 0.5, NEAR, FAR), 7, 1.5, -1.0)  # soft and shifted, as a network gives it
    side_by_side("matte", photo, near, matting.from_disparity(photo, near))
    without, matted = (lens.render(photo, near, NEAR, K, matte=matte) for matte in (None, cover))
    side_by_side("hair", photo, without, matted)


def touched_up() -> None:
    """As the template *touch_up* does it."""
    photo, near = demo_photo()
    with Image.open(ASSETS / "masks.png") as masks:
        shuttle, helmet = map(as_planes, masks.split()[:2])
    after = touch_up.touch_up(near, shuttle, touch_up.POINT, image=photo, point=(0.42, 0.19), edge=8)
    after = touch_up.touch_up(after, helmet, touch_up.ADD, image=photo, amount=-0.25, edge=8)
    painted = photo.clone()
    for channel, mask in enumerate((shuttle, helmet)):
        painted[:, channel : channel + 1].lerp_(torch.ones_like(mask), 0.6 * mask)
    side_by_side("touch_up", painted, near, after)


def lines() -> Image.Image:
    """The view of the node on the page, cut to the photo."""
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        host = Host(*HOSTS[-1], Path(folder))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        try:
            (host.base / "input" / "photo.jpg").write_bytes((ASSETS / "toys.jpg").read_bytes())
            with opened(browser, (host, False), density=2) as canvas:
                canvas.run(BUILD)
                canvas.run(SET, HAND)
                canvas.wait(2000)
                view = Image.open(io.BytesIO(base64.b64decode(canvas.run(VIEW)))).convert("RGB")
        finally:
            browser.close()
            host.process.terminate()
            host.process.wait(30)
    width, height = (min(view.width, view.height * 640 / 427), min(view.height, view.width * 427 / 640))
    left, top = (view.width - width) / 2, (view.height - height) / 2
    return view.crop(tuple(map(round, (left, top, left + width, top + height))))


def drawn_by_hand() -> None:
    masks = []
    for corners in THINGS:
        canvas = Image.new("L", (640, 427))
        brush = ImageDraw.Draw(canvas)
        (brush.ellipse if len(corners) == 4 else brush.polygon)(corners, fill=255)
        masks.append(as_planes(canvas))
    room = by_hand.room((427, 640), HAND["horizon"], HAND["near_end"], vanishing_x=HAND["vanishing_x"])
    side_by_side("by_hand", as_planes(lines()), by_hand.stand(room, {"things": torch.cat(masks)}, 0.0, False))


def main():
    hair()
    touched_up()
    drawn_by_hand()


if __name__ == "__main__":
    main()
