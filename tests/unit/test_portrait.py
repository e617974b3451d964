"""Depth that a photo brings along, of files made here as the specifications say."""

import io
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from magicbokeh_ops.pictures import TURNS
from magicbokeh_ops.portrait import read_portrait
from tests.support import portrait_files as files
from tests.support.portrait_files import Item

pytest.importorskip("pillow_heif")

LEVELS = files.levels()
SHARES = LEVELS / 255.0
PNG = files.encoded(LEVELS)
NEAR, FAR = 0.5, 8.0
DEPTH = {"Format": "RangeInverse", "Near": NEAR, "Far": FAR, "DepthURI": "android/depthmap", "Units": "Meters"}
APPLE = files.apple_packet("disparity", 0.3, 2.1, "hdis")
GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
ORIGINAL = '<Camera:Image Image:ItemSemantic="Original" Image:ItemURI="android/original_image"/>'


def base(orientation: int = 1, seed: int = 0) -> bytes:
    return files.encoded(files.photo(seed=seed), "JPEG", **({"exif": files.exif(orientation)} if orientation != 1 else {}))


def stretched(disparity: np.ndarray) -> np.ndarray:
    return (disparity - disparity.min()) / (disparity.max() - disparity.min())


LINEAR = stretched(1 / (NEAR + SHARES * (FAR - NEAR)))
APPLE_DEPTH = stretched(1 / (0.3 + SHARES * 1.8))
AS_JPEG = np.array(Image.open(io.BytesIO(files.encoded(LEVELS, "JPEG")))) / 255.0  # a level off here and there


