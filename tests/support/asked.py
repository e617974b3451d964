"""How often a program waits for what a device has found: each time, the device runs out of work.

mode = Asked()
with mode as device:
    work(picture.to(device))
assert len(mode.reads) <= 10
"""

from .fake_device import DEVICE, FakeDevice, OnDevice


class Asked(FakeDevice):
    """reads: names of the operations that waited."""

    def __init__(self):
        super().__init__("mps")
        self.reads: list[str] = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        name = operation.name().removeprefix("aten::").partition(".")[0]
        result = super().__torch_dispatch__(operation, types, args, kwargs)
        from_here = any(isinstance(one, OnDevice) for one in args)
        if from_here and (name in ("_local_scalar_dense", "nonzero") or (name == "_to_copy" and result.device != DEVICE)):
            self.reads.append(name)
        return result
