"""Where a JPEG keeps more than its picture: XMP over several segments, pictures behind it, and an index of those."""

import io
import re
import struct

from PIL import Image, TiffImagePlugin

from . import xmp

MAIN = b"http://ns.adobe.com/xap/1.0/\0"
EXTENSION = b"http://ns.adobe.com/xmp/extension/\0"
HEADER = len(EXTENSION) + 32 + 4 + 4  # and the GUID, the length of the whole, the offset of this part
NOTE = "http://ns.adobe.com/xmp/note/"
MP_ENTRIES = 0xB002
AFTER_PIXELS = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # pixels hold no other marker than restarts


def packets(picture: Image.Image) -> list[bytes]:
    """The XMP of a JPEG: its main packet, and the extended one if that names it (Adobe, XMP Specification Part 3, 1.1.3.1).

    Raises ValueError if parts of the extended one are missing.
    """
    segments = [content for name, content in getattr(picture, "applist", []) if name == "APP1"]
    main = next((segment[len(MAIN) :] for segment in segments if segment.startswith(MAIN)), None)
    if main is None:
        return []
    guid = xmp.merged(xmp.parse(main), NOTE).get("HasExtendedXMP")
    if guid is None:
        return [main]
    parts = [segment for segment in segments if segment.startswith(EXTENSION + guid.encode())]
    length = int.from_bytes(parts[0][HEADER - 8 : HEADER - 4], "big") if parts else -1
    whole, known = bytearray(max(length, 0)), 0
    for part in parts:
        at, content = int.from_bytes(part[HEADER - 4 : HEADER], "big"), part[HEADER:]
        whole[at : at + len(content)] = content
        known += len(content)
    if known != length or len(whole) != length:
        raise ValueError("parts of its extended metadata (XMP) are missing")
    return [main, bytes(whole)]


def end_of_picture(content: bytes) -> int:
    """Where the first picture ends and what is appended to it begins. Raises ValueError for a JPEG without an end."""
    at = 2
    while at + 4 <= len(content) and content[at] == 0xFF:
        marker = content[at + 1]
        if marker == 0xD9:
            return at + 2
        at += 2 + int.from_bytes(content[at + 2 : at + 4], "big")
        if marker == 0xDA:
            following = AFTER_PIXELS.search(content, at)
            at = following.start() if following else len(content)
    raise ValueError("it has no end")


def further_pictures(picture: Image.Image, content: bytes) -> list[bytes]:
    """The files that the index of a multi-picture JPEG lists after the first (CIPA DC-007).

    Raises ValueError if the index is damaged, or one of them lies beyond the end.
    """
    if "mp" not in picture.info:
        return []
    index = picture.info["mp"]
    try:
        directory = TiffImagePlugin.ImageFileDirectory_v2(index[:8])
        file = io.BytesIO(index)
        file.seek(directory.next)
        directory.load(file)
        order = ">" if index.startswith(b"MM") else "<"
        entries = list(struct.iter_unpack(f"{order}LLLHH", directory[MP_ENTRIES]))
    except Exception:  # as of Pillow's decoders
        raise ValueError("its index of further pictures is damaged") from None
    base, found = content.find(b"MPF\0" + index) + 4, []
    for _, size, offset, _, _ in entries[1:]:
        start = base + offset
        if start + size > len(content):
            raise ValueError("a picture that its index lists is cut off")
        found.append(content[start : start + size])
    return found
