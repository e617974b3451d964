"""Portrait photos as phones write them, byte by byte after the public specifications (named in `magicbokeh_ops/portrait/`)."""

import base64
import hashlib
import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import ExifTags, Image

XMP, EXTENSION = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
RDF = 'xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"'
DD = "http://ns.google.com/photos/dd/1.0/"
DEPTH_TYPE, MATTE_TYPE = "urn:mpeg:hevc:2015:auxid:2", "urn:com:apple:photo:2018:aux:portraiteffectsmatte"


def photo(size: tuple[int, int] = (60, 40), seed: int = 0) -> np.ndarray:
    """Smooth colours (height, width, 3), which JPEG keeps well, with no symmetry."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    return (255 * np.stack([x, y, (x * y + seed / 5) % 1], -1)).astype(np.uint8)


def levels(size: tuple[int, int] = (30, 20)) -> np.ndarray:
    """A map (height, width) with every kind of level and no symmetry; 0 and 255 are among them."""
    x, y = np.meshgrid(np.linspace(0, 1, size[0]), np.linspace(0, 1, size[1]))
    plane = 0.7 * x + 0.3 * y**2
    return (255 * plane / plane.max()).round().astype(np.uint8)


def encoded(array: np.ndarray, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    Image.fromarray(array).save(file, kind, **({"quality": 100, "subsampling": 0} if kind == "JPEG" else {}) | options)
    return file.getvalue()


def exif(orientation: int) -> bytes:
    tags = Image.Exif()
    tags[ExifTags.Base.Orientation] = orientation
    return tags.tobytes()


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def packet(properties: str, namespaces: str, body: str = "") -> bytes:
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF {RDF}><rdf:Description rdf:about="" {namespaces} {properties}>{body}'
        "</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


def attributes(prefix: str, values: dict) -> str:
    return " ".join(f'{prefix}:{name}="{value}"' for name, value in values.items())


def gdepth(
    picture: bytes,
    depth: bytes,
    form: str = "RangeInverse",
    near: float | str = 0.5,
    far: float | str = 8,
    original: bytes | None = None,
    focus: dict | None = None,
    extended: bool = True,
    part: int = 1000,
) -> bytes:
    """GDepth, with the data in extended XMP in parts of so many bytes, or in the main packet."""
    spaces = " ".join(
        f'xmlns:{prefix}="http://ns.google.com/photos/1.0/{name}/"'
        for prefix, name in (("GDepth", "depthmap"), ("GImage", "image"), ("GFocus", "focus"))
    )
    main = attributes("GDepth", {"Format": form, "Near": near, "Far": far, "Mime": "image/png", "Units": "m"})
    main += " " + attributes("GFocus", focus or {})
    data = attributes("GDepth", {"Data": base64.b64encode(depth).decode()})
    if original is not None:
        main += ' GImage:Mime="image/jpeg"'
        data += " " + attributes("GImage", {"Data": base64.b64encode(original).decode()})
    if not extended:
        return with_segments(picture, segment(0xE1, XMP + packet(f"{main} {data}", spaces)))
    further = packet(data, spaces)
    guid = hashlib.md5(further).hexdigest().upper().encode()
    note = f'xmlns:xmpNote="http://ns.adobe.com/xmp/note/" xmpNote:HasExtendedXMP="{guid.decode()}"'
    parts = [
        EXTENSION + guid + struct.pack(">II", len(further), at) + further[at : at + part] for at in range(0, len(further), part)
    ]
    return with_segments(
        picture, segment(0xE1, XMP + packet(main, f"{spaces} {note}")), *(segment(0xE1, content) for content in parts)
    )


@dataclass
class Item:
    uri: str
    content: bytes
    padding: int = 0
    mime: str = "image/png"
    semantic: str = ""


def dynamic_depth(
    picture: bytes, items: list[Item], depth: dict, padding: int = 0, images: str = "", as_elements=False
) -> bytes:
    """Dynamic Depth 1.0: items behind the picture, listed in its directory. depth: properties of the DepthMap."""
    spaces = " ".join(
        f'xmlns:{prefix}="{DD}{name}/"'
        for prefix, name in (
            ("Device", "device"),
            ("Container", "container"),
            ("Item", "item"),
            ("Camera", "camera"),
            ("DepthMap", "depthmap"),
            ("Image", "image"),
        )
    )
    listed = [{"Mime": "image/jpeg", "Length": 0, "Padding": padding, "DataURI": "primary_image"}]
    for item in items:
        name = {"Semantic": item.semantic} if item.semantic else {"DataURI": item.uri}
        listed.append({"Mime": item.mime, "Length": len(item.content), "Padding": item.padding, **name})
    entries = "".join(f"<rdf:li><Container:Item {attributes('Item', entry)}/></rdf:li>" for entry in listed)
    if as_elements:
        written = "".join(f"<DepthMap:{name}>{value}</DepthMap:{name}>" for name, value in depth.items())
        camera = f'<Camera:DepthMap rdf:parseType="Resource">{written}</Camera:DepthMap>'
    else:
        camera = f"<Camera:DepthMap {attributes('DepthMap', depth)}/>"
    body = (
        f"<Device:Container><Container:Directory><rdf:Seq>{entries}</rdf:Seq></Container:Directory></Device:Container>"
        f"<Device:Cameras><rdf:Seq><rdf:li><Device:Camera>{camera}{images}</Device:Camera></rdf:li></rdf:Seq></Device:Cameras>"
    )
    start = with_segments(picture, segment(0xE1, XMP + packet("", spaces, body)))
    return start + bytes(padding) + b"".join(item.content + bytes(item.padding) for item in items)


def focal_table(pairs: list[tuple[float, float]]) -> dict:
    data = b"".join(struct.pack("<ff", *pair) for pair in pairs)
    return {"FocalTable": base64.b64encode(data).decode(), "FocalTableEntryCount": len(pairs)}


def apple_packet(
    kind: str, low: float | None = None, high: float | None = None, native: str = "", aperture: float | None = None
):
    spaces = (
        'xmlns:apdi="http://ns.apple.com/pixeldatainfo/1.0/" xmlns:depthBlurEffect="http://ns.apple.com/depthBlurEffect/1.0/"'
    )
    values = {"AuxiliaryImageType": kind, "NativeFormat": native, "FloatMinValue": low, "FloatMaxValue": high}
    body = "".join(f"<apdi:{name}>{value}</apdi:{name}>" for name, value in values.items() if value not in (None, ""))
    if aperture is not None:
        body += f"<depthBlurEffect:SimulatedAperture>{aperture}</depthBlurEffect:SimulatedAperture>"
    return packet("", spaces, body)


def apple_jpeg(picture: bytes, pictures: list[tuple[np.ndarray, bytes]], cut: int = 0) -> bytes:
    """A multi-picture JPEG (CIPA DC-007) of the photo and grey pictures with their XMP. cut: bytes that are missing at the end."""
    further = [with_segments(encoded(plane, "JPEG"), segment(0xE1, XMP + description)) for plane, description in pictures]
    count = 1 + len(further)

    def index(first: int, offsets: list[int]) -> bytes:
        entries = struct.pack(">LLLHH", 0x030000, first, 0, 0, 0)
        for content, offset in zip(further, offsets):
            entries += struct.pack(">LLLHH", 0, len(content), offset, 0, 0)
        tags = struct.pack(">HHL4s", 0xB000, 7, 4, b"0100") + struct.pack(">HHLL", 0xB001, 4, 1, count)
        tags += struct.pack(">HHLL", 0xB002, 7, len(entries), 8 + 2 + 3 * 12 + 4)
        return b"MPF\0" + b"MM\0*" + struct.pack(">LH", 8, 3) + tags + struct.pack(">L", 0) + entries

    length = len(with_segments(picture, segment(0xE2, index(0, [0] * len(further)))))
    base = 2 + 4 + 4  # of the index, from which offsets count: after SOI, the segment's header and MPF
    starts = [length + sum(len(content) for content in further[:i]) - base for i in range(len(further))]
    whole = with_segments(picture, segment(0xE2, index(length, starts))) + b"".join(further)
    return whole[: len(whole) - cut]


def box(kind: bytes, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return struct.pack(">I4s", 8 + len(content), kind) + content


def _boxes(content: bytes) -> dict[bytes, bytes]:
    found, at = {}, 0
    while at < len(content):
        size, kind = struct.unpack_from(">I4s", content, at)
        found.setdefault(kind, content[at + 8 : at + size])
        at += size
    return found


def _coded(array: np.ndarray) -> tuple[bytes, list[bytes]]:
    """HEVC data of a picture, without loss, and the properties that decoding needs."""
    import pillow_heif

    file = io.BytesIO()
    picture = pillow_heif.from_pillow(Image.fromarray(array))
    picture.save(file, quality=-1, chroma=444)
    top = _boxes(file.getvalue())
    properties = _boxes(_boxes(_boxes(top[b"meta"][4:])[b"iprp"])[b"ipco"])
    return top[b"mdat"], [box(kind, content) for kind, content in properties.items() if kind != b"colr"]


def heic(
    picture: np.ndarray,
    depth: np.ndarray | None = None,
    matte: np.ndarray | None = None,
    description: bytes | None = None,
    turns: int = 0,
    turn_maps: bool = True,
    orientation: int = 1,
) -> bytes:
    """A HEIC (ISO 23008-12) with auxiliary pictures. turns: quarter turns to the left that a reader must make (irot)."""
    planes = [picture] + [plane for plane in (depth, matte) if plane is not None]
    kinds = [kind for plane, kind in ((depth, DEPTH_TYPE), (matte, MATTE_TYPE)) if plane is not None]
    items, properties, associations, references = [], [], [], b""
    for number, plane in enumerate(planes, 1):
        data, own = _coded(plane)
        if number > 1:
            own.append(box(b"auxC", bytes(4), kinds[number - 2].encode() + b"\0"))
            references += box(b"auxl", struct.pack(">HHH", number, 1, 1))
        if turns and (number == 1 or turn_maps):
            own.append(box(b"irot", bytes([turns])))
        associations.append((number, list(range(len(properties) + 1, len(properties) + len(own) + 1))))
        properties += own
        items.append((number, box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", number, 0, b"hvc1"), b"\0"), data))
    if orientation != 1:
        number = len(items) + 1
        items.append(
            (number, box(b"infe", b"\2\0\0\1", struct.pack(">HH4s", number, 0, b"Exif"), b"\0"), bytes(4) + exif(orientation))
        )
        references += box(b"cdsc", struct.pack(">HHH", number, 1, 1))
    if description is not None:
        number = len(items) + 1
        kind = struct.pack(">HH4s", number, 0, b"mime") + b"\0application/rdf+xml\0"
        items.append((number, box(b"infe", b"\2\0\0\1", kind), description))
        references += box(b"cdsc", struct.pack(">HHH", number, 1, 2))
    ipma = struct.pack(">II", 0, len(associations))
    for number, own in associations:
        ipma += struct.pack(">HB", number, len(own)) + bytes(own)

    def meta(start: int) -> bytes:
        places, at = b"", start
        for number, _, data in items:
            places += struct.pack(">HHHII", number, 0, 1, at, len(data))
            at += len(data)
        return box(
            b"meta",
            bytes(4),
            box(b"hdlr", bytes(8), b"pict", bytes(13)),
            box(b"pitm", bytes(4), struct.pack(">H", 1)),
            box(b"iloc", bytes(4), b"\x44\0", struct.pack(">H", len(items)), places),
            box(b"iinf", bytes(4), struct.pack(">H", len(items)), *(entry for _, entry, _ in items)),
            box(b"iref", bytes(4), references),
            box(b"iprp", box(b"ipco", *properties), box(b"ipma", ipma)),
        )

    start = box(b"ftyp", b"heic", bytes(4), b"mif1heic")
    offset = len(start) + len(meta(0)) + 8
    return start + meta(offset) + box(b"mdat", *(data for _, _, data in items))
