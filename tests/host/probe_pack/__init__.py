"""Test nodes: inputs of every awkward kind, and a probe that reports what came out."""

import json

import torch


def ramp(frames=1, height=48, width=64):
    return torch.linspace(0, 1, width).expand(frames, height, width).clone()


def noise(frames=1, height=48, width=64, channels=3):
    return torch.rand(frames, height, width, channels, generator=torch.Generator().manual_seed(0))


IMAGES = {
    "photo": noise,
    "batch of 3": lambda: noise(3),
    "rgba": lambda: noise(channels=4),
    "half": lambda: noise().half(),
    "odd": lambda: noise(1, 37, 53),
    "12 megapixels": lambda: noise(1, 30, 40).repeat(1, 100, 100, 1),
    "grey depth": lambda: ramp()[..., None].expand(-1, -1, -1, 3),
    "with NaN": lambda: noise().index_fill(1, torch.tensor([3]), float("nan")),
    "one channel": lambda: noise(channels=1),
}
MASKS = {
    "ramp": ramp,
    "batch of 2": lambda: ramp(2),
    "batch of 3": lambda: ramp(3),
    "small": lambda: ramp(1, 12, 16),
    "two-dimensional": lambda: ramp()[0],
    "half": lambda: ramp().half(),
    "empty 64": lambda: torch.zeros(1, 64, 64),
    "left half": lambda: (ramp() < 0.5).float(),
    "with NaN": lambda: ramp().index_fill(1, torch.tensor([3]), float("nan")),
    "metres": lambda: 1 + 9 * ramp(),
    "blocks": lambda: noise(1, 3, 4)[..., 0].repeat_interleave(1000, 1).repeat_interleave(1000, 2),
}
DEPTH = 1 / (0.1 + ramp())


class TestImage:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (list(IMAGES),)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "test"

    def make(self, kind):
        return (IMAGES[kind](),)


class TestMask:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (list(MASKS),)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MASK",), "make", "test"

    def make(self, kind):
        return (MASKS[kind](),)


class TestGeometry:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"far_is": (["infinite", "sky", "missing"],)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("DA3_GEOMETRY", "MOGE_GEOMETRY"), "make", "test"

    def make(self, far_is):
        far = ramp() < 0.25
        return (
            {"depth": DEPTH, "sky": far.float()} if far_is == "sky" else {"image": noise()},
            {"depth": DEPTH.masked_fill(far, float("inf"))} if far_is == "infinite" else {"image": noise()},
        )


class TestProbe:
    INPUT_TYPES = classmethod(
        lambda cls: {"optional": {"image": ("IMAGE",), "mask": ("MASK",), "number": ("FLOAT", {"forceInput": True})}}
    )
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "report", "test", True

    def report(self, image=None, mask=None, number=None):
        values = image if image is not None else mask
        found = {"number": number}
        if values is not None:
            found = {
                "shape": list(values.shape),
                "dtype": str(values.dtype),
                "low": float(values.min()),
                "high": float(values.max()),
                "row": values[0, len(values[0]) // 2].float().flatten().tolist()[:200],
                "contiguous": values.is_contiguous(),
            }
        return {"ui": {"found": [json.dumps(found)]}}


NODE_CLASS_MAPPINGS = {cls.__name__: cls for cls in (TestImage, TestMask, TestGeometry, TestProbe)}
