"""Apple's portrait photos: depth or disparity and the portrait effects matte as auxiliary pictures, of HEIC (ISO 23008-12) or of a
multi-picture JPEG, each with metadata that says what its levels mean.
"""

import numpy as np
from PIL import Image

from .depth import Depth, decode, levels
from .jpeg import MAIN
from .xmp import PACKET, merged, number, parse

PIXELS = "http://ns.apple.com/pixeldatainfo/1.0/"
EFFECT = "http://ns.apple.com/depthBlurEffect/1.0/"
MATTE = "portraiteffectsmatte"
DISTANCES = ("hdep", "fdep", "1751410032", "1717855600")  # kCVPixelFormatType_DepthFloat16 and 32


def of_jpeg(pictures: list[bytes]) -> tuple[Depth | None, np.ndarray | None]:
    """Depth map, and portrait matte (h, w) in 0..1, among the further pictures of a JPEG. Raises ValueError for a damaged one."""
    depth = matte = None
    for content in pictures:
        picture = decode(content, "a picture that its index lists")
        packet = next((part[len(MAIN) :] for _, part in getattr(picture, "applist", []) if part.startswith(MAIN)), None)
        properties = {} if packet is None else merged(parse(packet), PIXELS)
        kind = _kind(properties)
        if kind == "matte":
            matte = levels(picture)
        elif kind:
            depth = _depth(levels(picture), kind, properties, parse(packet or b""))
    return depth, matte


def of_heif(heif, content: bytes) -> tuple[Depth | None, np.ndarray | None]:
    """The same of pillow-heif's image of a HEIC file. content: the file, since that library gives no metadata of auxiliary pictures."""
    roots = [parse(packet) for packet in PACKET.findall(content)]
    described = [(merged(root, PIXELS), root) for root in roots]
    depth = matte = None
    for auxiliary in heif.info.get("depth_images", []):
        properties, root = next(
            ((found, root) for found, root in described if _kind(found) in ("depth", "disparity")), ({}, None)
        )
        kind = _kind(properties) or "disparity"
        depth = _depth(levels(_pillow(auxiliary)), kind, properties, root)
    for kind, numbers in (heif.info.get("aux") or {}).items():
        if kind.lower().endswith(MATTE):
            matte = levels(_pillow(heif.get_aux_image(numbers[0])))
    return depth, matte


def _pillow(auxiliary) -> Image.Image:
    try:
        return auxiliary.to_pillow()
    except MemoryError:
        raise
    except Exception:  # libheif's, of several types
        raise ValueError("an auxiliary picture in it is damaged") from None


def _kind(properties: dict[str, str]) -> str | None:
    """depth, disparity, matte, or None for what else phones store, such as the gain map of HDR."""
    stated = properties.get("AuxiliaryImageType", "").lower()
    if stated.endswith(MATTE):
        return "matte"
    if properties.get("NativeFormat") in DISTANCES or stated.endswith("depth"):
        return "depth"
    return "disparity" if stated.endswith("disparity") else None


def _depth(values: np.ndarray, kind: str, properties: dict[str, str], root) -> Depth:
    low, high = number(properties, "FloatMinValue", 0), number(properties, "FloatMaxValue", 1)
    if not low < high or (kind == "depth" and low <= 0):
        raise ValueError(f"FloatMinValue and FloatMaxValue of its depth map are {low:g} and {high:g}")
    scaled = low + values.astype(np.float64) * (high - low)
    text = f"depth map: Apple, {kind}, {low:g} to {high:g} {'m' if kind == 'depth' else '1/m'}, {values.shape[1]} x {values.shape[0]}"
    aperture = {} if root is None else merged(root, EFFECT)
    if "SimulatedAperture" in aperture:
        text += f"\naperture: f/{number(aperture, 'SimulatedAperture'):g}"
    return Depth((1 / scaled if kind == "depth" else scaled).astype(np.float32), text)
