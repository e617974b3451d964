import os
import struct
import zlib

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
    files.write_photo(tmp_path / "out.npy", photo, alpha)
    assert torch.equal(files.read_photo(tmp_path / "out.npy")[0], photo)
    for name in ("out.jpg", "out.bmp"):
        files.write_photo(tmp_path / name, photo, alpha)
        seen, no_alpha = files.read_photo(tmp_path / name)
        assert no_alpha is None and (seen - photo * alpha).abs().max() < 0.1  # fades to black


def test_large_photos_are_no_attack(tmp_path, monkeypatch):
    Image.fromarray(np.zeros((40, 50), np.uint8)).save(tmp_path / "large.png")
    assert Image.MAX_IMAGE_PIXELS > 200e6
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 900)
    with pytest.raises(ValueError, match="large.png is not a picture"):
        files.read_map(tmp_path / "large.png")


def test_16_bits_of_several_channels_are_all_read(tmp_path, values):
    """Pillow would give 8 of them, and a map terraces in the blur."""
    rows = np.repeat((values * 65535).round().astype(">u2")[..., None], 3, 2)
    raw = b"".join(b"\0" + row.tobytes() for row in rows)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", rows.shape[1], rows.shape[0], 16, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(raw)) + chunk(b"IEND", b"")
    (tmp_path / "rgb16.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    assert abs(files.read_map(tmp_path / "rgb16.png")[0, 0].numpy() - values).max() < 1e-5
    assert abs(files.read_photo(tmp_path / "rgb16.png")[0].numpy() - values).max() < 1e-5


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp", "a.webp", "a.ppm", "a.pfm", "a.npy", "a.exr"])
@pytest.mark.filterwarnings("ignore")  # which decoders give before they give up
def test_damaged_files_are_named(tmp_path, pixels, values, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, values)
    elif name == "a.exr":
        OpenEXR.File({"type": OpenEXR.scanlineimage}, {"Y": values}).write(str(path))
    elif name == "a.pfm":
        path.write_bytes(b"Pf\n9 6\n-1.0\n" + values.tobytes())
    else:
        Image.fromarray(pixels).save(path)
    whole, generator = path.read_bytes(), np.random.default_rng(0)
    for _ in range(150):
        damaged = bytearray(whole)
        for place in generator.integers(0, min(len(damaged), 200), generator.integers(1, 6)):
            damaged[place] = generator.integers(0, 256)
        path.write_bytes(damaged[: generator.integers(1, len(damaged) + 1)])
        for read in (files.read_map, files.read_photo):
            try:
                read(path)
            except ValueError as error:
                assert name in str(error) and "\n" not in str(error)


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


@pytest.mark.parametrize(
    ("names", "layer", "wanted"),
    [
        (["Depth.V"], None, "Depth.V"),
        (["ViewLayer.Combined.R", "ViewLayer.Combined.G", "ViewLayer.Depth.Z", "ViewLayer.Mist.Z"], None, "ViewLayer.Depth.Z"),
        (["R", "G", "B", "depth.Z"], None, "depth.Z"),
        (["R", "G", "B", "Z", "depth.Z"], None, "Z"),
        (["A.Depth.Z", "B.Depth.Z"], "B.Depth", "B.Depth.Z"),
        (["A.Depth.Z", "A.Mist.Z"], "A.Mist.Z", "A.Mist.Z"),
        (["fog.V"], "fog", "fog.V"),
    ],
)
def test_layers_of_an_exr(tmp_path, values, names, layer, wanted):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: values + i for i, name in enumerate(names)}).write(str(tmp_path / "map.exr"))
    found = files.read_map(tmp_path / "map.exr", layer)
    assert np.allclose(found[0, 0], values + names.index(wanted), atol=1e-6)


@pytest.mark.parametrize(
    ("names", "layer", "message"),
    [
        (["A.Depth.Z", "B.Depth.Z"], None, r"map.exr has several maps: A.Depth.Z, B.Depth.Z; choose one by --layer"),
        (["A.Depth.Z", "A.Depth.V"], "A.Depth", "several maps"),
        (["fog.V"], None, "map.exr has channels fog.V; a map needs Y or Z, a layer called Depth"),
        (["R", "G", "B"], "Depth", "map.exr has channels B, G, R; none of them is Depth"),
    ],
)
def test_layers_that_an_exr_lacks(tmp_path, values, names, layer, message):
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    OpenEXR.File(header, {name: values for name in names}).write(str(tmp_path / "map.exr"))
    with pytest.raises(ValueError, match=message):
        files.read_map(tmp_path / "map.exr", layer)


def test_arrays_with_names(tmp_path, values):
    np.savez_compressed(tmp_path / "map.npz", depth=values)
    assert np.array_equal(files.read_map(tmp_path / "map.npz")[0, 0], values)
    np.savez(tmp_path / "photo.npz", np.dstack([values] * 3))
    assert files.read_photo(tmp_path / "photo.npz")[0].shape == (1, 3, *values.shape)
    np.savez(tmp_path / "two.npz", depth=values, other=values)
    (tmp_path / "half.npz").write_bytes((tmp_path / "map.npz").read_bytes()[:60])
    np.savez(tmp_path / "objects.npz", np.array([{}], dtype=object))
    for name, message in (("two", "holds 2 arrays .depth, other"), ("half", "no .npz array"), ("objects", "no .npz array")):
        with pytest.raises(ValueError, match=rf"{name}.npz {message}|{name}.npz is {message}"):
            files.read_map(tmp_path / f"{name}.npz")


def test_integers_of_any_unit(tmp_path):
    """Millimetres: only distances may have a unit."""
    millimetres = np.arange(1000, 1054, dtype=np.uint16).reshape(6, 9, 1)
    np.save(tmp_path / "mm.npy", millimetres)
    assert np.array_equal(files.read_map(tmp_path / "mm.npy", in_any_unit=True)[0, 0], millimetres[..., 0].astype(np.float32))
    with pytest.raises(ValueError, match="mm.npy holds uint16; .* --convention distance"):
        files.read_map(tmp_path / "mm.npy")
    np.save(tmp_path / "words.npy", np.array([["a"]]))
    with pytest.raises(ValueError, match="words.npy holds <U1; save numbers"):
        files.read_map(tmp_path / "words.npy", in_any_unit=True)


def test_a_tiff_that_pillow_does_not_know(tmp_path):
    """Three channels of floats, uncompressed, as the format says."""
    entries = [(256, 4, 1, 2), (257, 4, 1, 1), (258, 3, 1, 32), (259, 3, 1, 1), (262, 3, 1, 2), (273, 4, 1, 8 + 2 + 12 * 9 + 4)]
    entries += [(277, 3, 1, 3), (279, 4, 1, 24), (339, 3, 1, 3)]
    directory = struct.pack("<H", len(entries)) + b"".join(struct.pack("<HHII", *entry) for entry in entries) + bytes(4)
    whole = b"II*\0" + struct.pack("<I", 8) + directory + struct.pack("<6f", *[0.5] * 6)
    (tmp_path / "floats.tif").write_bytes(whole)
    assert torch.equal(files.read_photo(tmp_path / "floats.tif")[0], torch.full((1, 3, 1, 2), 0.5))
    assert torch.equal(files.read_map(tmp_path / "floats.tif"), torch.full((1, 1, 1, 2), 0.5))
    (tmp_path / "cut.tif").write_bytes(whole[:40])
    with pytest.raises(ValueError, match="cut.tif is not a picture that can be read; it may be damaged"):
        files.read_photo(tmp_path / "cut.tif")
