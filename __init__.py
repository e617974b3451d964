"""MagicBokeh for ComfyUI: depth of field, from a photo and its disparity."""

import inspect
import logging
import re
import sys
from pathlib import Path

from packaging.version import InvalidVersion, Version  # transformers has brought it to every ComfyUI

FLOOR = Version("0.3.64")
HERE = Path(__file__).parent

try:
    from comfyui_version import __version__ as host_version
except ImportError:
    host_version = "0"


def is_too_old(version: str) -> bool:
    """Of a version in whatever form; one that names no numbers is taken to be new."""
    try:
        return Version(version) < FLOOR
    except InvalidVersion:  # as `git describe` gives it, or a fork
        numbers = re.match(r"v?(\d+(\.\d+)*)", version)
        return numbers is not None and Version(numbers[1]) < FLOOR


def other_copy() -> Path | None:
    """Folder of another copy of this pack, if its nodes are loaded already."""
    loaded = getattr(sys.modules.get("nodes"), "NODE_CLASS_MAPPINGS", {}).get("MagicBokehDemoPhoto")
    folder = loaded and Path(inspect.getfile(loaded)).parents[1]
    return None if folder == HERE else folder


def hide_blueprints() -> None:
    """ComfyUI offers the blueprints of every folder in custom_nodes, with or without nodes; not those of this one then."""
    from server import PromptServer

    manager = getattr(PromptServer.instance, "subgraph_manager", None)
    if manager is None:  # as in ComfyUI 0.3.64
        return
    find = manager.get_custom_node_subgraphs

    async def find_others(*arguments, **options):
        found = await find(*arguments, **options)
        return {key: entry for key, entry in found.items() if Path(entry["path"]).parents[1] != HERE}

    manager.get_custom_node_subgraphs = find_others


if is_too_old(host_version):
    logging.error(f"MagicBokeh needs ComfyUI {FLOOR} or newer, this is {host_version}: update ComfyUI to use it.")
    NODE_CLASS_MAPPINGS = {}
elif other := other_copy():
    logging.warning(f"MagicBokeh is installed twice: {other} is used, {HERE} is not. Delete one of these folders.")
    hide_blueprints()
    NODE_CLASS_MAPPINGS = {}
else:
    WEB_DIRECTORY = "./web"
    if not re.fullmatch(r"[A-Za-z0-9._~!$&'()*+,;=:@-]+", HERE.name):  # what an address holds as it is (RFC 3986)
        logging.warning(
            f"MagicBokeh is in a folder named {HERE.name!r}, out of which ComfyUI serves no pages, so click to focus and help are "
            "missing: rename the folder, for example to magicbokeh."
        )

    async def comfy_entrypoint():
        from server import PromptServer

        from .nodes import MagicBokehExtension
        from .nodes.links import note_used_outputs

        PromptServer.instance.add_on_prompt_handler(note_used_outputs)
        return MagicBokehExtension()
