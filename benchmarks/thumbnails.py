"""Thumbnails of templates.

python -m benchmarks.thumbnails

Those that need weights show their photo and their graph, and say so, until somebody with the weights has run them. The one for
people's own photos shows a photo, its depth and what the lens makes of them. Those of drawn photos show what a ComfyUI that
`tests/host` finds makes of them; that of the touch-up shows its disparity, before and after, too, and that of the keys its frames at
those.
"""

import io
import json
import re
import tempfile
from pathlib import Path

import av
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

from magicbokeh_ops import lens
from magicbokeh_ops.demo import ASSETS, demo_photo
from magicbokeh_ops.focus import focus_from_point
from magicbokeh_ops.keys import read_keys
from tests.host.conftest import HOSTS, Host
from tests.host.test_pack import prompt

WORKFLOWS = Path(__file__).parents[1] / "workflows"
NEED = {
    "lens_blur_core": "needs a model of MoGe or Depth Anything 3",
    "magicbokeh_portrait": "needs the released weights",
    "magicbokeh_super_resolution": "needs the released weights",
    "refocus": "needs the released weights",
    "chain_upscale_inpaint": "needs the released weights",
    "hair": "needs a model that removes backgrounds",
    "clean_plate": "needs a checkpoint for inpainting",
    "upscale_lens_blur": "needs an upscaler, such as Real-ESRGAN",
    "video_portrait": "needs a video, MoGe and SAM 3",
}
RUN = ("night_lights", "miniature", "camera_units", "touch_up", "keyed_focus")
SIDE = 512  # pixels of a thumbnail
BAR = 44  # of the line below
INSET = 130  # of a disparity


def graph(workflow: dict, width: int, height: int) -> Image.Image:
    """Nodes, groups and links of a workflow as boxes and lines."""
    groups = [group["bounding"] for group in workflow["groups"]]
    nodes = {node["id"]: (*node["pos"], *node["size"]) for node in workflow["nodes"] if node["type"] != "MarkdownNote"}
    boxes = [*groups, *nodes.values()]
    left, top = (min(box[i] for box in boxes) for i in (0, 1))
    right, bottom = (max(box[i] + box[i + 2] for box in boxes) for i in (0, 1))
    scale = min((width - 24) / (right - left), (height - 24) / (bottom - top))
    x0, y0 = (width - scale * (right - left)) / 2 - scale * left, (height - scale * (bottom - top)) / 2 - scale * top

    canvas = Image.new("RGB", (4 * width, 4 * height), "#1b1b1b")  # drawn larger, to have smooth lines
    draw = ImageDraw.Draw(canvas)

    def place(box):
        x, y, across, down = box
        corners = x0 + scale * x, y0 + scale * y, x0 + scale * (x + across), y0 + scale * (y + down)
        return [4 * value for value in corners]

    for group in workflow["groups"]:
        draw.rectangle(place(group["bounding"]), fill="#262626", outline=group["color"], width=8)
    for _, origin, slot, target, entry, _ in workflow["links"]:
        start, end = place(nodes[origin]), place(nodes[target])
        points = [(start[2], start[1] + 8 + 12 * slot), (end[0], end[1] + 8 + 12 * entry)]
        draw.line(points, fill="#9ab", width=5)
    for box in nodes.values():
        draw.rounded_rectangle(place(box), radius=8, fill="#4a4a4a", outline="#777", width=3)
    return canvas.resize((width, height), Image.Resampling.LANCZOS)


def thumbnail(name: str) -> Image.Image:
    workflow = json.loads((WORKFLOWS / f"{name}.json").read_text(encoding="utf-8"))
    half = (SIDE - BAR) // 2
    canvas = Image.new("RGB", (SIDE, SIDE), "#1b1b1b")
    with Image.open(ASSETS / "demo.jpg") as photo:
        canvas.paste(photo.resize((half, half), Image.Resampling.LANCZOS), ((SIDE - half) // 2, 0))
    canvas.paste(graph(workflow, SIDE, half), (0, half))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    draw.text((SIDE / 2, SIDE - BAR / 2), NEED[name], fill="#eee", font=font, anchor="mm")
    return canvas


def photo_depth_picture() -> Image.Image:
    """Three strips, side by side."""
    photo, near = demo_photo()
    picture = lens.render(photo, near, focus_from_point(near, 0.42, 0.19), 24)
    strips = torch.cat([photo[..., :171], near[..., 171:342].expand(-1, 3, -1, -1), picture[..., 342:]], -1)
    return Image.fromarray((255 * strips[0].permute(1, 2, 0)).round().byte().numpy())


def with_disparities(picture: Image.Image, host: Host, outputs: dict) -> Image.Image:
    """The demo photo's disparity and what the touch-ups have made of it, one below the other in a corner."""
    with Image.open(ASSETS / "demo_disparity.png") as near:
        before = near.point(lambda value: value / 257).convert("L")
    last = [output["magicbokeh_disparity"][0] for output in outputs.values() if "magicbokeh_disparity" in output][-1]
    after = Image.open(io.BytesIO(host.image(last))).getchannel("R")  # the high byte
    for i, disparity in enumerate((before, after)):
        inset = ImageOps.expand(disparity.resize((INSET, INSET), Image.Resampling.LANCZOS), 2, 255)
        picture.paste(inset, (0, SIDE - (2 - i) * inset.height))
    return picture


def frames_at_keys(file: bytes, text: str) -> Image.Image:
    """The frames of a clip at its three keys, and the keys, in four quarters."""
    with av.open(io.BytesIO(file)) as video:
        frames = [frame.to_image() for frame in video.decode(video=0)]
    canvas = Image.new("RGB", (SIDE, SIDE), "#1b1b1b")
    half = SIDE // 2
    for i, key in enumerate(read_keys(text)):
        canvas.paste(ImageOps.fit(frames[key.frame], (half, half)), (half * (i % 2), half * (i // 2)))
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(20)
    draw.text((half + 20, half + half // 2), re.sub(r", (?=\d+:)", "\n", text), fill="#eee", font=font, anchor="lm", spacing=24)
    return canvas


def results() -> dict[str, Image.Image]:
    """What the last ComfyUI saves of each of `RUN`, cut to a square."""
    with tempfile.TemporaryDirectory() as folder:
        host = Host(*HOSTS[-1], Path(folder))
        try:
            found = {}
            for name in RUN:
                outputs = host.run(prompt(name))["outputs"]
                saved = outputs.values()
                picture = next(output["images"][0] for output in saved if output.get("images", [{}])[0].get("type") == "output")
                if name == "keyed_focus":
                    keys = next(node["inputs"]["keys"] for node in prompt(name).values() if "keys" in node["inputs"])
                    found[name] = frames_at_keys(host.image(picture), keys)
                    continue
                found[name] = ImageOps.fit(Image.open(io.BytesIO(host.image(picture))), (SIDE, SIDE))
                if name == "touch_up":
                    found[name] = with_disparities(found[name], host, outputs)
            return found
        finally:
            host.process.terminate()
            host.process.wait(30)


def main():
    photo_depth_picture().save(WORKFLOWS / "lens_blur_photo.jpg", quality=88, optimize=True)
    for name in NEED:
        thumbnail(name).save(WORKFLOWS / f"{name}.jpg", quality=88, optimize=True)
    for name, picture in results().items():
        picture.save(WORKFLOWS / f"{name}.jpg", quality=88, optimize=True)


if __name__ == "__main__":
    main()
