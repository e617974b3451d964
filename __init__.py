"""MagicBokeh for ComfyUI: depth of field, from a photo and its disparity."""

import logging

FLOOR = (0, 3, 64)
WEB_DIRECTORY = "./web"

try:
    from comfyui_version import __version__ as host_version
except ImportError:
    host_version = "0"

if tuple(int(part) for part in host_version.split(".")[:3] if part.isdigit()) < FLOOR:
    logging.error(
        f"MagicBokeh needs ComfyUI {'.'.join(map(str, FLOOR))} or newer, this is {host_version}: update ComfyUI to use it."
    )
    NODE_CLASS_MAPPINGS = {}
else:

    async def comfy_entrypoint():
        from .nodes import MagicBokehExtension

        return MagicBokehExtension()
