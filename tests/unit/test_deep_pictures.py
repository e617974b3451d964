"""Photos with 16 and 32 bits per channel, and what a result takes over from its photo's file."""

import io

import imagecodecs
import numpy as np
import pytest
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms

from magicbokeh_ops import files
from tests.support import portrait_files

TINTS = np.random.default_rng(0).random((7, 11, 4))
TINTS[..., 3] = np.linspace(0, 1, 77).reshape(7, 11)
# Display P3 with sRGB's curve, from Pillow's own sRGB profile with the primaries of P3 (D50-adapted, as ICC wants them).
P3 = {b"rXYZ": (0.51512, 0.24120, -0.00105), b"gXYZ": (0.29198, 0.69225, 0.04189), b"bXYZ": (0.15710, 0.06657, 0.78407)}


def p3_profile() -> bytes:
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    for i in range(int.from_bytes(profile[128:132], "big")):
        entry = 132 + 12 * i
        name, at = bytes(profile[entry : entry + 4]), int.from_bytes(profile[entry + 4 : entry + 8], "big")
        if name in P3:
            fixed = (round(value * 65536) & 0xFFFFFFFF for value in P3[name])
            profile[at + 8 : at + 20] = b"".join(value.to_bytes(4, "big") for value in fixed)
    return bytes(profile)


def camera(orientation: int | None = None) -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "A camera"
    exif[ExifTags.Base.Copyright] = "Somebody"
    if orientation:
        exif[ExifTags.Base.Orientation] = orientation
    return exif


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("kind", ["png 16", "tif 16", "tif 32", "tif float", "tif half", "tif planes"])
def test_every_bit_is_read(tmp_path, kind, channels):
    values = TINTS[..., 0] if channels == 1 else TINTS[..., :channels]
    path = tmp_path / f"photo.{kind[:3]}"
    if "16" in kind or "planes" in kind:
        stored = (values * 65535).round().astype(np.uint16)
    elif "32" in kind:
        stored = (values * (2**32 - 1)).round().astype(np.uint32)
    else:
        stored = values.astype(np.float32 if "float" in kind else np.float16)
    if kind == "png 16":
        path.write_bytes(imagecodecs.png_encode(stored))
    else:
        options = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
        if kind == "tif planes" and channels > 1:
            stored, options = np.moveaxis(stored, -1, 0), {**options, "planarconfig": "separate"}
        tifffile.imwrite(path, stored, photometric="minisblack" if channels == 1 else "rgb", compression="lzw", **options)
    photo, alpha = files.read_photo(path)
    expected = np.repeat(values[..., None], 3, -1) if channels == 1 else values[..., :3]
    tolerance = 1e-3 if kind == "tif half" else 1e-5
    assert abs(photo[0].permute(1, 2, 0).numpy() - expected).max() < tolerance
    assert (alpha is None) == (channels != 4)
    if alpha is not None:
        assert abs(alpha[0, 0].numpy() - values[..., 3]).max() < tolerance


@pytest.mark.parametrize("name", ["result.png", "result.tif"])
@pytest.mark.parametrize("source", ["photo.png", "photo.tif"])
def test_results_of_deep_photos_have_16_bits_their_profile_and_their_exif(tmp_path, source, name):
    stored, profile = (TINTS * 65535).round().astype(np.uint16), p3_profile()
    origin = files.Origin(camera(6).tobytes(), profile, True)
    files.write_photo(tmp_path / source, *planes(stored / 65535), origin)  # by what is tested here, read by others below
    if source == "photo.tif":
        with tifffile.TiffFile(tmp_path / source) as file:
            page = file.pages[0]
            assert page.iccprofile == profile and page.tags.valueof(271) == "A camera"
            assert np.array_equal(page.asarray(), stored)
    else:
        assert np.array_equal(imagecodecs.png_decode((tmp_path / source).read_bytes()), stored)
        with Image.open(tmp_path / source) as picture:
            assert picture.info["icc_profile"] == profile and picture.getexif()[271] == "A camera"
    photo, alpha = files.read_photo(tmp_path / source)
    read = files.read_origin(tmp_path / source)
    assert read.is_deep and read.icc_profile == profile
    assert photo.shape[-2:] == (
        (11, 7) if source == "photo.png" else (7, 11)
    )  # turned as its EXIF says; a TIFF's texts have no turn
    files.write_photo(tmp_path / name, photo, alpha, read)
    again, alpha_again = files.read_photo(tmp_path / name)
    assert torch.equal(again, photo) and alpha_again is not None and torch.equal(alpha_again, alpha)
    last = files.read_origin(tmp_path / name)
    assert last.icc_profile == profile
    exif = Image.Exif()
    exif.load(last.exif)
    assert exif[271] == "A camera" and exif[ExifTags.Base.Copyright] == "Somebody" and 274 not in exif


