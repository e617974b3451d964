import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image

from magicbokeh_ops import lens
from magicbokeh_ops.camera import Camera
from magicbokeh_ops.cli import main
from magicbokeh_ops.defocus import focus_from_mask, focus_from_point

PACK = Path(__file__).parents[2]
# Arguments that commands take, whatever becomes of them.
ENOUGH = {
    "train": lambda folder: (folder / "photo.npy", "-o", folder / "run"),
    "evaluate": lambda folder: (folder, "-o", folder / "tables"),
    "synth": lambda folder: ("-o", folder / "scenes"),
}


@pytest.fixture
def scene(tmp_path):
    rng = np.random.default_rng(0)
    photo, disparity = rng.random((40, 60, 3), dtype=np.float32), np.tile(np.linspace(0.2, 0.7, 60, dtype=np.float32), (40, 1))
    np.save(tmp_path / "photo.npy", photo)
    np.save(tmp_path / "disparity.npy", disparity)
    mask = np.zeros((40, 60), dtype=np.uint8)
    mask[:, :20] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    planes = torch.from_numpy(photo).permute(2, 0, 1)[None], torch.from_numpy(disparity)[None, None]
    return tmp_path, *planes


def run(folder, *arguments, code=0):
    defaults = [str(folder / "photo.npy"), "--disparity", str(folder / "disparity.npy"), "-o", str(folder / "out.npy")]
    result = CliRunner().invoke(main, ["lens", *defaults, *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


@pytest.mark.long
def test_the_lens_needs_few_packages(scene):
    """Of what is not there, a command tells which extra brings it."""
    folder, _, _ = scene
    absent = ["safetensors", "transformers", "diffusers", "OpenEXR", "av", "kornia", "peft", "accelerate", "pydantic", "yaml"]
    code = f"import sys; sys.modules.update(dict.fromkeys({absent})); from magicbokeh_ops.cli import main; main()"

    def call(*arguments):
        return subprocess.run([sys.executable, "-c", code, *map(str, arguments)], cwd=PACK, capture_output=True, text=True)

    scene = (folder / "photo.npy", "-d", folder / "disparity.npy", "--focus", 0.4, "-o", folder / "out.npy")
    done = call("lens", *scene)
    assert done.returncode == 0, done.stderr
    listed = call("--help").stdout
    assert "through a fast lens" in listed and "magicbokeh[model]" in listed
    for command, extra in (("render", "model"), ("train", "train"), ("evaluate", "eval"), ("synth", "train")):
        done = call(command, *scene) if command == "render" else call(command, *ENOUGH[command](folder))
        assert done.returncode == 1 and f"pip install 'magicbokeh[{extra}]'" in done.stderr, done.stderr
    (folder / "map.exr").touch()
    done = call("lens", scene[0], "-d", folder / "map.exr", *scene[3:])
    assert done.returncode == 1 and "pip install 'magicbokeh[exr]'" in done.stderr


def test_npy_output_is_what_the_library_gives(scene):
    folder, photo, disparity = scene
    run(folder, "--focus", 0.4, "--k", 6, "--normalize", "none")
    out = np.load(folder / "out.npy")
    assert out.shape == (40, 60, 3) and out.dtype == np.float32
    assert np.array_equal(out, lens.render(photo, disparity, 0.4, 6)[0].permute(1, 2, 0).numpy())


def test_focus_by_point_and_mask(scene):
    folder, photo, disparity = scene
    stretched = (disparity - 0.2) / 0.5
    mask = torch.zeros(1, 1, 40, 60)
    mask[..., :20] = 1
    for options, focus in (
        (("--focus-point", "0.9,0.5"), focus_from_point(stretched, 0.9, 0.5)),
        (("--focus-mask", folder / "mask.png"), focus_from_mask(stretched, mask)),
    ):
        result = run(folder, *options, "--normalize", "minmax")
        assert f"focus {focus:.4f}" in result.output


@pytest.mark.slow
def test_every_option_reaches_the_lens(scene):
    folder = scene[0]
    run(folder, "--focus", 0.1, "--k", 12)
    plain = np.load(folder / "out.npy")
    for option in (
        ("--blades", 5),
        ("--squeeze", 2),
        ("--cat-eye", 1),
        ("--highlight-boost", 2),
        ("--near-scale", 0.5),
        ("--blades", 5, "--rotation", 30),
        ("--blades", 3, "--roundness", 0.5),
    ):
        run(folder, "--focus", 0.1, "--k", 12, *option)
        assert np.abs(np.load(folder / "out.npy") - plain).max() > 1e-3, option
    run(folder, "--focus", 1, "--k", 12, "--far-scale", 0)
    assert np.abs(np.load(folder / "out.npy") - np.load(folder / "photo.npy")).max() < 1e-3


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ((), 2, "Say where the focus lies"),
        (("--focus", 0.5, "--focus-point", "0.5,0.5"), 2, "Say where the focus lies"),
        (("--focus-point", "middle"), 2, "two numbers"),
        (("--focus", 0.5, "--device", "toaster"), 2, "toaster"),
        (("--focus-point", "2,0.5"), 1, "focus point"),
        (("--focus", 0.5, "--blades", 1), 1, "blades is 1"),
        (("--focus", 0.5, "-o", "out.xyz"), 1, "no known picture format"),
        (("--focus", 0.5, "-o", "nowhere/out.png"), 1, "no folder nowhere"),
        (("--focus", 0.5, "-o", "out.psd"), 1, "no known picture format"),
        (("--focus", 0.5, "--squeeze", "nan"), 1, "squeeze is nan"),
        (("--focus", 0.5, "--convention", "distance", "--normalize", "none"), 1, "choose another normalize than none"),
    ],
)
def test_errors_are_one_line(scene, arguments, code, message):
    result = run(scene[0], *arguments, code=code)
    last = result.output.strip().splitlines()[-1]
    assert last.startswith("Error: ") and message in last


