"""Numbers that change from frame to frame, as they come over a FLOAT socket: the one place for what such a socket may bring.

ComfyUI looks at a link's type only, so that one FLOAT link may carry many numbers. Packs for weights and sound hand on a list with
one per frame, also in lists of their own; a table's column; an array or a tensor. All of them become a list here.

ComfyUI's own lists are something else: there a node runs once for every value, each time over the whole clip. A node sees none of
that, so what may come as such a list is told from the prompt.
"""

import math
import sys
from collections.abc import Iterator
from typing import Any


def check_numbers(**numbers: float) -> None:
    """Raise ValueError for what a link may bring, but no widget takes."""
    for name, value in numbers.items():
        if not 0 <= value < math.inf:
            raise ValueError(f"{name} is {value:g}; it is a number of 0 or more.")


def per_frame(value: Any, frames: int, name: str) -> list[float]:
    """A number for each frame of what a FLOAT socket has brought: one for all, or one each.

    Raises ValueError for another count, and for what is no number; a single number is left to those who use it.
    """
    if isinstance(value, int | float):
        return [value] * frames
    numbers = list(_flat(value))
    for i, number in enumerate(numbers):
        if not isinstance(number, int | float) or not math.isfinite(number):
            raise ValueError(f"{name} of frame {i} is {number!r:.40}; it is a number.")
    if len(numbers) not in (1, frames):
        pictures = f"{frames} frame{'s' * (frames != 1)}"
        raise ValueError(f"{name} has {len(numbers)} values for {pictures}; give one for all, or one each.")
    return numbers * (frames // len(numbers))


def _flat(value: Any) -> Iterator[Any]:
    """What is in lists in lists, arrays, tensors and columns of tables."""
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


def refuse_lists(hidden: Any, frames: int, *names: str) -> None:
    """Raise ValueError where one of ComfyUI's own lists would make a whole clip of every value of an input.

    hidden: the node's, with `prompt` and `unique_id`. names: of inputs with a value for each frame. Pictures that come as such a list
    are taken with the value beside them, and a single picture is made with one value after the other, as everywhere in ComfyUI.
    """
    prompt = hidden.prompt or {}
    inputs = prompt.get(hidden.unique_id, {"inputs": {}})["inputs"]
    if frames == 1 or _is_list(prompt, inputs.get("image")):
        return
    for name in names:
        if _is_list(prompt, inputs.get(name)):
            raise ValueError(
                f"{name} comes as one of ComfyUI's lists, so that this node would make all {frames} frames anew with each of its values; "
                "connect a node that gives all values at once, such as Video Focus Track."
            )


def _is_list(prompt: dict[str, Any], link: Any) -> bool:
    """Whether what is linked here makes a node run several times: an output that is a list, or anything that a node makes of one."""
    kinds = sys.modules["nodes"].NODE_CLASS_MAPPINGS
    links, seen = [link], set()
    while links:
        link = links.pop()
        if not isinstance(link, list) or len(link) != 2 or link[0] not in prompt or tuple(link) in seen:
            continue
        seen.add(tuple(link))
        key, slot = link
        kind = kinds.get(prompt[key]["class_type"])
        if list(getattr(kind, "OUTPUT_IS_LIST", None) or [])[slot : slot + 1] == [True]:
            return True
        if not getattr(kind, "INPUT_IS_LIST", False):
            links += prompt[key]["inputs"].values()
    return False
