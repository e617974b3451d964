"""Graphs of this pack's nodes as people wire them: chains of what each makes, and now and then something that does not belong there.

A graph is plain data, so that it can be printed and run again: a list of steps, each with the class of a node, its widgets, and for
each socket [step, output], the name of a model, or the description of a tensor (see `build`) or of a geometry.
"""

import math
from typing import Any

import torch
from hypothesis import strategies as st
from torch import Tensor

from tests.support.layouts import SAME_VALUES

FRAMES = [1, 1, 1, 2, 3]
MOST_PIXELS = 40_000  # of all frames of a picture; now and then LARGE
LARGE = 600_000

# Sockets that carry pictures, maps and numbers; outputs of each node, in order.
SOCKETS = {
    "DisparityFrom": {"depth": "grey", "image": "image"},
    "FindDisparity": {"image": "image"},
    "SteadyDisparity": {"disparity": "map", "image": "image"},
    "DisparityTouchUp": {"disparity": "map", "mask": "mask", "image": "image"},
    "DisparityByHand": {"image": "image", "things": "mask", "things_2": "mask", "things_3": "mask", "things_4": "mask"},
    "Camera": {"depth": "grey", "image": "image"},
    "DefocusMap": {"disparity": "map", "image": "image", "focus_mask": "mask"},
    "FocusMask": {"defocus": "map"},
    "FocusTrack": {"disparity": "map", "image": "image", "subject_mask": "mask"},
    "MatteFromDisparity": {"image": "image", "disparity": "map", "mask": "mask"},
    "LensBlur": {"image": "image", "disparity": "map"},
    "Sweep": {"image": "image", "disparity": "map"},
    "MaskedAttention": {"model": "model", "focus_mask": "mask"},
    "Sampler": {"model": "model", "image": "image", "defocus": "map"},
}
OUTPUTS = {
    "DisparityFrom": ["map"],
    "FindDisparity": ["map"],
    "SteadyDisparity": ["map"],
    "DisparityTouchUp": ["map"],
    "DisparityByHand": ["map"],
    "Camera": ["map", "number", "number"],
    "DefocusMap": ["map", "number", "image", "number"],
    "FocusMask": ["mask"],
    "FocusTrack": ["number", "number", "image"],
    "MatteFromDisparity": ["mask"],
    "LensBlur": ["image"],
    "Sweep": ["image"],
    "MaskedAttention": ["model"],
    "Sampler": ["image"],
}
NODES = [
    "DisparityFrom",
    "SteadyDisparity",
    "DisparityTouchUp",
    "DisparityByHand",
    "Camera",
    "DefocusMap",
    "FocusMask",
    "FocusTrack",
    "MatteFromDisparity",
    "LensBlur",
    "LensBlur",
    "Sweep",
    "MaskedAttention",
    "Sampler",
    "FindDisparity",
]
FITS = {"map": ("map", "mask"), "mask": ("mask", "map"), "grey": ("map",), "image": ("image",), "model": ("model",)}
LINKED = {"focus": "number", "k": "number"}  # widgets that are often links

# Widgets whose whole range takes too long for thousands of graphs: ends are drawn, but rarely.
USUAL = {
    "frames": (2, 5),
    "edge": (0, 9),
    "input_size": (140, 300),
    "k": (0.0, 60.0),
    "k_from": (0.0, 60.0),
    "k_to": (0.0, 60.0),
    "upscale": (1.0, 2.0),
    "point_frame": (0, 3),
}
FULL_RANGE_PIXELS = 3_000  # of a picture that is small enough for the ends of these


