"""EXR photos: linear light in and out."""

import click
import numpy as np
import OpenEXR
import pytest
import torch
from PIL import Image

from magicbokeh_ops import files
from magicbokeh_ops.cli import main
from magicbokeh_ops.color import linear_to_srgb

HEADER = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}


def run(*arguments) -> None:
    main([str(argument) for argument in arguments], standalone_mode=False)


def light(channels: int = 3) -> np.ndarray:
    """(channels, 20, 30) with lamps, and with colours out of the colour space."""
    values = np.random.default_rng(0).random((channels, 20, 30), dtype=np.float32)
    values[:3, 5, 5], values[0, 6, 6] = 500, -0.01
    return values


def write(path, planes: np.ndarray, layer: str = "", kind=np.float32) -> None:
    with OpenEXR.File(HEADER, {layer + name: plane.astype(kind) for name, plane in zip("RGBA", planes)}) as file:
        file.write(str(path))


@pytest.mark.parametrize("layer", ["", "ViewLayer.Combined."])
def test_light_is_read_as_it_is(tmp_path, layer):
    write(tmp_path / "a.exr", light(), layer)
    planes, alpha = files.read_photo(tmp_path / "a.exr", "linear")
    assert np.array_equal(planes[0].numpy(), light()) and alpha is None
    coded, _ = files.read_photo(tmp_path / "a.exr")
    assert torch.equal(coded, linear_to_srgb(planes))


def test_alpha_is_taken_out_of_the_colours_and_put_back(tmp_path):
    premultiplied = light(4)
    premultiplied[3, :5] = 0
    premultiplied[:3] *= premultiplied[3]
    write(tmp_path / "a.exr", premultiplied)
    planes, alpha = files.read_photo(tmp_path / "a.exr", "linear")
    assert np.array_equal(alpha[0, 0].numpy(), premultiplied[3])
    files.write_photo(tmp_path / "b.exr", planes, alpha, space="linear")
    with OpenEXR.File(str(tmp_path / "b.exr"), separate_channels=True) as file:
        written = [file.channels()[name].pixels for name in "RGBA"]
    assert np.allclose(written, premultiplied, atol=1e-5)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_the_lens_keeps_light_above_white(tmp_path, kind):
    write(tmp_path / "a.exr", light(), kind=kind)
    np.save(tmp_path / "d.npy", np.linspace(0, 1, 30, dtype=np.float32)[None].repeat(20, 0))
    options = ("lens", tmp_path / "a.exr", "-d", tmp_path / "d.npy", "--focus", 0.5)
    run(*options, "--k", 0, "-o", tmp_path / "out.exr")
    out, _ = files.read_photo(tmp_path / "out.exr", "linear")
    given, _ = files.read_photo(tmp_path / "a.exr", "linear")
    assert torch.allclose(out, given, rtol=1e-3, atol=1e-5)
    run(*options, "--k", 20, "-o", tmp_path / "blurred.exr")
    run(*options, "--k", 20, "-o", tmp_path / "blurred.png")
    blurred, _ = files.read_photo(tmp_path / "blurred.exr")
    assert blurred.max() > 1.5
    shown, _ = files.read_photo(tmp_path / "blurred.png")
    assert (shown - blurred.clamp(max=1)).abs().max() <= 0.51 / 65535


@pytest.mark.parametrize("name", ["a.exr", "a.npy"])
def test_what_brings_no_depth_is_told_to(tmp_path, name):
    """Not that it is no picture, as of a portrait photo that is damaged."""
    write(tmp_path / "a.exr", light())
    np.save(tmp_path / "a.npy", light().transpose(1, 2, 0))
    with pytest.raises(click.UsageError, match="brings no depth map; give one with --disparity"):
        run("lens", tmp_path / name, "-o", tmp_path / "out.png")


def test_a_photo_may_become_an_exr(tmp_path):
    Image.fromarray((255 * light().clip(0, 1)).astype(np.uint8).transpose(1, 2, 0)).save(tmp_path / "a.png")
    photo, _ = files.read_photo(tmp_path / "a.png")
    files.write_photo(tmp_path / "a.exr", photo)
    assert torch.allclose(files.read_photo(tmp_path / "a.exr")[0], photo, atol=1e-6)


def test_what_is_wrong_is_said(tmp_path):
    write(tmp_path / "depth.exr", light()[:1])
    with pytest.raises(ValueError, match="has channels R; a photo has R, G and B"):
        files.read_photo(tmp_path / "depth.exr")
    spoiled = light()
    spoiled[1, 2, 3] = np.nan
    write(tmp_path / "nan.exr", spoiled)
    with pytest.raises(ValueError, match="NaN or infinite"):
        files.read_photo(tmp_path / "nan.exr")
    (tmp_path / "cut.exr").write_bytes((tmp_path / "nan.exr").read_bytes()[:300])
    with pytest.raises(ValueError, match="may be damaged"):
        files.read_photo(tmp_path / "cut.exr")
