"""XMP packets (ISO 16684-1) as plain dictionaries."""

import re
from collections.abc import Iterator
from xml.etree import ElementTree

PACKET = re.compile(rb"<x:xmpmeta.*?</x:xmpmeta>", re.DOTALL)


def parse(packet: bytes) -> ElementTree.Element:
    """Root of a packet. Raises ValueError if it is no XML, or defines entities, which XMP never does."""
    if b"<!DOCTYPE" in packet:
        raise ValueError("its metadata (XMP) holds a document type, which XMP never does")
    try:
        return ElementTree.fromstring(packet.rstrip(b"\0"))
    except ElementTree.ParseError:
        raise ValueError("its metadata (XMP) is damaged") from None


def structures(root: ElementTree.Element, namespace: str) -> Iterator[dict[str, str]]:
    """The properties of one namespace, of each element that has some, as attributes or as elements with a text."""
    for element in root.iter():
        properties = dict(element.attrib)
        properties |= {child.tag: child.text.strip() for child in element if child.text and child.text.strip()}
        own = {key[len(namespace) + 2 :]: value for key, value in properties.items() if key.startswith(f"{{{namespace}}}")}
        if own:
            yield own


def merged(root: ElementTree.Element, namespace: str) -> dict[str, str]:
    """All properties of one namespace, wherever they stand."""
    found: dict[str, str] = {}
    for properties in structures(root, namespace):
        found |= properties
    return found


def number(properties: dict[str, str], name: str, default: float | None = None) -> float:
    """A finite number. Raises ValueError if it is missing without a default, or is none."""
    text = properties.get(name)
    if text is None and default is not None:
        return default
    try:
        value = float(text or "")
    except ValueError:
        value = float("nan")
    if not -1e30 < value < 1e30:
        raise ValueError(f"{name} of its depth map is {text or 'missing'}")
    return value
