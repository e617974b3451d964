"""A stand-in for ComfyUI, in which node code runs without one: on the CPU, in fp32, with room for everything.

Importing this puts small modules named like ComfyUI's own in their place and loads the pack as `pack`, the way ComfyUI does, but for
its `__init__.py`. `nodes` are then the node classes, `ops` is the copy of `magicbokeh_ops` that they use (not the one that tests
import by that name), and `run` executes a node. What a node asks for and gets here is as plain as it can be; whether it fits the
real thing is the business of `tests/host`.
"""

import importlib
import mimetypes
import os
import sys
import tempfile
from io import BytesIO
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

ROOT = Path(__file__).resolve().parents[2]
CPU = torch.device("cpu")


# comfy_api.latest


class Socket:
    """An input or output: its id, and as attributes what else it was made with."""

    io_type = ""
    optional, default, options = False, None, None

    def __init__(self, id: str | None = None, **given):
        self.id = id
        vars(self).update(given)


def kind(io_type: str) -> type:
    """A type of socket, such as `io.Image`."""
    parts = {name: type(name, (Socket,), {"io_type": io_type}) for name in ("Input", "Output")}
    return type(io_type, (), {"io_type": io_type, **parts})


class MultiInput(Socket):
    @property
    def io_type(self) -> str:
        return ",".join(one.io_type for one in self.types)


class Schema:
    def __init__(self, node_id: str, inputs: list[Socket], outputs: list[Socket], **given):
        self.node_id, self.inputs, self.outputs = node_id, inputs, outputs
        vars(self).update(given)


class NodeOutput:
    def __init__(self, *args: Any, ui: Any = None):
        self.args, self.ui = args, ui


class ComfyNode:
    hidden = SimpleNamespace(unique_id=None, prompt=None, extra_pnginfo=None)


class PreviewImage:
    """Pictures for the page, turned to 8 bits as they are when ComfyUI writes them."""

    def __init__(self, image: Tensor, animated: bool = False, cls: type | None = None):
        self.pictures = [np.clip(255.0 * picture.cpu().numpy(), 0, 255).astype(np.uint8) for picture in image]

    def as_dict(self) -> dict:
        return {"images": self.pictures}


class PreviewMask(PreviewImage):
    def __init__(self, mask: Tensor, animated: bool = False, cls: type | None = None):
        super().__init__(mask.reshape(-1, 1, *mask.shape[-2:]).movedim(1, -1).expand(-1, -1, -1, 3), animated, cls)


io = SimpleNamespace(
    **{name: kind(name.upper()) for name in ("Image", "Mask", "Latent", "Vae", "Int", "Float", "Boolean", "String", "Combo")},
    BoundingBox=kind("BOUNDING_BOX"),
    MultiType=SimpleNamespace(Input=MultiInput),
    Custom=kind,
    UploadType=SimpleNamespace(image="image_upload"),
    Hidden=SimpleNamespace(prompt="PROMPT", unique_id="UNIQUE_ID"),
    Schema=Schema,
    NodeOutput=NodeOutput,
    ComfyNode=ComfyNode,
)


# comfy


class InterruptProcessingException(Exception):  # noqa: N818, as ComfyUI calls it
    pass


def throw_exception_if_processing_interrupted() -> None:
    if model_management.interrupted:
        model_management.interrupted = False
        raise InterruptProcessingException


model_management = SimpleNamespace(
    interrupted=False,
    InterruptProcessingException=InterruptProcessingException,
    throw_exception_if_processing_interrupted=throw_exception_if_processing_interrupted,
    OOM_EXCEPTION=torch.OutOfMemoryError,
    is_oom=lambda error: isinstance(error, torch.OutOfMemoryError),
    get_torch_device=lambda: CPU,
    unet_offload_device=lambda: CPU,
    intermediate_device=lambda: CPU,
    intermediate_dtype=lambda: torch.float32,
    is_device_cpu=lambda device: device.type == "cpu",
    get_total_memory=lambda _device=None: 16 * 2**30,
    get_free_memory=lambda _device=None: 12 * 2**30,
    free_memory=lambda _bytes, _device: None,
    unload_all_models=lambda: None,
    soft_empty_cache=lambda: None,
    load_models_gpu=lambda _models, _memory_required=0, **_options: None,
    unet_dtype=lambda _device, _parameters, _supported: torch.float32,
    unet_manual_cast=lambda _stored, _device, _supported: None,
)


class ModelPatcher:
    def __init__(self, model: nn.Module, load_device: torch.device, offload_device: torch.device):
        self.model, self.load_device, self.offload_device = model, load_device, offload_device