def test_unknown_disparity_is_filled(scene):
    folder, _, disparity = scene
    run(folder, "--focus", 0.4, "--k", 6, "--normalize", "none")
    whole = np.load(folder / "out.npy")
    holes = disparity[0, 0].numpy().copy()
    holes[5:9, 5:9], holes[20, 30] = np.inf, np.nan
    header = b"Pf\n60 40\n-1\n"
    (folder / "holes.pfm").write_bytes(header + holes[::-1].astype("<f4").tobytes())
    run(folder, "--focus", 0.4, "--k", 6, "--normalize", "none", "-d", folder / "holes.pfm")
    assert np.abs(np.load(folder / "out.npy") - whole).max() < 0.05
    np.save(folder / "disparity.npy", np.full((40, 60), np.nan, dtype=np.float32))
    assert "without a single finite value" in run(folder, "--focus", 0.4, code=1).output


def test_maps_of_another_shape_are_refused(scene):
    folder, _, disparity = scene
    Image.fromarray(np.eye(40, dtype=bool)).save(folder / "square.png")
    message = run(folder, "--focus-mask", folder / "square.png", code=1).output
    assert "focus_mask is 40 x 40 pixels and the disparity 60 x 40" in message
    np.save(folder / "disparity.npy", disparity[0, 0, :, :50].numpy())
    message = run(folder, "--focus", 0.4, code=1).output
    assert "disparity is 50 x 40 pixels and the photo 60 x 40" in message
    asked = ["render", str(folder / "photo.npy"), "-d", str(folder / "disparity.npy"), "--focus", "0.4", "--model", "nano"]
    result = CliRunner().invoke(main, [*asked, "-o", str(folder / "out.npy")])
    assert result.exit_code == 1 and "disparity is 50 x 40 pixels and the photo 60 x 40" in result.output


def test_constant_disparity_is_an_error_only_where_it_must_be_stretched(scene):
    folder = scene[0]
    np.save(folder / "disparity.npy", np.full((40, 60), 0.5, dtype=np.float32))
    assert "constant" in run(folder, "--focus", 0.5, code=1).output
    run(folder, "--focus", 0.5, "--normalize", "none")
    assert np.abs(np.load(folder / "out.npy") - np.load(folder / "photo.npy")).max() < 1 / 255


@pytest.mark.slow
def test_demo(tmp_path):
    result = CliRunner().invoke(main, ["demo", "-o", str(tmp_path / "demo")])
    assert result.exit_code == 0, result.output
    assert str(tmp_path / "demo" / "sheet.jpg") in result.output
    pictures = {path.name: Image.open(path).size for path in (tmp_path / "demo").iterdir()}
    assert pictures.pop("sheet.jpg") == (3 * 520, 4 * 520)
    assert len(pictures) == 12 and set(pictures.values()) == {(512, 512)}


@pytest.fixture
def distances(scene):
    """In place of the disparity: from 1 to 10 m across, and a sky."""
    folder, photo, _ = scene
    metres = np.tile(np.linspace(1, 10, 60, dtype=np.float32), (40, 1))
    metres[:2] = np.inf
    np.save(folder / "disparity.npy", metres)
    return folder, photo, torch.from_numpy(1 / metres)[None, None]


CAMERA = ("--convention", "distance", "--focal-length", 85, "--f-number", 1.4, "--focus-distance", 2.5)