def build(spec: dict[str, Any]) -> Tensor:
    """The tensor of a description."""
    shape = spec["shape"]
    generator = torch.Generator().manual_seed(spec["seed"])
    width = 2 if len(shape) > 3 else len(shape) - 1
    across = torch.linspace(0, 1, shape[width]).view([-1 if axis == width else 1 for axis in range(len(shape))])
    values = {
        "noise": lambda: torch.rand(shape, generator=generator),
        "ramp": lambda: across.expand(shape),
        "step": lambda: (across > 0.4).float().expand(shape),
        "constant": lambda: torch.full(shape, 0.5),
        "lights": lambda: (torch.rand(shape, generator=generator) > 0.97).float(),
    }[spec["fill"]]()
    if spec["grey"] and len(shape) == 4:
        values = values[..., :1].expand(shape)
    low, high = spec["range"]
    values = low + (high - low) * values.double()
    if spec["hole"] is not None and values.numel():
        values.view(-1)[:: max(1, values.numel() // 7)] = spec["hole"]
    dtype = getattr(torch, spec["dtype"])
    if not dtype.is_floating_point and dtype != torch.bool:
        values = (255 * values).nan_to_num().clamp(0, 255)
    values = (values > 0.5) if dtype == torch.bool else values.to(dtype)
    layout = SAME_VALUES.get(spec["layout"], lambda x: x)
    return layout(values.movedim(-1, 1)).movedim(1, -1) if len(shape) == 4 else layout(values)


@st.composite
def sizes(draw) -> list[int]:
    """Height and width."""
    side = st.one_of(st.sampled_from([1, 2, 3, 5, 8, 9, 16, 17, 33, 64]), st.integers(1, 100))
    return draw(
        st.one_of(
            st.tuples(side, side),
            st.tuples(st.integers(64, 130), st.integers(64, 130)),  # large enough for the model
            st.tuples(st.integers(64, 130), st.integers(64, 130)),
            st.sampled_from([(1, 3000), (3000, 1), (2, 1501), (1200, 3), (64, 900), (700, 65), (1, 1)]),
            st.integers(0, 9).flatmap(lambda n: st.just((601, 803)) if n == 0 else st.tuples(side, side)),
        ).map(list)
    )


def chance(draw, percent: int) -> bool:
    return draw(st.integers(0, 99)) >= 100 - percent  # 0, which shrinks are drawn to, is the usual


@st.composite
def tensors(draw, kind: str, size: list[int], frames: int) -> dict[str, Any]:
    """A description for a socket: what belongs there, unless there is something wrong with it."""
    plain = not chance(draw, 15)
    if chance(draw, 6):
        size = draw(sizes())
    elif chance(draw, 15):
        size = [max(1, n // 2) for n in size]
    if chance(draw, 5):
        frames = draw(st.sampled_from([1, 2, 3]))
    frames = max(1, min(frames, LARGE // math.prod(size)))
    shape = [frames, *size]
    if kind in ("image", "grey"):
        shape.append(draw(st.sampled_from([3, 3, 3, 4])))
    if kind == "grey" and draw(st.booleans()):
        shape.pop()
    if not plain and chance(draw, 40):
        other = [
            shape[1:],
            [*shape, 1],
            [0, *shape[1:]],
            [1, *shape],
            shape[:3],
            [*shape[:3], 3],
            [*shape[:3], 1],
            [*shape[:3], 2],
            [*shape[:3], 5],
        ]
        shape = draw(st.sampled_from(other))
    fills = ["noise", "ramp", "step", "lights"] if kind == "image" else ["ramp", "step", "noise"]
    spec = {
        "shape": shape,
        "fill": draw(st.sampled_from(fills)),
        "grey": kind == "grey" and not chance(draw, 4),
        "range": [0.0, 1.0],
        "hole": None,
        "dtype": "float32",
        "layout": draw(st.sampled_from(["plain", "plain", *SAME_VALUES])),
        "seed": draw(st.integers(0, 99)),
    }
    if plain:
        return spec
    spec["range"] = draw(
        st.sampled_from(
            [[0.0, 1.0], [0.0, 1.0], [0.3, 0.3], [0.0, 0.0], [1.0, 1.0], [0.0, 255.0], [0.0, 30.0], [0.0, 1e4], [-1.0, 2.0],
             [0.0, 1e-6], [0.2, 0.20001], [0.0, 1e30], [-0.0005, 1.0005], [-5.0, -1.0], [0.0, 65504.0]]
        )
    )  # fmt: skip
    spec["hole"] = draw(st.sampled_from([None, None, None, math.nan, math.inf, -math.inf, 30.0, -1.0]))
    spec["dtype"] = draw(st.sampled_from(["float32", "float16", "bfloat16", "float64", "uint8", "bool", "int64", "int16"]))
    return spec


def has_choices(one: Any) -> bool:
    return bool(getattr(one, "options", None))


@st.composite
def widget(draw, one: Any, small: bool) -> Any:
    """A value of an input that has a default or choices."""
    if has_choices(one):
        return "no such thing" if chance(draw, 2) else draw(st.sampled_from(one.options))
    if isinstance(one.default, bool):
        return draw(st.booleans())
    if isinstance(one.default, str):
        return one.default
    low, high = one.min, one.max
    if one.id in USUAL and not (small and chance(draw, 1 if one.id == "input_size" else 10)):
        low, high = USUAL[one.id]
    if chance(draw, 50):
        return one.default if low <= one.default <= high else low
    number = st.integers(low, high) if isinstance(one.default, int) else st.floats(low, high, allow_subnormal=False)
    return draw(st.one_of(st.just(low), st.just(high), number))


@st.composite
def graphs(draw, nodes: Any, most_pixels: int = LARGE) -> list[dict[str, Any]]:
    """nodes: the pack's module of them, whose schemas say what widgets can hold."""
    size, frames = draw(sizes()), draw(st.sampled_from(FRAMES))
    usual = most_pixels if chance(draw, 3) else min(MOST_PIXELS, most_pixels)
    if math.prod(size) > usual:
        size = [max(1, round(n * (usual / math.prod(size)) ** 0.5)) for n in size]
    frames = max(1, min(frames, usual // math.prod(size)))
    steps: list[dict[str, Any]] = []
    made: dict[str, list[list[int]]] = {"image": [], "map": [], "mask": [], "model": [], "number": []}
    for number in range(draw(st.integers(1, 5))):
        name = draw(st.sampled_from(NODES))
        refuses = {"Sampler": min(size) < 64, "FindDisparity": max(size) > 20 * min(size)}
        if refuses.get(name) and not chance(draw, 10):
            name = "LensBlur"
        inputs: dict[str, Any] = {}
        widgets: dict[str, Any] = {}
        for one in getattr(nodes, name).define_schema().inputs:
            kind = SOCKETS[name].get(one.id)
            if kind is not None:
                if one.optional and chance(draw, 25):
                    continue
                wanted = draw(st.sampled_from(["image", "map"])) if kind != "model" and chance(draw, 2) else kind
                found = [link for fitting in FITS[wanted] for link in made[fitting]]
                if found and not chance(draw, 20):
                    inputs[one.id] = draw(st.sampled_from(found))
                elif kind == "model":
                    inputs[one.id] = draw(st.sampled_from(["nano", "nano", "tiny"]))
                elif kind == "grey" and chance(draw, 10):
                    maps = [draw(tensors("map", size, frames)) for _ in range(2)]
                    inputs[one.id] = {"depth": maps[0]} if draw(st.booleans()) else {"depth": maps[0], "sky": maps[1]}
                else:
                    inputs[one.id] = draw(tensors(wanted, size, frames))
            elif one.id == "keys":
                keys = ["", "", "0: 0.5", "0: 0.2, 1: (0.3, 0.6) k 9 ease", "0: k 5", "0: 2", "7: 0.5", "near"]
                widgets[one.id] = draw(st.sampled_from(keys))
            elif one.id in ("focus_box", "boxes"):
                side = st.integers(-9, max(size))
                boxes = [{"x": draw(side), "y": draw(side), "width": draw(st.integers(0, 99)), "height": draw(side)}]
                inputs[one.id] = draw(st.sampled_from([boxes[0], boxes, [boxes], [], [[]], [[], boxes]]))
            elif has_choices(one) or getattr(one, "default", None) is not None:
                if one.id in LINKED and made["number"] and draw(st.booleans()):
                    inputs[one.id] = draw(st.sampled_from(made["number"]))
                elif one.id in LINKED and chance(draw, 2):  # a link from elsewhere, which the host does not check
                    widgets[one.id] = draw(st.sampled_from([-1.0, 1.5, 1e6, math.nan, math.inf]))
                else:
                    widgets[one.id] = draw(widget(one, math.prod(size) * frames <= FULL_RANGE_PIXELS))
        steps.append({"node": name, "inputs": inputs, "widgets": widgets})
        for output, kind in enumerate(OUTPUTS[name]):
            made[kind].append([number, output])
    return steps
