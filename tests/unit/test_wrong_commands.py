"""Mistakes as users make them on the command line: each gets a sentence or two that name the option or file as it was given."""

import re

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from magicbokeh_ops.cli import main
from tests.support.model_files import UNET
from tests.support.wrong_files import PAGE, check_words

# Command, name at fault, and arguments; files by their names in the fixture's folder.
SHOT = ("photo.png", "-d", "map.png", "-o", "out.png")
FOCUS = ("--focus", "0.5")
CAMERA = ("--convention", "distance", "--focal-length", "50", "--f-number", "2", "--focus-distance", "1")
COMMANDS = {
    "no focus": ("lens", "--focus", SHOT),
    "focus point beside the photo": ("lens", "--focus-point", (*SHOT, "--focus-point", "2,0.5")),
    "focus point of one number": ("lens", "--focus-point", (*SHOT, "--focus-point", "2")),
    "empty focus mask": ("lens", "--focus-mask", (*SHOT, "--focus-mask", "black.png")),
    "focus mask with unknown pixels": ("lens", "--focus-mask", (*SHOT, "--focus-mask", "unknown.pfm")),
    "focus mask of another shape": ("lens", "--focus-mask", (*SHOT, "--focus-mask", "square.png")),
    "map of another shape": ("lens", "square.png", ("photo.png", "-d", "square.png", *FOCUS, "-o", "out.png")),
    "constant map": ("lens", "black.png", ("photo.png", "-d", "black.png", *FOCUS, "-o", "out.png")),
    "map that is unknown": ("lens", "nothing.pfm", ("photo.png", "-d", "nothing.pfm", *FOCUS, "-o", "out.png")),
    "coloured map": ("lens", "photo.png", ("photo.png", "-d", "photo.png", *FOCUS, "-o", "out.png")),
    "millimetres": ("lens", "millimetres.npy", ("photo.png", "-d", "millimetres.npy", *FOCUS, "-o", "out.png")),
    "several arrays": ("lens", "two.npz", ("photo.png", "-d", "two.npz", *FOCUS, "-o", "out.png")),
    "page as a map": ("lens", "page.png", ("photo.png", "-d", "page.png", *FOCUS, "-o", "out.png")),
    "page as a photo": ("lens", "page.png", ("page.png", "-d", "map.png", *FOCUS, "-o", "out.png")),
    "no such photo": ("lens", "none.png", ("none.png", "-d", "map.png", *FOCUS, "-o", "out.png")),
    "no such format": ("lens", "out.psd", ("photo.png", "-d", "map.png", *FOCUS, "-o", "out.psd")),
    "no such folder": ("lens", "nowhere/out.png", ("photo.png", "-d", "map.png", *FOCUS, "-o", "nowhere/out.png")),
    "no such device": ("lens", "--device", (*SHOT, *FOCUS, "--device", "toaster")),
    "distances not stretched": ("lens", "--normalize", (*SHOT, *FOCUS, "--convention", "distance", "--normalize", "none")),
    "distances as a picture": ("lens", "--convention", ("photo.png", "-d", "metres.npy", "--convention", "depth", *FOCUS, "-o", "out.png")),
    "one blade": ("lens", "--blades", (*SHOT, *FOCUS, "--blades", "1")),
    "cat eye of 2": ("lens", "--cat-eye", (*SHOT, *FOCUS, "--cat-eye", "2")),
    "boost of 99": ("lens", "--highlight-boost", (*SHOT, *FOCUS, "--highlight-boost", "99")),
    "part of a camera": ("lens", "--f-number", (*SHOT, "--convention", "distance", "--focal-length", "50")),
    "camera and k": ("lens", "--k", (*SHOT, *CAMERA, "--k", "8")),
    "camera without distances": ("lens", "--convention", (*SHOT, *CAMERA[2:])),
    "focus within the focal length of a camera": ("lens", "--focus-distance", (*SHOT, *CAMERA, "--focus-distance", "0.04")),
    "no such sensor of a camera": ("lens", "--sensor", (*SHOT, *CAMERA, "--sensor", "large")),
    "no model": ("render", "--model", (*SHOT, *FOCUS)),
    "no map and no depth model": ("render", "--depth-model", ("photo.png", "--model", "nano", *FOCUS, "-o", "out.png")),
    "seed of nano": ("render", "--seed", (*SHOT, *FOCUS, "--model", "nano", "--seed", "3")),
    "adapter as merged file": ("render", "lora.pkl", (*SHOT, *FOCUS, "--model", "lora.pkl")),
    "pointer as merged file": ("render", "pointer.pkl", (*SHOT, *FOCUS, "--model", "pointer.pkl")),
    "Stable Diffusion as merged file": ("render", "sd.safetensors", (*SHOT, *FOCUS, "--model", "sd.safetensors")),
    "U-Net as adapter": ("convert", UNET.name, ("--base", "sd.safetensors", "--adapter", UNET.name, "-o", "x.safetensors")),
    "merged file as adapter": ("convert", "merged.safetensors", ("--base", "sd.safetensors", "--adapter", "merged.safetensors", "-o", "x.safetensors")),
    "inpainting base": ("convert", "inpainting.safetensors", ("--base", "inpainting.safetensors", "--adapter", "lora.pkl", "-o", "x.safetensors")),
    "folder with a pointer in it": ("convert", f"pointer/unet/{UNET.name}", ("--base", "pointer", "--adapter", "lora.pkl", "-o", "x.safetensors")),
    "folder of other weights": ("convert", "flax/unet", ("--base", "flax", "--adapter", "lora.pkl", "-o", "x.safetensors")),
    "page as a depth model": ("depth", "page.pth", ("photo.png", "--model", "page.pth", "-o", "out.npy")),
    "Stable Diffusion as a depth model": ("depth", "sd.safetensors", ("photo.png", "--model", "sd.safetensors", "-o", "out.npy")),
    "folder that is no depth model": ("depth", "flax", ("photo.png", "--model", "flax", "-o", "out.npy")),
    "what inspect does not know": ("inspect", "DAdepth.pkl", ("DAdepth.pkl",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(wrong_files):
    """Photos and maps beside the model files."""

    def put_pfm(name, values):
        (wrong_files / name).write_bytes(b"Pf\n90 70\n-1\n" + values[::-1].astype("<f4").tobytes())

    across = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))
    Image.fromarray(np.dstack([across, across.T.repeat(2, 0)[:70, :70].repeat(2, 1)[:, :90], 255 - across])).save(
        wrong_files / "photo.png"
    )
    Image.fromarray(across).save(wrong_files / "map.png")
    Image.fromarray(across[:, :70]).save(wrong_files / "square.png")
    Image.fromarray(0 * across).save(wrong_files / "black.png")
    holes = across / np.float32(255)
    holes[3:5, 3:5] = np.nan
    put_pfm("unknown.pfm", holes)
    put_pfm("nothing.pfm", np.full_like(holes, np.nan))
    np.save(wrong_files / "millimetres.npy", 500 + across.astype(np.uint16))
    np.save(wrong_files / "metres.npy", 1 + across.astype(np.float32))
    np.savez(wrong_files / "two.npz", depth=holes, mask=holes)
    (wrong_files / "page.png").write_bytes(PAGE)
    return wrong_files


@pytest.mark.parametrize("case", COMMANDS)
def test_commands(case, scene, monkeypatch):
    command, name, arguments = COMMANDS[case]
    monkeypatch.chdir(scene)
    result = CliRunner().invoke(main, [command, *arguments])
    told = result.output.strip().splitlines()[-1].removeprefix("Error: ")
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    if name.startswith("--"):  # a message may call it as the library does
        told = re.sub(rf"(--)?\b{name[2:].replace('-', '[ _-]')}\b", name, told)
    check_words(told, name)
    assert not re.search(r"\b(connect|node|widget)", told), f"of ComfyUI: {told}"
    assert not list(scene.glob("out.*")) and not (scene / "x.safetensors").exists()
