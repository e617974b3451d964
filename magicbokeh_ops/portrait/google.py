"""Google's depth photos: GDepth (https://developers.google.com/depthmap-metadata) and its successor Dynamic Depth 1.0
(https://developer.android.com/training/camera2/Dynamic-depth-v1.0.pdf).

Both store levels 0..1 between a near and a far distance. RangeLinear: distance = near + v (far - near). RangeInverse: 1 / distance is
linear in v instead, from 1 / near at 0 to 1 / far at 1.
"""

import base64
import binascii
from xml.etree.ElementTree import Element

import numpy as np

from .depth import Depth, decode, levels
from .jpeg import end_of_picture
from .xmp import merged, number, structures

GDEPTH = "http://ns.google.com/photos/1.0/depthmap/"
GIMAGE = "http://ns.google.com/photos/1.0/image/"
GFOCUS = "http://ns.google.com/photos/1.0/focus/"
DYNAMIC = "http://ns.google.com/photos/dd/1.0/"
ITEMS = (DYNAMIC + "item/", "http://ns.google.com/photos/1.0/container/item/")
SIGNATURES = (b"\xff\xd8\xff", b"\x89PNG")


def gdepth(roots: list[Element], longest: int) -> tuple[Depth | None, bytes | None]:
    """The depth map and the sharp original of a GDepth photo, None for what it has not.

    longest: the photo's longer side in pixels, of which the blur is a share. Raises ValueError if something of it is damaged.
    """
    properties: dict[str, str] = {}
    image: dict[str, str] = {}
    focus: dict[str, str] = {}
    for root in roots:
        properties |= merged(root, GDEPTH)
        image |= merged(root, GIMAGE)
        focus |= merged(root, GFOCUS)
    original = _base64(image["Data"], "the original in it") if "Data" in image else None
    if not properties:
        return None, original
    if "Data" not in properties:
        raise ValueError("its depth map is missing (GDepth:Data)")
    depth = _depth(properties, _base64(properties["Data"], "its depth map"), "GDepth")
    if "FocalDistance" in focus and "BlurAtInfinity" in focus:
        distance = number(focus, "FocalDistance")
        if distance > 0:
            # The radius at infinity, where the disparity is that in focus away from it, is a share of the photo's longer side.
            depth.focus = 1 / distance
            depth.blur = number(focus, "BlurAtInfinity") * longest * distance
    return depth, original


def dynamic_depth(roots: list[Element], content: bytes) -> tuple[Depth | None, np.ndarray | None, bytes | None]:
    """The depth map, the segmentation (h, w) in 0..1 and the sharp original of a Dynamic Depth photo, None for what it has not.

    Raises ValueError if something of it is damaged.
    """
    maps = [properties for root in roots for properties in structures(root, DYNAMIC + "depthmap/")]
    if not maps:
        return None, None, None
    items = _items(roots, content)

    def item(uri: str, name: str) -> bytes:
        if uri not in items:
            raise ValueError(f"{name} is missing (there is no item {uri!r})")
        return items[uri]

    depth = matte = None
    for properties in maps:
        semantic = properties.get("ItemSemantic", "Depth")
        data = item(properties.get("DepthURI", semantic), "its depth map")
        if semantic.lower() == "segmentation":
            matte = levels(decode(data, "its segmentation"))
        elif depth is None:
            depth = _depth(properties, data, "Dynamic Depth")
            if "FocalTable" in properties:
                depth.focus, depth.blur = _from_focal_table(properties)
    images = [properties for root in roots for properties in structures(root, DYNAMIC + "image/")]
    uris = [image.get("ItemURI", "") for image in images if image.get("ItemSemantic", "").lower() == "original"]
    return depth, matte, item(uris[0], "the original in it") if uris else None


def _depth(properties: dict[str, str], data: bytes, kind: str) -> Depth:
    near, far = number(properties, "Near"), number(properties, "Far")
    values = levels(decode(data, "its depth map")).astype(np.float64)
    form, unit = properties.get("Format", "RangeInverse"), properties.get("Units", "m")
    if form.lower() == "rangelinear":
        depth = near + values * (far - near)
    elif form.lower() == "rangeinverse":
        if near == 0 or far == 0:
            raise ValueError(f"Near and Far of its depth map are {near:g} and {far:g}, which have no inverse")
        depth = 1 / (1 / near + values * (1 / far - 1 / near))
    else:
        raise ValueError(f"Format of its depth map is {form}, which is neither RangeInverse nor RangeLinear")
    text = f"depth map: {kind}, {form}, {near:g} to {far:g} {unit}, {values.shape[1]} x {values.shape[0]}"
    if unit.lower().startswith("diopter"):
        return Depth(depth.astype(np.float32), text)
    if near <= 0 or far <= near:
        raise ValueError(
            f"Near and Far of its depth map are {near:g} and {far:g}; both must be distances, the second one larger"
        )
    return Depth((1 / depth).astype(np.float32), text)


def _from_focal_table(properties: dict[str, str]) -> tuple[float, float]:
    """Disparity in focus, and blur radius per difference of disparity, from a table of distances and radii.

    A thin lens has radii in proportion to that difference; the slope is the one with the least squared error.
    """
    data = _base64(properties["FocalTable"], "its focal table")
    count = int(number(properties, "FocalTableEntryCount", len(data) // 8))
    table = np.frombuffer(data[: len(data) // 8 * 8], "<f4").reshape(-1, 2).astype(np.float64)
    if count < 2 or len(data) != 8 * count or not np.isfinite(table).all() or (table[:, 0] <= 0).any():
        raise ValueError("its focal table is damaged")
    disparity, radius = 1 / table[:, 0], np.abs(table[:, 1])
    focus = disparity[radius == radius.min()].mean()
    apart = np.abs(disparity - focus)
    if not apart.any():
        raise ValueError("its focal table holds one distance only")
    return float(focus), float((radius * apart).sum() / (apart**2).sum())


def _items(roots: list[Element], content: bytes) -> dict[str, bytes]:
    """The files appended to a JPEG, by their names: one after the other, each followed by its padding."""
    listed = [properties for root in roots for space in ITEMS for properties in structures(root, space)]
    if not listed:
        raise ValueError("its list of items (Container:Directory) is missing")
    sizes = [(int(number(entry, "Length", 0)), int(number(entry, "Padding", 0))) for entry in listed]
    behind = end_of_picture(content) + sizes[0][1]
    # Some phones put more between the picture and its items; then their end is what is known.
    for start in (behind, len(content) - sum(length + padding for length, padding in sizes[1:])):
        found, at = {}, start
        for entry, (length, padding) in zip(listed[1:], sizes[1:]):
            found[_name(entry)] = content[max(at, 0) : at + length]
            at += length + padding
        pictures = [_name(entry) for entry in listed[1:] if entry.get("Mime", "").startswith("image/")]
        if all(found[name].startswith(SIGNATURES) for name in pictures):
            break
    if start < behind - sizes[0][1] or at > len(content) or min(min(size) for size in sizes) < 0:
        raise ValueError("an item that it lists is cut off")
    return found


def _name(item: dict[str, str]) -> str:
    """What others call an item by: its address, or what it means."""
    return item.get("DataURI") or item.get("Semantic", "")


def _base64(text: str, name: str) -> bytes:
    try:
        letters = "".join(text.split())
        return base64.b64decode(letters + "=" * (-len(letters) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise ValueError(f"{name} is damaged") from None
