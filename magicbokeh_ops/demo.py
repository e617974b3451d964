"""The photos and the small model that come with the pack."""

import struct
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

ASSETS = Path(__file__).parent / "assets"
# Trained on drawn scenes only (docs/nano.md): it shows what the model does, not how well. Never taken unless asked for.
NANO = ASSETS / "magicbokeh-nano.safetensors"
RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
NANO_LABEL = "nano, demonstration"
# Beside demo.jpg, for templates; lamps.jpg and toys.jpg bring their disparity. All are described in assets/README.md.
DRAWN = ("lamps.jpg", "toys.jpg", "town.jpg", "heart.png", "masks.png")


def demo_photo() -> tuple[Tensor, Tensor]:
    """Photo (1, 3, 512, 512), sRGB in [0, 1], and its hand-made disparity (1, 1, 512, 512) in [0, 1], 1 = nearest.

    Both are described, with their licence, in assets/README.md.
    """
    with Image.open(ASSETS / "demo_disparity.png") as disparity:
        near = np.asarray(disparity, dtype=np.float32) / 65535
    return _read("demo.jpg"), torch.from_numpy(near)[None, None]


def noisy_demo_photo() -> Tensor:
    """The same photo as it might come from a phone in poor light: noisy, soft, compressed."""
    return _read("demo_noisy.jpg")


def demo_portrait() -> bytes:
    """The photo as a JPEG with its disparity inside: for nodes that read portrait photos."""
    return with_disparity(*((ASSETS / name).read_bytes() for name in ("demo.jpg", "demo_disparity.png")))


def with_disparity(photo: bytes, disparity: bytes) -> bytes:
    """A JPEG with a grey PNG inside, white = nearest, black = infinitely far, as Dynamic Depth has it."""
    spaces = "".join(
        f' xmlns:{name}="http://ns.google.com/photos/dd/1.0/{name.lower()}/"'
        for name in ("Device", "Container", "Item", "Camera", "DepthMap")
    )
    items = (("image/jpeg", 0, "primary_image"), ("image/png", len(disparity), "android/depthmap"))
    directory = "".join(
        f'<rdf:li><Container:Item Item:Mime="{mime}" Item:Length="{length}" Item:DataURI="{uri}"/></rdf:li>'
        for mime, length, uri in items
    )
    packet = (
        f'http://ns.adobe.com/xap/1.0/\0<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}"><rdf:Description'
        f"{spaces}><Device:Container><Container:Directory><rdf:Seq>{directory}</rdf:Seq></Container:Directory></Device:Container>"
        '<Device:Cameras><rdf:Seq><rdf:li><Device:Camera><Camera:DepthMap DepthMap:Format="RangeLinear" DepthMap:Near="0" '
        'DepthMap:Far="1" DepthMap:Units="Diopters" DepthMap:DepthURI="android/depthmap"/></Device:Camera></rdf:li></rdf:Seq>'
        "</Device:Cameras></rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()
    segment = struct.pack(">HH", 0xFFE1, 2 + len(packet)) + packet
    return photo[:2] + segment + photo[2:] + disparity


def _read(name: str) -> Tensor:
    with Image.open(ASSETS / name) as photo:
        rgb = np.asarray(photo.convert("RGB"), dtype=np.float32) / 255
    return torch.from_numpy(rgb).permute(2, 0, 1)[None]