def turned(array: np.ndarray, orientation: int) -> np.ndarray:
    """As EXIF 2.32 draws it: where the stored rows and columns begin in the upright picture."""
    return {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a[::-1].swapaxes(0, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a[:, ::-1].swapaxes(0, 1),
    }[orientation](array)


def dynamic(start: bytes = b"", depth: dict | None = None, content: bytes = PNG, **options) -> bytes:
    item = Item("android/depthmap", content, options.pop("item_padding", 0))
    return files.dynamic_depth(start or base(), [item, *options.pop("more", [])], {**DEPTH, **(depth or {})}, **options)


WHOLE = {
    "gdepth.jpg": (lambda o: files.gdepth(base(o), PNG), 1 - SHARES),
    "gdepth in one packet.jpg": (lambda o: files.gdepth(base(o), PNG, extended=False), 1 - SHARES),
    "gdepth linear.jpg": (lambda o: files.gdepth(base(o), PNG, "RangeLinear"), LINEAR),
    "gdepth as jpeg.jpg": (lambda o: files.gdepth(base(o), files.encoded(LEVELS, "JPEG")), 1 - SHARES),
    "gdepth 16 bit.jpg": (lambda o: files.gdepth(base(o), files.encoded(LEVELS.astype(np.uint16) * 257)), 1 - SHARES),
    "dynamic.jpg": (lambda o: dynamic(base(o)), 1 - SHARES),
    "dynamic linear.jpg": (lambda o: dynamic(base(o), {"Format": "RangeLinear"}), LINEAR),
    "dynamic as elements.jpg": (lambda o: dynamic(base(o), as_elements=True), 1 - SHARES),
    "dynamic padded.jpg": (
        lambda o: dynamic(base(o), padding=6, item_padding=9, more=[Item("video", b"mp4", mime="video/mp4")]),
        1 - SHARES,
    ),
    "dynamic diopters.jpg": (lambda o: dynamic(base(o), {"Format": "RangeLinear", "Units": "Diopters"}), SHARES),
    "apple.jpg": (lambda o: files.apple_jpeg(base(o), [(LEVELS, APPLE)]), SHARES),
    "apple depth.jpg": (
        lambda o: files.apple_jpeg(base(o), [(LEVELS, files.apple_packet("depth", 0.3, 2.1))]),
        stretched(1 / (0.3 + AS_JPEG * 1.8)),
    ),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", WHOLE)
def test_photo_and_map_as_stored_and_turned(name, orientation, tmp_path):
    make, disparity = WHOLE[name]
    (tmp_path / name).write_bytes(make(orientation))
    portrait = read_portrait(tmp_path / name)
    photo = portrait.image[0].permute(1, 2, 0).numpy()
    assert photo.shape == turned(files.photo(), orientation).shape
    assert abs(photo - turned(files.photo() / 255.0, orientation)).mean() < 2 / 255
    assert portrait.disparity is not None and portrait.disparity.dtype == torch.float32
    found = portrait.disparity[0, 0].numpy()
    assert found.shape == turned(disparity, orientation).shape
    assert abs(found - turned(stretched(disparity), orientation)).max() < 1.01 / 255
    assert "30 x 20" in portrait.info and portrait.matte is None


@pytest.mark.parametrize("turns, orientation", [(0, 1), (1, 8), (2, 3), (3, 6)])
@pytest.mark.parametrize("turn_maps", [True, False])
@pytest.mark.parametrize(
    "description, disparity", [(APPLE, SHARES), (files.apple_packet("depth", 0.3, 2.1, "hdep"), APPLE_DEPTH), (None, SHARES)]
)
def test_heic(description, disparity, turns, orientation, turn_maps, tmp_path):
    """Also where the file turns its maps only with the photo, as is seen from their sides."""
    if turns == 2 and not turn_maps:
        pytest.skip("nobody could tell")
    path = tmp_path / "photo.HEIC"
    path.write_bytes(files.heic(files.photo(), LEVELS, 255 - LEVELS, description, turns, turn_maps, orientation))
    portrait = read_portrait(path)
    assert abs(portrait.image[0].permute(1, 2, 0).numpy() - turned(files.photo() / 255.0, orientation)).mean() < 4 / 255
    assert portrait.disparity is not None and portrait.matte is not None
    assert abs(portrait.disparity[0, 0].numpy() - turned(disparity, orientation)).max() < 1.01 / 255
    assert abs(portrait.matte[0, 0].numpy() - turned(1 - SHARES, orientation)).max() < 1.01 / 255


def test_the_matte_and_the_aperture_of_apple(tmp_path):
    path = tmp_path / "photo.jpg"
    pictures = [
        (LEVELS, files.apple_packet("urn:com:apple:photo:2020:aux:hdrgainmap")),
        (255 - LEVELS, files.apple_packet(files.MATTE_TYPE)),
        (LEVELS, files.apple_packet("disparity", 0.3, 2.1, "hdis", aperture=2.8)),
    ]
    path.write_bytes(files.apple_jpeg(base(6), pictures))
    portrait = read_portrait(path)
    assert portrait.matte is not None and abs(portrait.matte[0, 0].numpy() - turned(1 - SHARES, 6)).max() < 1.01 / 255
    assert portrait.info.splitlines() == [
        "depth map: Apple, disparity, 0.3 to 2.1 1/m, 30 x 20",
        "aperture: f/2.8",
        "portrait matte: 30 x 20",
    ]


def test_a_segmentation_is_a_matte_too(tmp_path):
    segmentation = Item("android/segmentation", files.encoded(255 - LEVELS))
    further = '<Camera:DepthMap DepthMap:ItemSemantic="Segmentation" DepthMap:DepthURI="android/segmentation"/>'
    (tmp_path / "photo.jpg").write_bytes(dynamic(more=[segmentation], images=further))
    portrait = read_portrait(tmp_path / "photo.jpg")
    assert portrait.matte is not None and abs(portrait.matte[0, 0].numpy() - (1 - SHARES)).max() < 1e-6
    assert portrait.disparity is not None and abs(portrait.disparity[0, 0].numpy() - (1 - SHARES)).max() < 1e-6


def test_items_may_be_known_by_their_meaning(tmp_path):
    without = {key: value for key, value in DEPTH.items() if key != "DepthURI"}
    content = files.dynamic_depth(base(), [Item("", PNG, semantic="Depth")], without)
    (tmp_path / "photo.jpg").write_bytes(content)
    portrait = read_portrait(tmp_path / "photo.jpg")
    assert portrait.disparity is not None and abs(portrait.disparity[0, 0].numpy() - (1 - SHARES)).max() < 1e-6


@pytest.mark.parametrize("kind", ["gdepth", "dynamic"])
def test_the_sharp_original_is_used(kind, tmp_path):
    """Turned as the photo, unless it has an orientation of its own."""
    for orientation, own in ((6, base(seed=3)), (6, base(6, seed=3)), (1, base(seed=3))):
        if kind == "gdepth":
            content = files.gdepth(base(orientation), PNG, original=own)
        else:
            more = [Item("android/original_image", own, mime="image/jpeg")]
            content = dynamic(base(orientation), more=more, images=ORIGINAL)
        (tmp_path / "photo.jpg").write_bytes(content)
        portrait = read_portrait(tmp_path / "photo.jpg")
        sharp = turned(files.photo(seed=3) / 255.0, orientation)
        assert abs(portrait.image[0].permute(1, 2, 0).numpy() - sharp).mean() < 2 / 255
        assert "original" in portrait.info


def test_the_depth_of_field_of_the_phone(tmp_path):
    """A disparity of 2 to 0.125 in focus at 0.5, and 20 pixels of blur per 1/m in both files."""
    focus = {"FocalDistance": 2, "BlurAtInfinity": 10 / 60, "FocalPointX": 0.5, "FocalPointY": 0.5}
    (tmp_path / "gdepth.jpg").write_bytes(files.gdepth(base(), PNG, focus=focus))
    table = files.focal_table([(distance, 20 * abs(1 / distance - 0.5)) for distance in (0.5, 1, 2, 4, 8)])
    (tmp_path / "dynamic.jpg").write_bytes(dynamic(depth=table))
    for path in tmp_path.glob("*.jpg"):
        portrait = read_portrait(path)
        assert portrait.focus == pytest.approx((0.5 - 0.125) / 1.875)
        assert portrait.k == pytest.approx(20 * 1.875)
        assert "focus 0.200, k 37.5" in portrait.info


def test_other_photos_have_no_depth(tmp_path):
    Image.fromarray(files.photo()).save(tmp_path / "photo.png")
    (tmp_path / "photo.jpg").write_bytes(base(6))
    (tmp_path / "gain map.jpg").write_bytes(
        files.apple_jpeg(base(), [(LEVELS, files.apple_packet("urn:com:apple:photo:2020:aux:hdrgainmap"))])
    )
    ultra = files.apple_jpeg(base(), [(LEVELS, b"<x:xmpmeta/>")], cut=100)  # as after an editor that drops the gain map
    hdr = files.segment(0xE1, files.XMP + files.packet("", 'xmlns:hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/"'))
    (tmp_path / "ultra hdr.jpg").write_bytes(files.with_segments(ultra, hdr))
    for path in tmp_path.iterdir():
        portrait = read_portrait(path)
        assert portrait.disparity is None and portrait.matte is None and portrait.info == "no depth map", path.name


def corrupted(content: bytes, find: bytes, new: bytes) -> bytes:
    assert find in content
    return content.replace(find, new, 1)


ONE = files.gdepth(base(), PNG, extended=False)
APPLE_FILE = files.apple_jpeg(base(), [(LEVELS, APPLE)])
DAMAGED = {
    "gdepth, a part missing.jpg": lambda: corrupted(files.gdepth(base(), PNG), files.EXTENSION, b"http://other/".ljust(35)),
    "gdepth, no number.jpg": lambda: files.gdepth(base(), PNG, near="nan"),
    "gdepth, behind the camera.jpg": lambda: files.gdepth(base(), PNG, near=-1),
    "gdepth, far before near.jpg": lambda: files.gdepth(base(), PNG, near=8, far=0.5),
    "gdepth, unknown format.jpg": lambda: files.gdepth(base(), PNG, "RangeOther"),
    "gdepth, no base64.jpg": lambda: corrupted(ONE, b'GDepth:Data="iVBOR', b'GDepth:Data="i&#33;BO'),
    "gdepth, cut picture.jpg": lambda: files.gdepth(base(), PNG[:-40]),
    "gdepth, no xml.jpg": lambda: corrupted(ONE, b"</rdf:RDF>", b"</rdf:RDX>"),
    "gdepth, entities.jpg": lambda: files.with_segments(
        base(), files.segment(0xE1, files.XMP + b"<!DOCTYPE x>" + files.packet("", f'xmlns:GDepth="{GDEPTH}"'))
    ),
    "gdepth, no data.jpg": lambda: corrupted(ONE, b"GDepth:Data", b"GDepth:Date"),
    "gdepth, one level.jpg": lambda: files.gdepth(base(), files.encoded(np.full((20, 30), 9, np.uint8))),
    "dynamic, cut off.jpg": lambda: dynamic()[:-30],
    "dynamic, another item.jpg": lambda: dynamic(depth={"DepthURI": "android/other"}),
    "dynamic, no item named.jpg": lambda: dynamic(depth={"DepthURI": ""}),
    "dynamic, damaged picture.jpg": lambda: dynamic(content=PNG[:20] + bytes(len(PNG) - 20)),
    "dynamic, damaged table.jpg": lambda: dynamic(depth={**files.focal_table([(0.5, 3), (1, 0)]), "FocalTableEntryCount": 3}),
    "dynamic, table of nothing.jpg": lambda: dynamic(depth=files.focal_table([(0, 3), (1, 0)])),
    "dynamic, no length.jpg": lambda: corrupted(dynamic(), b'Item:Length="%d"' % len(PNG), b'Item:Length="x"'),
    "dynamic, negative length.jpg": lambda: corrupted(dynamic(), b'Item:Length="%d"' % len(PNG), b'Item:Length="-9"'),
    "dynamic, no list.jpg": lambda: dynamic().replace(b"Item:", b"Itex:").replace(b"dd/1.0/item/", b"dd/1.0/itex/"),
    "dynamic, original missing.jpg": lambda: dynamic(images=ORIGINAL),
    "apple, cut off.jpg": lambda: APPLE_FILE[:-50],
    "apple, damaged index.jpg": lambda: corrupted(APPLE_FILE, b"MPF\0MM\0*", b"MPF\0MM\0\0"),
    "apple, damaged map.jpg": lambda: corrupted(APPLE_FILE, files.encoded(LEVELS, "JPEG")[20:300], bytes(280)),
    "apple, no xml.jpg": lambda: corrupted(APPLE_FILE, b"</apdi:NativeFormat>", b"</apdi:NativeForxxx>"),
    "apple, no range.jpg": lambda: files.apple_jpeg(base(), [(LEVELS, files.apple_packet("disparity", 2, 1))]),
    "apple, depth of 0.jpg": lambda: files.apple_jpeg(base(), [(LEVELS, files.apple_packet("depth", 0, 1))]),
    "apple, one level.jpg": lambda: files.apple_jpeg(base(), [(LEVELS * 0, APPLE)]),
    "heic, cut off.heic": lambda: files.heic(files.photo(), LEVELS)[:-3000],
    "heic, of nothing.heic": lambda: b"",
    "heic, a jpeg by another name.heic": lambda: base(),
    "heic, no xml.heic": lambda: corrupted(
        files.heic(files.photo(), LEVELS, description=APPLE), b"</apdi:NativeFormat>", b"</apdi:NativeForxxx>"
    ),
    "heic, no range.heic": lambda: files.heic(
        files.photo(), LEVELS, description=files.apple_packet("disparity", "1", "no number")
    ),
    "heic, one level.heic": lambda: files.heic(files.photo(), LEVELS * 0),
    "heic, no boxes.heic": lambda: files.heic(files.photo(), LEVELS)[:200] + bytes(4000),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_files_are_refused_in_a_sentence(name, tmp_path):
    (tmp_path / name).write_bytes(DAMAGED[name]())
    with pytest.raises(ValueError) as refused:
        read_portrait(tmp_path / name)
    message = str(refused.value)
    assert name in message and message.endswith(".") and len(message) - len(str(tmp_path)) < 260 and "\n" not in message


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.filterwarnings("ignore")  # which decoders give before they give up
def test_files_damaged_at_random_are_named(name, tmp_path):
    """In their heads, where what is stored is described, and anywhere."""
    whole, generator = WHOLE[name][0](6), np.random.default_rng(0)
    for i in range(60):
        damaged = bytearray(whole)
        for place in generator.integers(0, (200, 1500, len(whole))[i % 3], 4):
            damaged[place] = generator.integers(0, 256)
        (tmp_path / name).write_bytes(damaged)
        try:
            read_portrait(tmp_path / name)
        except ValueError as error:
            assert name in str(error) and "\n" not in str(error)


def test_heic_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    (tmp_path / "photo.heic").write_bytes(b"")
    with pytest.raises(ValueError, match="photo.heic is HEIC, which needs pillow-heif: pip install pillow-heif"):
        read_portrait(tmp_path / "photo.heic")


def test_every_orientation_has_a_turn():
    assert set(TURNS) == set(range(2, 9))


def test_missing_files_keep_their_error(tmp_path):
    for name in ("none.jpg", "none.heic"):
        with pytest.raises(FileNotFoundError):
            read_portrait(Path(tmp_path / name))
