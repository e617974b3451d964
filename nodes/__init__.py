"""The nodes: sockets, widgets and the host's devices around `magicbokeh_ops`."""

from comfy_api.latest import ComfyExtension, io

from .demo import DemoPhoto
from .disparity import DisparityFrom
from .focus import DefocusMap, FocusMask
from .lens import LensBlur, Sweep


class MagicBokehExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [DemoPhoto, DisparityFrom, DefocusMap, FocusMask, LensBlur, Sweep]