def test_a_camera_sets_focus_and_k(distances):
    folder, photo, dioptres = distances
    told = run(folder, *CAMERA, "--normalize", "minmax").output
    camera = Camera(85, 1.4, 2.5)
    focus, k = camera.focus_and_k(0, 1, (40, 60))
    expected = lens.render(photo, dioptres, focus, k)[0].permute(1, 2, 0).numpy()
    assert np.abs(np.load(folder / "out.npy") - expected).max() < 1e-4
    assert camera.describe(0, 1, (40, 60)) in told and f"focus {focus:.4f}, K {k:g}" in told and "Note" not in told
    for sensor in ("23.6x15.7", "APS-C", "aps-c"):
        smaller = Camera(85, 1.4, 2.5, (23.6, 15.7))
        assert smaller.describe(0, 1, (40, 60)) in run(folder, *CAMERA, "--normalize", "minmax", "--sensor", sensor).output
    assert "focus at infinity" in run(folder, *CAMERA, "--focus-distance", 0).output
    np.save(folder / "disparity.npy", 1000 * np.load(folder / "disparity.npy"))
    assert "Is depth in metres?" in run(folder, *CAMERA).output


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (CAMERA[:-2], 2, "--focus-distance together"),
        (("--sensor", "APS-C"), 2, "--focal-length, --f-number and"),
        ((*CAMERA, "--k", 24), 2, "Leave out --k"),
        ((*CAMERA, "--focus", 0.5), 2, "Leave out --focus"),
        ((*CAMERA, "--focus-point", "0.5,0.5"), 2, "Leave out --focus-point"),
        ((*CAMERA, "--convention", "disparity"), 2, "--convention distance"),
        ((*CAMERA, "--sensor", "large"), 2, "'large' is not WIDTHxHEIGHT in mm"),
        ((*CAMERA, "--sensor", "1.2.3x4"), 2, "'1.2.3x4' is not WIDTHxHEIGHT in mm"),
        ((*CAMERA, "--sensor", "0x24"), 1, "sensor is 0 x 24 mm"),
        ((*CAMERA, "--focal-length", "nan"), 1, "focal_length is nan"),
        ((*CAMERA, "--f-number", 0), 1, "f_number is 0"),
        ((*CAMERA, "--focus-distance", 0.08), 1, "focus_distance is 0.08 m"),
    ],
)
def test_what_is_no_camera_is_said_in_one_line(distances, arguments, code, message):
    last = run(distances[0], *arguments, code=code).output.strip().splitlines()[-1]
    assert last.startswith("Error: ") and message in last


def test_a_camera_needs_a_map_of_distances(distances):
    folder, _, _ = distances
    result = CliRunner().invoke(main, ["lens", str(folder / "photo.npy"), "-o", str(folder / "out.npy"), *map(str, CAMERA)])
    assert result.exit_code == 2 and "--disparity and --convention distance" in result.output


def test_lens_takes_a_matte_and_a_clean_plate(tmp_path):
    height, width = 64, 96
    inside = np.zeros((height, width), np.float32)
    inside[16:48, 32:64] = 1
    photo = (np.stack([40 + 160 * inside] * 3, -1)).astype(np.uint8)
    Image.fromarray(np.dstack([photo, (255 * inside).astype(np.uint8)])).save(tmp_path / "photo.png")
    Image.fromarray((255 * inside).astype(np.uint8)).save(tmp_path / "matte.png")
    Image.fromarray(np.full((height, width, 3), 250, np.uint8)).save(tmp_path / "plate.png")
    Image.fromarray(photo).save(tmp_path / "opaque.png")
    np.save(tmp_path / "d.npy", 0.1 + 0.8 * inside)
    options = ("-d", tmp_path / "d.npy", "--focus", 0.1, "--k", 10)
    out = {}
    for name, given in {
        "plain": ("opaque.png",),
        "matte": ("opaque.png", "--matte", tmp_path / "matte.png"),
        "own": ("photo.png", "--matte", tmp_path / "photo.png"),
        "plate": ("opaque.png", "--matte", tmp_path / "matte.png", "--background", tmp_path / "plate.png"),
    }.items():
        arguments = ["lens", tmp_path / given[0], *given[1:], *options, "-o", tmp_path / "out.png"]
        CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)
        with Image.open(tmp_path / "out.png") as picture:
            out[name] = np.asarray(picture.convert("RGB")).astype(int)
            assert picture.mode == "RGB"
    assert (out["own"] == out["matte"]).all() and abs(out["matte"] - out["plain"]).max() < 20
    assert (out["plate"] - out["matte"]).max() > 20  # a brighter wall where the blur uncovers it