class ProgressBar:
    """Keeps the last value and preview, which is saved as ComfyUI does when it sends it."""

    def __init__(self, total: int):
        self.total, self.current, self.preview = total, 0, None

    def update_absolute(self, value: int, total: int | None = None, preview: Any = None) -> None:
        self.current, self.preview = value, preview
        if preview is not None:
            preview[1].save(BytesIO(), format=preview[0])


def optimized_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, mask=None, attn_precision=None, **_options) -> Tensor:
    q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (q, k, v))
    return F.scaled_dot_product_attention(q, k, v, mask).transpose(1, 2).flatten(2)


class FirstStage(nn.Module):
    """Stable Diffusion's VAE of a state dict under diffusers' names."""

    def __init__(self, tensors: dict[str, Tensor], sizes: dict):
        from diffusers import AutoencoderKL

        super().__init__()
        channels = tuple(sizes["ch"] * factor for factor in sizes["ch_mult"])
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * len(channels),
            up_block_types=("UpDecoderBlock2D",) * len(channels),
            block_out_channels=channels,
            layers_per_block=sizes["num_res_blocks"],
            latent_channels=sizes["z_channels"],
        )
        vae.load_state_dict(tensors)
        self.encoder, self.quant_conv = vae.encoder, vae.quant_conv
        self.decoder, self.post_quant_conv = vae.decoder, vae.post_quant_conv

    def encode(self, x: Tensor) -> Tensor:
        return self.quant_conv(self.encoder(x)).chunk(2, 1)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self.decoder(self.post_quant_conv(z))


class VAE:
    """Encodes and decodes one picture after the other, (B, H, W, 3) in [0, 1], and cuts off what is no whole cell."""

    def __init__(self, sd: dict[str, Tensor], config: dict | None = None, dtype: torch.dtype | None = None):
        if "pixel_space_vae" in sd:
            self.first_stage_model, self.latent_channels, ratio = nn.Module(), 3, 1
        else:
            sizes = config["params"]["ddconfig"]
            self.first_stage_model, self.latent_channels = (
                FirstStage(sd, sizes).eval().requires_grad_(False),
                sizes["z_channels"],
            )
            ratio = 2 ** (len(sizes["ch_mult"]) - 1)
        self.downscale_ratio = self.upscale_ratio = ratio
        self.device, self.vae_dtype = CPU, torch.float32
        self.latent_dim, self.disable_offload = 2, False
        self.process_input = lambda pictures: 2 * pictures - 1
        self.process_output = lambda pictures: ((pictures + 1) / 2).clamp(0, 1)
        self.patcher = ModelPatcher(self.first_stage_model, CPU, CPU)
        self.memory_used_encode = lambda shape, dtype: 1767 * shape[2] * shape[3] * dtype.itemsize
        self.memory_used_decode = lambda shape, dtype: 2178 * shape[2] * shape[3] * 64 * dtype.itemsize

    def encode(self, pixels: Tensor) -> Tensor:
        height, width = (n // self.downscale_ratio * self.downscale_ratio for n in pixels.shape[1:3])
        pixels = 2 * pixels[:, :height, :width].movedim(-1, 1).float() - 1
        return torch.cat([self.first_stage_model.encode(one) for one in pixels.split(1)])

    def decode(self, latent: Tensor) -> Tensor:
        pictures = torch.cat([self.first_stage_model.decode(one) for one in latent.float().split(1)])
        return ((pictures + 1) / 2).clamp(0, 1).movedim(1, -1)


class SD15:
    scale_factor, taesd_decoder_name = 0.18215, "taesd_decoder"
    latent_rgb_factors = [[0.35, 0.23, 0.32], [0.33, 0.50, 0.24], [-0.28, 0.18, 0.27], [-0.21, -0.26, -0.72]]


class Latent2RGBPreviewer:
    def __init__(self, factors: list[list[float]]):
        self.factors = torch.tensor(factors)

    def decode_latent_to_preview(self, latent: Tensor) -> Image.Image:
        picture = latent[0].movedim(0, -1) @ self.factors
        return Image.fromarray(((picture + 1) / 2).clamp(0, 1).mul(255).byte().numpy())


# folder_paths, over folders of its own


class Folders:
    def __init__(self, base: Path):
        self.base_path, self.models_dir = str(base), str(base / "models")
        self.folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
        self.filename_list_cache: dict[str, tuple[list[str], dict[str, float], float]] = {}
        for name in ("checkpoints", "diffusers"):
            self.add_model_folder_path(name, os.path.join(self.models_dir, name))
        self.folder_names_and_paths["diffusers"][1].add("folder")  # an ending that no file has

    def get_input_directory(self) -> str:
        return os.path.join(self.base_path, "input")

    def get_annotated_filepath(self, name: str) -> str:
        return os.path.join(self.get_input_directory(), name)

    def exists_annotated_filepath(self, name: str) -> bool:
        return os.path.isfile(self.get_annotated_filepath(name))

    def filter_files_content_types(self, files: list[str], content_types: list[str]) -> list[str]:
        kinds = tuple(f"{kind}/" for kind in content_types)
        return [file for file in files if (mimetypes.guess_type(file)[0] or "").startswith(kinds)]

    def get_output_directory(self) -> str:
        return os.path.join(self.base_path, "output")

    def get_temp_directory(self) -> str:
        return os.path.join(self.base_path, "temp")

    def add_model_folder_path(self, name: str, path: str) -> None:
        paths, _ = self.folder_names_and_paths.setdefault(name, ([], set()))
        if path not in paths:
            paths.append(path)

    def get_folder_paths(self, name: str) -> list[str]:
        return list(self.folder_names_and_paths[name][0])

    def get_filename_list(self, name: str) -> list[str]:
        """Files of the folder's kinds, and in `filename_list_cache` all folders with their times: walked anew when one has changed."""
        paths, endings = self.folder_names_and_paths[name]
        _, known, _ = self.filename_list_cache.get(name, ([], {}, 0.0))
        same = set(filter(os.path.isdir, paths)) <= known.keys() and all(
            os.path.getmtime(path) == known[path] for path in known
        )
        if name not in self.filename_list_cache or not same:
            walked = [(path, *step) for path in paths for step in os.walk(path, followlinks=True)]
            folders = {folder: os.path.getmtime(folder) for _, folder, _, _ in walked}
            found = {os.path.relpath(os.path.join(folder, file), path) for path, folder, _, files in walked for file in files}
            kept = sorted(file for file in found if not endings or os.path.splitext(file)[1].lower() in endings)
            self.filename_list_cache[name] = kept, folders, 0.0
        return list(self.filename_list_cache[name][0])

    def get_full_path(self, name: str, file: str) -> str | None:
        paths = [os.path.join(path, file) for path in self.get_folder_paths(name)]
        return next(filter(os.path.isfile, paths), None)

    def get_full_path_or_raise(self, name: str, file: str) -> str:
        path = self.get_full_path(name, file)
        if path is None:
            raise FileNotFoundError(f"Model in folder '{name}' with filename '{file}' not found.")
        return path


_base = tempfile.TemporaryDirectory(prefix="stand_in_host_")  # deleted when this process ends
folder_paths = Folders(Path(_base.name))


def _put(name: str, content: dict[str, Any] | None = None) -> None:
    """A module in Python's list, and in its parent's names."""
    module = sys.modules[name] = ModuleType(name)
    vars(module).update({"__path__": []} if content is None else content)
    parent, _, last = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], last, module)