def planes(values: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    four = torch.from_numpy(values.astype(np.float32)).permute(2, 0, 1)[None]
    return four[:, :3], four[:, 3:]


def test_a_deep_tiff_is_turned(tmp_path):
    stored = (TINTS[..., :3] * 65535).round().astype(np.uint16)
    tifffile.imwrite(tmp_path / "photo.tif", stored, photometric="rgb", extratags=[(274, "H", 1, 6, True)])
    assert (
        abs(files.read_photo(tmp_path / "photo.tif")[0][0].permute(1, 2, 0).numpy() - np.rot90(TINTS[..., :3], -1)).max() < 1e-4
    )


@pytest.mark.parametrize("name", ["photo.jpg", "photo.png", "photo.webp", "photo.tif"])
def test_results_keep_their_look_and_their_camera(tmp_path, name):
    """A photo in Display P3 becomes sRGB and says so; its EXIF goes along, without a turn that has been made."""
    pixels = portrait_files.photo((48, 32))
    options = {"quality": 100} if name in ("photo.jpg", "photo.webp") else {}
    Image.fromarray(pixels).save(tmp_path / name, icc_profile=p3_profile(), exif=camera(6), **options)
    photo, _ = files.read_photo(tmp_path / name)
    files.write_photo(tmp_path / "result.png", photo, None, files.read_origin(tmp_path / name))
    with Image.open(tmp_path / "result.png") as result:
        exif, profile, shown = result.getexif(), result.info["icc_profile"], np.asarray(result).astype(float)
    assert exif[271] == "A camera" and 274 not in exif
    assert "sRGB" in ImageCms.getProfileDescription(ImageCms.ImageCmsProfile(io.BytesIO(profile)))
    upright = Image.fromarray(np.ascontiguousarray(np.rot90(pixels, -1)))
    expected = ImageCms.profileToProfile(
        upright, ImageCms.ImageCmsProfile(io.BytesIO(p3_profile())), ImageCms.createProfile("sRGB")
    )
    assert abs(shown - np.asarray(expected).astype(float)).mean() < 3
    assert abs(shown - np.asarray(upright).astype(float)).mean() > 4  # the two looks differ


def test_grey_photos_may_have_a_profile_of_grey_or_of_colours(tmp_path):
    grey = np.arange(0, 240, 10, dtype=np.uint8).reshape(4, 6)
    Image.fromarray(grey).save(tmp_path / "grey.png", icc_profile=p3_profile())
    assert abs(files.read_photo(tmp_path / "grey.png")[0][0, 0].numpy() - grey / 255).max() < 0.02


def test_files_without_metadata_get_none(tmp_path):
    Image.fromarray(portrait_files.photo()).save(tmp_path / "photo.png")
    np.save(tmp_path / "photo.npy", np.full((4, 5, 3), 0.5, np.float32))
    for name in ("photo.png", "photo.npy"):
        assert files.read_origin(tmp_path / name) == files.Origin()


def test_other_colours_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "cmyk.tif", (TINTS * 65535).astype(np.uint16), photometric="separated")
    with pytest.raises(ValueError, match="cmyk.tif is neither RGB nor grey; convert it to RGB"):
        files.read_photo(tmp_path / "cmyk.tif")
    (tmp_path / "cut.png").write_bytes(imagecodecs.png_encode((TINTS * 65535).astype(np.uint16))[:200])
    with pytest.raises(ValueError, match="cut.png is not a picture that can be read; it may be damaged"):
        files.read_photo(tmp_path / "cut.png")


def test_says_what_is_missing(tmp_path, monkeypatch):
    (tmp_path / "photo.png").write_bytes(imagecodecs.png_encode((TINTS * 65535).astype(np.uint16)))
    monkeypatch.setitem(__import__("sys").modules, "imagecodecs", None)
    with pytest.raises(ValueError, match=r"photo.png has more than 8 bits per channel, .* pip install 'magicbokeh\[deep\]'"):
        files.read_photo(tmp_path / "photo.png")
