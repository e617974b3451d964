import os

import numpy as np
import OpenEXR
import pytest
import torch
from PIL import Image, ImageCms

from magicbokeh_ops import files


@pytest.fixture
def pixels():
    return np.random.default_rng(0).integers(0, 256, (6, 9, 3), dtype=np.uint8)


@pytest.fixture
def values():
    return np.random.default_rng(1).random((6, 9), dtype=np.float32)


def test_photo_round_trip(tmp_path, pixels):
    Image.fromarray(pixels).save(tmp_path / "in.png")
    photo, alpha = files.read_photo(tmp_path / "in.png")
    assert photo.shape == (1, 3, 6, 9) and alpha is None
    files.write_photo(tmp_path / "out.png", photo)
    assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), pixels)


def test_alpha_is_kept(tmp_path, pixels):
    rgba = np.dstack([pixels, np.arange(54, dtype=np.uint8).reshape(6, 9)])
    Image.fromarray(rgba).save(tmp_path / "in.png")
    photo, alpha = files.read_photo(tmp_path / "in.png")
    files.write_photo(tmp_path / "out.png", photo, alpha)
    assert np.array_equal(np.array(Image.open(tmp_path / "out.png")), rgba)
    files.write_photo(tmp_path / "out.jpg", photo, alpha)
    assert Image.open(tmp_path / "out.jpg").mode == "RGB"


def test_npy_is_exact(tmp_path):
    photo = torch.rand(1, 3, 4, 5)
    files.write_photo(tmp_path / "a.npy", photo)
    stored = np.load(tmp_path / "a.npy")
    assert stored.shape == (4, 5, 3) and stored.dtype == np.float32
    assert torch.equal(files.read_photo(tmp_path / "a.npy")[0], photo)


def test_exif_orientation_is_applied(tmp_path, pixels):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    assert files.read_photo(tmp_path / "turned.png")[0].shape == (1, 3, 9, 6)
    Image.fromarray(pixels[..., 0]).save(tmp_path / "map.png", exif=exif)
    assert files.read_map(tmp_path / "map.png").shape == (1, 1, 9, 6)


def test_maps_of_every_depth(tmp_path, values):
    Image.fromarray((values * 255).round().astype(np.uint8)).save(tmp_path / "8.png")
    Image.fromarray((values * 65535).round().astype(np.uint16)).save(tmp_path / "16.png")
    Image.fromarray((values * 65535).round().astype(np.uint16)).save(tmp_path / "16.tif")
    Image.fromarray(values).save(tmp_path / "float.tif")
    Image.fromarray((values * 255).round().astype(np.uint8)).convert("RGB").save(tmp_path / "rgb.png")
    np.save(tmp_path / "float.npy", values.astype(np.float64))
    for name, error in (
        ("8.png", 1 / 500),
        ("rgb.png", 1 / 500),
        ("16.png", 1 / 130000),
        ("16.tif", 1 / 130000),
        ("float.tif", 0),
        ("float.npy", 0),
    ):
        found = files.read_map(tmp_path / name)
        assert found.shape == (1, 1, 6, 9) and found.dtype == torch.float32, name
        assert np.abs(found[0, 0].numpy() - values).max() <= error, name


@pytest.mark.parametrize("channel", ["Y", "Z", "RGB"])
def test_exr_maps(tmp_path, values, channel):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {name: values * 10 for name in ([channel] if channel != "RGB" else "RGB")}) as file:
        file.write(str(tmp_path / "map.exr"))
    assert np.allclose(files.read_map(tmp_path / "map.exr")[0, 0], values * 10)


@pytest.mark.parametrize(("order", "scale"), [("<", "-1.0"), (">", "1"), ("<", "-0.003922")])
def test_pfm_maps(tmp_path, values, order, scale):
    """Rows from the bottom up, bytes in either order; the scale tells viewers how bright to be, and depth tools leave it at that."""
    values = 300 * values
    values[1, 2] = np.inf
    header = f"Pf\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode()
    (tmp_path / "map.pfm").write_bytes(header + values[::-1].astype(f"{order}f4").tobytes())
    assert np.array_equal(files.read_map(tmp_path / "map.pfm")[0, 0], values)
    (tmp_path / "cut.pfm").write_bytes((tmp_path / "map.pfm").read_bytes()[:60])
    with pytest.raises(ValueError, match="damaged"):
        files.read_map(tmp_path / "cut.pfm")


