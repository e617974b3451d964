"""Keys of a focus pull as readable text: `0: 0.82, 24: 0.31 ease, 48: (0.4, 0.5) k 12`.

A key is a frame, a colon, and what holds there: a disparity, or a point whose disparity it is, `k` and a blur radius, or both; after that
how the move towards it starts and stops. Frames count from 0. Before the first key and after the last its values hold.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

from .sweep import eased

MOVES = {
    "linear": "linear",
    "ease": "ease in and out",
    "ease in and out": "ease in and out",
    "ease in": "ease in",
    "ease out": "ease out",
    "hold": "hold",
}
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?"
_KEY = re.compile(
    rf"(?P<frame>\d+)\s*:\s*"
    rf"(?:(?P<value>{_NUMBER})|\(\s*(?P<x>{_NUMBER})\s*,\s*(?P<y>{_NUMBER})\s*\))?\s*"
    rf"(?:k\s*(?P<k>{_NUMBER}))?\s*"
    rf"(?P<move>[a-z ]*)"
)


@dataclass(frozen=True)
class Key:
    """What holds at a frame, each None where nothing is said of it.

    focus: disparity in 0..1. point: 0..1 from the left and the top, in place of a focus. k: blur radius in pixels.
    move: one of `sweep.EASINGS` or "hold", of the move from the key before.
    """

    frame: int
    focus: float | None = None
    point: tuple[float, float] | None = None
    k: float | None = None
    move: str = "linear"


def read_keys(text: str) -> list[Key]:
    """The keys of a text in the order of their frames, divided by commas, semicolons or lines.

    Raises ValueError for what is no key, two keys at one frame, values outside 0..1 and a k below 0.
    """
    keys: dict[int, Key] = {}
    for part in re.split(r"[;\n]|,(?![^(]*\))", text):
        if part.strip():
            key = _read(part.strip())
            if key.frame in keys:
                raise ValueError(f"keys has two keys at frame {key.frame}; leave one of them out.")
            keys[key.frame] = key
    if not keys:
        raise ValueError("keys is empty; write a frame and its focus, such as 0: 0.82, 24: 0.31 ease.")
    return [keys[frame] for frame in sorted(keys)]


def _read(part: str) -> Key:
    found = _KEY.fullmatch(part.lower())
    move = " ".join(found["move"].split()) if found else ""
    if found is None or move not in ("", *MOVES) or not (found["value"] or found["x"] or found["k"]):
        raise ValueError(
            f"keys has {part!r:.60}, which is no key; write a frame, a colon, a focus in 0..1 or a point (x, y), and if wanted k and its "
            f"radius, and one of {', '.join(MOVES)}: 24: 0.31 k 20 ease."
        )
    focus, x, y, k = (None if found[name] is None else float(found[name]) for name in ("value", "x", "y", "k"))
    for name, value in (("focus", focus), ("x of the point", x), ("y of the point", y)):
        if value is not None and not 0 <= value <= 1:
            raise ValueError(f"keys has {part!r:.60}, whose {name} is {value:g}; it goes from 0 to 1.")
    if k is not None and k < 0:
        raise ValueError(f"keys has {part!r:.60}, whose k is {k:g}; a blur radius is 0 or more pixels.")
    point = None if x is None or y is None else (x, y)
    return Key(int(found["frame"]), focus, point, k, MOVES[move or "linear"])


def focus_of(keys: list[Key], frames: int, look: Callable[[int, tuple[float, float]], float]) -> list[float] | None:
    """Disparity in focus for each frame, None if no key says anything of it. look: the disparity at a frame and a point."""
    places = [(key, key.focus if key.point is None else look(key.frame, key.point)) for key in keys]
    return _between([(key.frame, value, key.move) for key, value in places if value is not None], frames)


def k_of(keys: list[Key], frames: int) -> list[float] | None:
    """k for each frame, None if no key says anything of it; it changes by equal ratios, as an aperture does in stops."""
    return _between([(key.frame, key.k, key.move) for key in keys if key.k is not None], frames, by_ratio=True)


def check_frames(keys: list[Key], frames: int) -> None:
    """Raise ValueError for a key after the last frame."""
    if keys[-1].frame >= frames:
        raise ValueError(f"keys has a key at frame {keys[-1].frame}, but the clip's {frames} frames end with {frames - 1}.")


def _between(places: list[tuple[int, float, str]], frames: int, by_ratio: bool = False) -> list[float] | None:
    if not places:
        return None
    values = [places[0][1]] * frames
    for (start, before, _), (end, after, move) in zip(places, [*places[1:], (frames, places[-1][1], "hold")]):
        for frame in range(start, min(end, frames)):
            t = 0.0 if move == "hold" else eased((frame - start) / (end - start), move)
            ratio = by_ratio and before > 0 and after > 0
            values[frame] = before * math.pow(after / before, t) if ratio else before + (after - before) * t
    return values
