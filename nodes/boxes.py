"""Boxes of detectors, as ComfyUI and other packs give them."""

from typing import Any

Box = tuple[float, float, float, float]


def first_box(boxes: Any) -> Any:
    """The first box of one, a list of them, or a list for each frame; None if there is none."""
    if isinstance(boxes, list | tuple):
        return next((box for box in map(first_box, boxes) if box is not None), None)
    return None if hasattr(boxes, "__len__") and not len(boxes) else boxes


def edges_of(box: Any, name: str, height: int, width: int) -> Box:
    """Left, top, right and bottom in 0..1 of a box in pixels of a photo. Raises ValueError for what is none."""
    try:
        x, y, across, down = (float(dict(box)[side]) for side in ("x", "y", "width", "height"))
    except (KeyError, TypeError, ValueError):
        raise ValueError(f"{name} has {box!r:.80}; a box is x, y, width and height by name, as detectors give it.") from None
    (left, right), (top, bottom) = sorted((x / width, (x + across) / width)), sorted((y / height, (y + down) / height))
    return left, top, right, bottom