def test_unknown_pixels_have_no_colour(tmp_path, values):
    values[2, 3:6] = np.nan, np.inf, -np.inf
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with OpenEXR.File(header, {name: values for name in "RGB"}) as file:
        file.write(str(tmp_path / "map.exr"))
    assert np.array_equal(np.isfinite(files.read_map(tmp_path / "map.exr")[0, 0].numpy()), np.isfinite(values))


def test_float_photos_have_their_white_at_1(tmp_path, pixels):
    np.save(tmp_path / "bytes.npy", pixels.astype(np.float32))
    with pytest.raises(ValueError, match=r"bytes.npy goes from .* divide it"):
        files.read_photo(tmp_path / "bytes.npy")
    np.save(tmp_path / "nothing.npy", np.zeros((0, 4, 3), dtype=np.float32))
    with pytest.raises(ValueError, match="nothing.npy is empty"):
        files.read_photo(tmp_path / "nothing.npy")


def test_what_is_no_picture_is_refused(tmp_path, pixels, values):
    (tmp_path / "text.png").write_text("no picture", encoding="utf-8")
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    Image.fromarray(values).save(tmp_path / "float.tif")
    np.save(tmp_path / "flat.npy", values)
    np.save(tmp_path / "ints.npy", pixels)
    (tmp_path / "half.exr").write_bytes(b"v/1\x01 and no more")
    (tmp_path / "half.npy").write_bytes((tmp_path / "flat.npy").read_bytes()[:90])
    (tmp_path / "empty.npy").touch()
    (tmp_path / "half.png").write_bytes((tmp_path / "photo.png").read_bytes()[:100])
    for read, name, message in (
        (files.read_photo, "text.png", "not a picture"),
        (files.read_map, "text.png", "not a picture"),
        (files.read_map, "photo.png", "coloured"),
        (files.read_photo, "float.tif", "8-bit"),
        (files.read_photo, "flat.npy", "shape"),
        (files.read_map, "ints.npy", "uint8"),
        (files.read_map, "half.exr", "damaged"),
        (files.read_map, "half.npy", "damaged"),
        (files.read_map, "empty.npy", "damaged"),
        (files.read_photo, "half.png", "half.png"),
    ):
        with pytest.raises(ValueError, match=message):
            read(tmp_path / name)


def test_nothing_half_written_is_left(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="no known picture format"):
        files.write_photo(tmp_path / "a.xyz", torch.rand(1, 3, 4, 4))

    def full_disk(*_args, **_options):
        raise OSError("no space left")

    monkeypatch.setattr(Image.Image, "save", full_disk)
    with pytest.raises(OSError, match="no space"):
        files.write_photo(tmp_path / "a.png", torch.rand(1, 3, 4, 4))
    assert os.listdir(tmp_path) == []


def test_1_bit_masks(tmp_path):
    Image.fromarray(np.eye(8, dtype=bool)).save(tmp_path / "mask.png")
    assert np.array_equal(files.read_map(tmp_path / "mask.png")[0, 0], np.eye(8))


def test_colour_profile_is_applied(tmp_path, pixels):
    """The sRGB profile changes nothing; one whose red and green primaries are exchanged exchanges the channels."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    exchanged = srgb.replace(b"rXYZ", b"????", 1).replace(b"gXYZ", b"rXYZ", 1).replace(b"????", b"gXYZ", 1)
    for name, profile in (("srgb", srgb), ("exchanged", exchanged), ("bad", b"no profile")):
        Image.fromarray(pixels).save(tmp_path / f"{name}.png", icc_profile=profile)
    plain = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
    assert (files.read_photo(tmp_path / "srgb.png")[0] - plain).abs().max() <= 2 / 255
    assert (files.read_photo(tmp_path / "exchanged.png")[0] - plain[:, [1, 0, 2]]).abs().max() <= 2 / 255
    with pytest.raises(ValueError, match="colour profile"):
        files.read_photo(tmp_path / "bad.png")
