"""The pictures of docs/recipes.md, made by the very commands that the page shows.

python -m benchmarks.recipes docs/images/recipes                  # all, a few minutes
python -m benchmarks.recipes docs/images/recipes --only street    # one, by the name of its picture

Each section of the page runs in a folder that holds what it begins with: the bundled photo, or a scene that is drawn.
"""

import argparse
import io
import os
import re
import runpy
import shlex
import shutil
import tempfile
from pathlib import Path

import OpenEXR
from PIL import Image

from benchmarks import drawn_scenes
from magicbokeh_ops import demo, files, lens
from magicbokeh_ops.cli import main as magicbokeh
from magicbokeh_ops.color import srgb_to_linear
from magicbokeh_ops.defocus import normalize, resize

PAGE = Path(__file__).parents[1] / "docs" / "recipes.md"
WIDTH, GAP = 900, 8  # pixels of a sheet, and between its pictures
LARGEST = 115_000  # bytes of a sheet
FRAMES = 4  # of the clip
# What is shown of each recipe, row by row.
SHOWN = {
    "portrait": [["demo.jpg", "portrait.jpg"]],
    "street": [["street.jpg", "street_bokeh.jpg"]],
    "product": [["product.jpg", "product_bokeh.jpg"]],
    "miniature": [["city.jpg", "miniature.jpg"]],
    "video": [["frames/1.png", "frames/4.png"], ["bokeh/1.png", "bokeh/4.png"]],
    "refocus": [["wrong_focus.jpg", "restored.png", "refocused.png"]],
    "cutout": [["demo.jpg", "mask.png", "composite.jpg"]],
    "blender": [["render.png", "render_bokeh.png"]],
    "phone": [["phone.jpg", "phone_depth.png", "phone_bokeh.jpg"]],
}

# Left, top, right and bottom of what is repeated below, enlarged, as shares of the picture.
DETAILS = {"refocus": (0.64, 0.02, 0.98, 0.36)}


def read_page() -> dict[str, list[tuple[str, str]]]:
    """Name of the picture of each section, and the section's blocks of code with their language."""
    found = {}
    for section in re.split(r"^## ", PAGE.read_text(encoding="utf-8"), flags=re.MULTILINE)[1:]:
        picture = re.search(r"\(images/recipes/(\w+)\.jpg\)", section)
        if picture:
            found[picture[1]] = re.findall(r"^```(sh|python)\n(.*?)^```$", section, re.MULTILINE | re.DOTALL)
    return found


def commands(block: str) -> list[list[str]]:
    """Arguments of each `magicbokeh` command of a shell block. Raises ValueError for any other command."""
    found = [shlex.split(line) for line in block.replace("\\\n", " ").splitlines()]
    if any(words[0] != "magicbokeh" for words in found):
        raise ValueError(f"{block!r} has a command that is not magicbokeh's.")
    return [words[1:] for words in found]


def put_inputs(name: str, width: int) -> None:
    """Write what the recipe begins with into the current folder. width: of drawn pictures."""
    for asset in ("demo.jpg", "demo_disparity.png"):
        shutil.copy(demo.ASSETS / asset, asset)
    size = width, width * 3 // 4
    drawn = {"street": "street", "product": "product", "miniature": "city"}.get(name)
    if drawn:
        photo, distance = getattr(drawn_scenes, drawn)().photograph(*size)
        files.write_photo(Path(f"{drawn}.jpg"), photo)
        files.write_map(Path(f"{drawn}_depth.png"), normalize(1 / distance, "minmax"))
    elif name == "blender":
        photo, distance = drawn_scenes.toys().photograph(*size)
        files.write_photo(Path("render.png"), photo)
        planes = {f"ViewLayer.Combined.{c}": plane.numpy() for c, plane in zip("RGB", srgb_to_linear(photo)[0])}
        OpenEXR.File({}, planes | {"ViewLayer.Depth.Z": distance[0, 0].numpy()}).write("render.exr")
    elif name == "video":
        for folder in ("frames", "depth"):
            Path(folder).mkdir()
        for i in range(FRAMES):
            photo, distance = drawn_scenes.toys(1 - 2 * i / (FRAMES - 1)).photograph(*size)
            files.write_photo(Path(f"frames/{i + 1}.png"), photo)
            files.write_map(Path(f"depth/{i + 1}.npy"), 1 / distance)
    elif name == "cutout":
        photo, distance = drawn_scenes.street().photograph(width, width)
        blurred = lens.render(photo, normalize(1 / distance), 1, width / 25, highlight_boost=3)
        files.write_photo(Path("background.jpg"), resize(blurred, demo.demo_photo()[0].shape[-2:]))
    elif name == "phone":
        Path("phone.jpg").write_bytes(demo.demo_portrait())


def cook(name: str, blocks: list[tuple[str, str]], width: int) -> None:
    """Run a recipe's blocks in the current folder."""
    put_inputs(name, width)
    for language, block in blocks:
        if language == "python":
            Path("recipe.py").write_text(block, encoding="utf-8")
            runpy.run_path("recipe.py")
        else:
            for arguments in commands(block):
                magicbokeh(arguments, standalone_mode=False)


def sheet(name: str) -> bytes:
    """The pictures of a recipe, in the current folder, as one JPEG."""
    pictures = [[_read(path) for path in row] for row in SHOWN[name]]
    if name in DETAILS:
        pictures += [[_part(picture, *DETAILS[name]) for picture in row] for row in pictures]
    wide = (WIDTH + GAP) // len(pictures[0]) - GAP
    high = wide * pictures[0][0].height // pictures[0][0].width
    canvas = Image.new("RGB", (WIDTH, (high + GAP) * len(pictures) - GAP), "white")
    for i, row in enumerate(pictures):
        for j, picture in enumerate(row):
            canvas.paste(picture.resize((wide, high), Image.Resampling.LANCZOS), (j * (wide + GAP), i * (high + GAP)))
    for quality in range(90, 40, -2):
        file = io.BytesIO()
        canvas.save(file, "JPEG", quality=quality, optimize=True)
        if file.tell() <= LARGEST:
            break
    return file.getvalue()


def _read(path: str) -> Image.Image:
    picture = Image.open(path)
    return picture.point(lambda level: level / 256).convert("RGB") if picture.mode.startswith("I") else picture.convert("RGB")


def _part(picture: Image.Image, left: float, top: float, right: float, bottom: float) -> Image.Image:
    return picture.crop((left * picture.width, top * picture.height, right * picture.width, bottom * picture.height))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="folder of the pictures")
    parser.add_argument("--only", choices=list(SHOWN), help="one recipe")
    parser.add_argument("--width", type=int, default=640, help="of drawn pictures")
    args = parser.parse_args()
    output = args.output.resolve()
    output.mkdir(parents=True, exist_ok=True)
    for name, blocks in read_page().items():
        if args.only in (None, name):
            with tempfile.TemporaryDirectory() as folder:
                os.chdir(folder)
                cook(name, blocks, args.width)
                (output / f"{name}.jpg").write_bytes(sheet(name))
                os.chdir(output)
            print(f"{name}: {(output / f'{name}.jpg').stat().st_size} bytes")


if __name__ == "__main__":
    main()