for _name in ("comfy", "comfy.ldm", "comfy.ldm.modules", "comfy_api"):
    _put(_name)
_put(
    "comfy_api.latest",
    {"io": io, "ui": SimpleNamespace(PreviewImage=PreviewImage, PreviewMask=PreviewMask), "ComfyExtension": object},
)
_put("comfy.model_patcher", {"ModelPatcher": ModelPatcher, "CoreModelPatcher": ModelPatcher})
_put("comfy.ops", {"pick_operations": lambda *_dtypes, **_options: nn})
_put("comfy.sd", {"VAE": VAE})
_put("comfy.utils", {"ProgressBar": ProgressBar})
_put("comfy.latent_formats", {"SD15": SD15})
_put("comfy.ldm.modules.attention", {"optimized_attention": optimized_attention})
_put("latent_preview", {"get_previewer": lambda _device, _format: None, "Latent2RGBPreviewer": Latent2RGBPreviewer})
# As objects with these attributes, so that tests can change them for a while.
for _name, _object in (("comfy.model_management", model_management), ("folder_paths", folder_paths)):
    sys.modules[_name] = _object  # type: ignore[assignment]
sys.modules["comfy"].model_management = model_management  # type: ignore[attr-defined]

_put("nodes", {"NODE_CLASS_MAPPINGS": {}})
_put("pack", {"__path__": [str(ROOT)]})
nodes = importlib.import_module("pack.nodes")
ops = importlib.import_module("pack.magicbokeh_ops")


def defaults(node: type) -> dict[str, Any]:
    """What the widgets of a node hold at first. A list's first choice where it names no default."""
    inputs = node.define_schema().inputs
    return {
        one.id: one.options[0] if one.default is None else one.default
        for one in inputs
        if one.default is not None or one.options
    }


def execute(node: type, **inputs) -> NodeOutput:
    """What a node gives, as `args` and `ui`. Its widgets hold their defaults where `inputs` does not say otherwise."""
    with torch.inference_mode():
        return node.execute(**{**defaults(node), **inputs})


def run(node: type, **inputs) -> tuple:
    """The outputs alone."""
    return execute(node, **inputs).args
