"""Every contact of the nodes with ComfyUI: schemas across versions, tensors, devices, progress and interrupts."""

import hashlib
import inspect
import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from io import BytesIO
from pathlib import Path

import comfy.latent_formats
import comfy.model_management as mm
import comfy.model_patcher
import comfy.ops
import comfy.sd
import folder_paths
import latent_preview
import torch
import torch.nn.functional as F
from comfy.ldm.modules.attention import optimized_attention
from comfy.utils import ProgressBar
from comfy_api.latest import io
from PIL import Image
from torch import Tensor, nn

from ..magicbokeh_ops import depth, sampler
from ..magicbokeh_ops.checkpoint import SAFE, Weights, check_vae, fold_time, is_patch_codec, vae_from_ldm, vae_sizes
from ..magicbokeh_ops.defocus import resize
from ..magicbokeh_ops.network import Config, ControlNet, UNet
from ..magicbokeh_ops.patch_codec import PATCH, PatchCodec

MODEL_FOLDER, DEPTH_FOLDER = "magicbokeh", "depthanything"  # the second one is where other packs keep the same files
VIEW_SIDE = 1024  # pixels of the photo that the page gets
THUMBNAIL_SIDE = 512  # of pictures while a node runs
PARAMETERS = 971_000_000  # of U-Net and ControlNet at full size, for the host's choice of dtype

# Keyword arguments that ComfyUI 0.3.64 does not know yet; there they are left out.
NEWER = {"advanced", "search_aliases"}


def build(kind: Callable, *args, **kwargs):
    """kind(*args, **kwargs), for `io.Schema` and the inputs, on any ComfyUI from 0.3.64 on."""
    known = inspect.signature(kind).parameters
    return kind(*args, **{key: value for key, value in kwargs.items() if key in known or key not in NEWER})


def schema(**kwargs) -> io.Schema:
    return build(io.Schema, category="image/bokeh", **kwargs)


def fraction(name: str, default: float, tooltip: str, **more):
    """A FLOAT widget for 0..1."""
    limits = {"min": 0.0, "max": 1.0, "step": 0.001, "round": 0.0001}
    return build(io.Float.Input, name, default=default, tooltip=tooltip, **limits, **more)


def blur_radius(name: str, tooltip: str):
    """A FLOAT widget for K, in pixels."""
    return io.Float.Input(name, default=24.0, min=0.0, max=512.0, step=0.5, tooltip=tooltip)


def refine():
    """An INT widget for `refine_edges`."""
    return io.Int.Input(
        "refine",
        default=0,
        min=0,
        max=64,
        tooltip="Moves the soft edges of a depth network's map to where the photo has them: half the width of its ramps, in pixels of "
        "the photo. Try 3 for a photo of 1000 pixels, 10 for one of 4000, if halos show at rims. 0 = off, best for maps that are sharp.",
    )


def image_to_planes(image: Tensor, name: str = "image") -> tuple[Tensor, Tensor | None]:
    """IMAGE (B, H, W, 3 or 4) to (B, 3, H, W) float32, and the alpha channel (B, H, W, 1) if there is one."""
    if image.ndim != 4 or image.shape[-1] not in (3, 4):
        raise ValueError(f"{name} has shape {tuple(image.shape)}; connect an image with 3 or 4 channels.")
    alpha = image[..., 3:] if image.shape[-1] == 4 else None
    return image[..., :3].movedim(-1, 1).float(), alpha


def planes_to_image(planes: Tensor, alpha: Tensor | None = None) -> Tensor:
    """(B, 3, H, W) to IMAGE where and how ComfyUI keeps images between nodes."""
    image = planes.movedim(1, -1)
    if alpha is not None:
        image = torch.cat([image, alpha.to(image).expand(len(image), -1, -1, -1)], -1)
    return _keep(image)


def mask_to_map(mask: Tensor, name: str) -> Tensor:
    """MASK (B, H, W) or (H, W) to (B, 1, H, W) float32."""
    if mask.ndim == 2:
        mask = mask[None]
    if mask.ndim != 3:
        raise ValueError(f"{name} has shape {tuple(mask.shape)}; connect a mask, (batch, height, width).")
    return mask[:, None].float()


def map_to_mask(values: Tensor) -> Tensor:
    """(B, 1, H, W) to MASK where and how ComfyUI keeps masks between nodes."""
    return _keep(values[:, 0])


def _keep(values: Tensor) -> Tensor:
    dtype = mm.intermediate_dtype() if hasattr(mm, "intermediate_dtype") else torch.float32
    return values.to(device=mm.intermediate_device(), dtype=dtype).contiguous()


def save_view(photo: Tensor, disparity: Tensor) -> dict[str, list]:
    """Photo (1, 3, H, W) and disparity (1, 1, H, W) for the page, in the temporary folder: what `web/focus.js` shows.

    Disparity is a picture with its high byte in red and its low byte in green, since browsers read 8 bits of a channel.
    """
    size = photo.shape[-2:]
    shorter = [max(1, round(n * min(1, VIEW_SIDE / max(size)))) for n in size]
    small = (resize(plane.float().cpu(), shorter).clamp(0, 1)[0] for plane in (photo, disparity))
    rgb, near = ((planes * levels).round().int() for planes, levels in zip(small, (255, 65535)))
    near = torch.cat([near // 256, near % 256, torch.zeros_like(near)])
    files = []
    for planes, options in ((rgb, {"format": "JPEG", "quality": 90}), (near, {"format": "PNG", "compress_level": 1})):
        content = BytesIO()
        Image.fromarray(planes.permute(1, 2, 0).byte().numpy()).save(content, **options)
        # Named by what is in it: the same picture is written once, and the page's cache knows a new one.
        name = f"magicbokeh_{hashlib.sha256(content.getvalue()).hexdigest()[:24]}.{options['format'].lower()}"
        folder = Path(folder_paths.get_temp_directory())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content.getvalue())
        files.append({"filename": name, "subfolder": "", "type": "temp"})
    height, width = size
    return {"magicbokeh_photo": files[:1], "magicbokeh_disparity": files[1:], "magicbokeh_size": [width, height]}


def compute_device(memory: int) -> torch.device:
    """The device to work on, with room made for `memory` bytes."""
    device = mm.get_torch_device()
    mm.free_memory(memory, device)
    return device


def to_thumbnail(picture: Tensor) -> Image.Image:
    """A small version of a picture (3, H, W), what is below 0 and above 1 cut off."""
    scale = min(1, THUMBNAIL_SIDE / max(picture.shape[-2:]))
    size = [max(1, round(scale * length)) for length in picture.shape[-2:]]
    small = F.interpolate(picture[None].float(), size=size, mode="area")[0].clamp(0, 1)
    return Image.fromarray((small.movedim(0, -1) * 255).round().byte().cpu().numpy())


class Progress:
    """The node's progress bar over some equal parts; every call is a place where the user can stop the run."""

    def __init__(self, parts: int):
        self.bar = ProgressBar(parts * 100)
        self.part, self.value, self.last_shown = 0, 0, 0.0

    def __call__(self, done: int, steps: int) -> None:
        mm.throw_exception_if_processing_interrupted()
        # Work that starts anew with less at once doesn't take back what was shown.
        self.value = max(self.value, self.part * 100 + 100 * done // steps)
        self.bar.update_absolute(self.value)

    def show(self, picture: Tensor, draw: Callable[[Tensor], Image.Image] = to_thumbnail) -> None:
        """What there is so far, beside the bar, at most four times a second. draw(picture): how it looks."""
        if time.monotonic() - self.last_shown >= 0.25:
            self.bar.update_absolute(self.value, preview=("JPEG", draw(picture), THUMBNAIL_SIDE))
            self.last_shown = time.monotonic()

    def next_part(self) -> None:
        self.part += 1


def register_model_folders() -> None:
    """models/magicbokeh and models/depthanything with what extra_model_paths.yaml adds to them, and where Save MagicBokeh
    Checkpoint writes."""
    for parent, name, kinds in (
        (folder_paths.models_dir, MODEL_FOLDER, {*SAFE, ".pkl"}),
        (folder_paths.get_output_directory(), MODEL_FOLDER, set()),
        (folder_paths.models_dir, DEPTH_FOLDER, {*SAFE, ".pth"}),
    ):
        folder_paths.add_model_folder_path(name, os.path.join(parent, name))
        paths, extensions = folder_paths.folder_names_and_paths[name]
        folder_paths.folder_names_and_paths[name] = (paths, set(extensions) | kinds)


def _walk(name: str):
    for parent in folder_paths.get_folder_paths(name):
        for folder, _, files in os.walk(parent, followlinks=True):
            yield parent, Path(folder), files


def diffusers_folders() -> dict[str, Path]:
    """Models in diffusers layout below models/diffusers, by their relative path."""
    found: dict[str, Path] = {}
    for parent, folder, files in _walk("diffusers"):
        if "model_index.json" in files:
            found.setdefault(os.path.relpath(folder, parent), folder)
    return found


def depth_models() -> dict[str, Path]:
    """Depth models by their relative path: files and transformers folders in models/depthanything, .pth files in models/magicbokeh."""
    found: dict[str, Path] = {}
    for name, kinds in ((DEPTH_FOLDER, (".pth", ".safetensors")), (MODEL_FOLDER, (".pth",))):
        for parent, folder, files in _walk(name):
            if "config.json" in files:
                found.setdefault(os.path.relpath(folder, parent), folder)
            else:
                for file in sorted(files):
                    if file.endswith(kinds):
                        found.setdefault(os.path.relpath(folder / file, parent), folder / file)
    return found


class MagicBokeh(nn.Module):
    """U-Net and ControlNet, so that one patcher holds both."""

    def __init__(self, config: Config, operations):
        super().__init__()
        # In fp32 as ComfyUI does it for Stable Diffusion 2; and the one step multiplies errors by 15, too much for
        # quantised attention, which newer versions let one decline.
        attention = partial(optimized_attention, attn_precision=torch.float32, low_precision_attention=False)
        self.unet = UNet(config, operations, attention)
        self.controlnet = ControlNet(config, operations, attention)


@dataclass(frozen=True)
class BokehModel:
    """What a MAGICBOKEH_MODEL socket carries. ComfyUI looks for `patcher` and `get_models`.

    config: of the file. dtype: of the computation. folded: tensors of each network that `fold_time` has left out or changed, as they
    were. focus_mask: (B, 1, H, W) of Masked Attention, or None.
    """

    patcher: comfy.model_patcher.ModelPatcher
    config: Config
    dtype: torch.dtype
    sources: dict[str, str]
    folded: dict[str, dict[str, Tensor]]
    focus_mask: Tensor | None = None

    def get_models(self) -> list[comfy.model_patcher.ModelPatcher]:
        return [self.patcher]


class DepthAnything(nn.Module):
    """transformers' model, whose `device` ComfyUI can't set, in one on which it can."""

    def __init__(self, network: nn.Module):
        super().__init__()
        self.network = network


@dataclass(frozen=True)
class DepthModel:
    """What a MAGICBOKEH_DEPTH_MODEL socket carries. ComfyUI looks for `patcher` and `get_models`."""

    patcher: comfy.model_patcher.ModelPatcher

    def get_models(self) -> list[comfy.model_patcher.ModelPatcher]:
        return [self.patcher]


def _patcher(model: nn.Module) -> comfy.model_patcher.ModelPatcher:
    # Looked up late: ComfyUI replaces this class when it starts.
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())


def load_depth_model(path: Path) -> DepthModel:
    """Depth Anything in ComfyUI's hands, in fp32: half precision shows as terraces."""
    return DepthModel(_patcher(DepthAnything(depth.build(*depth.read_depth(path), path.name))))


def find_disparity(model: DepthModel, image: Tensor, input_size: int, smooth_range: int, progress: Progress) -> Tensor:
    """`depth.disparity` of photos on ComfyUI's devices."""
    network = model.patcher.model.network
    needed = depth.memory_needed(network.config, *image.shape[-2:], input_size)
    # Its layers are not ComfyUI's, so it can't stay outside the card in part.
    mm.load_models_gpu([model.patcher], needed, force_full_load=True)
    return depth.disparity(network, image, input_size, smooth_range, progress)


def weight_dtype() -> torch.dtype:
    """fp16 or fp32 by ComfyUI's rules and options; bf16 only if asked for, since the one step multiplies its errors."""
    return mm.unet_dtype(mm.get_torch_device(), PARAMETERS, [torch.float16, torch.float32])


def load_model(weights: Weights) -> BokehModel:
    """U-Net and ControlNet in ComfyUI's hands. The tensors of `weights` are used, not changed."""
    file, weights = weights, fold_time(weights)
    device, offload = mm.get_torch_device(), mm.unet_offload_device()
    stored = weight_dtype()
    computed = mm.unet_manual_cast(stored, device, [torch.float16, torch.float32]) or stored
    with torch.device("meta"):
        model = MagicBokeh(weights.config, comfy.ops.pick_operations(stored, computed, load_device=device))
    patcher = _patcher(model.eval())
    folded = {}
    for part in ("unet", "controlnet"):
        tensors, before = getattr(weights, part), getattr(file, part)
        network = getattr(model, part)
        network.load_state_dict({key: value.to(offload, stored) for key, value in tensors.items()}, assign=True)
        network.requires_grad_(False)
        folded[part] = {key: value.to(stored) for key, value in before.items() if value is not tensors.get(key)}
    return BokehModel(patcher, file.config, computed, file.sources, folded)


def load_vae(tensors: dict[str, Tensor]) -> comfy.sd.VAE:
    """A ComfyUI VAE of a state dict under diffusers' names, or of a `PatchCodec`."""
    if is_patch_codec(tensors):
        return _load_patch_codec(tensors)
    channels, layers, latent_channels = vae_sizes(tensors)
    sizes = {
        "ch": channels[0],
        "ch_mult": [width // channels[0] for width in channels],
        "num_res_blocks": layers,
        "z_channels": latent_channels,
        "double_z": True,
        "in_channels": 3,
        "out_ch": 3,
        "resolution": 256,
        "attn_resolutions": [],
        "dropout": 0.0,
    }
    return comfy.sd.VAE(sd=dict(tensors), config={"params": {"ddconfig": sizes, "embed_dim": latent_channels}})


def _load_patch_codec(tensors: dict[str, Tensor]) -> comfy.sd.VAE:
    codec = PatchCodec()
    codec.load_state_dict({key: value.float() for key, value in tensors.items()})
    # ComfyUI's own VAE that does nothing, with ours inside.
    vae = comfy.sd.VAE(sd={"pixel_space_vae": torch.tensor(1.0)}, dtype=torch.float32)
    shell = vae.first_stage_model
    shell.codec = codec.eval().requires_grad_(False)
    shell.encode = lambda pixels, *_args, **_options: codec.encode(pixels)
    shell.decode = lambda latent, *_args, **_options: codec.decode(latent)
    vae.latent_channels = 3 * PATCH**2
    vae.downscale_ratio = vae.upscale_ratio = PATCH
    vae.memory_used_encode = lambda shape, dtype: shape[2] * shape[3] * 512
    vae.memory_used_decode = lambda shape, dtype: shape[2] * shape[3] * PATCH**2 * 256
    vae.patcher.model.to(vae.patcher.offload_device)
    return vae


def weights_of(model: BokehModel, vae: comfy.sd.VAE) -> Weights:
    """What Save MagicBokeh Checkpoint writes, with the values as they are loaded."""
    state = {key: value.cpu() for key, value in model.patcher.model.state_dict().items()}
    parts = {
        part: {k[len(part) + 1 :]: v for k, v in state.items() if k.startswith(part)} | folded
        for part, folded in model.folded.items()
    }
    codec = getattr(vae.first_stage_model, "codec", None)
    tensors = {key: value.cpu().float() for key, value in (codec.state_dict() if codec else vae.get_sd()).items()}
    vae_tensors = tensors if codec else vae_from_ldm(tensors)
    check_vae(vae_tensors, "the connected VAE")
    return Weights(**parts, vae=vae_tensors, config=model.config, sources=model.sources)


class Codec:
    """ComfyUI's VAE as the sampler wants it."""

    def __init__(self, vae: comfy.sd.VAE, channels: int):
        if vae.latent_channels != channels:
            raise ValueError("vae is of another family than the model; connect the vae of Load MagicBokeh.")
        self.vae, self.cell = vae, vae.downscale_ratio

    def encode(self, image: Tensor, noise: Tensor | None) -> Tensor:
        if noise is None:
            return self.vae.encode(((image + 1) / 2).movedim(1, -1)).to(image)
        first_stage = self.vae.first_stage_model
        if not hasattr(first_stage, "quant_conv"):
            raise ValueError("This vae has no posterior to sample from; set posterior_seed to -1.")
        mm.load_models_gpu([self.vae.patcher], self.vae.memory_used_encode(image.shape, self.vae.vae_dtype))
        pixels = image.to(self.vae.device, self.vae.vae_dtype)
        mean, logvar = first_stage.quant_conv(first_stage.encoder(pixels)).to(image).chunk(2, 1)
        return mean + (0.5 * logvar.clamp(-30, 20)).exp() * noise.to(mean)

    def decode(self, latent: Tensor) -> Tensor:
        return self.vae.decode(latent).movedim(-1, 1).to(latent) * 2 - 1

    def tile(self) -> int:
        """Largest side in latents that fits, by ComfyUI's own estimate, into 60 % of the device's memory.

        Of all its memory, not of what is free just now: a result must not depend on what ran before.
        """
        per_cell = self.vae.memory_used_decode((1, 4, 1, 1), self.vae.vae_dtype)
        return max(sampler.SMALLEST_TILE, int((0.6 * mm.get_total_memory(self.vae.device) / per_cell) ** 0.5))


def latent_painter(config: Config, device: torch.device) -> Callable[[Tensor], Image.Image]:
    """How latents look, by the method that the user has chosen for previews, or else by the cheapest."""
    if config.prediction == "residual":  # they are pictures
        return lambda latent: to_thumbnail((F.pixel_shuffle(latent[0], PATCH) + 1) / 2)
    look = comfy.latent_formats.SD15()
    previewer = latent_preview.get_previewer(device, look) or latent_preview.Latent2RGBPreviewer(look.latent_rgb_factors)
    return lambda latent: previewer.decode_latent_to_preview((config.latent_scale * latent).to(device))


def render(
    model: BokehModel,
    vae: comfy.sd.VAE,
    image: Tensor,
    defocus: Tensor,
    focus_mask: Tensor | None,
    progress: Progress,
    **options,
):
    """`sampler.render` of one picture on ComfyUI's devices, with less at once if memory runs out."""
    codec, networks = Codec(vae, model.config.in_channels), model.patcher.model
    device = model.patcher.load_device

    def predict(latent: Tensor, hint: Tensor, regions: Tensor | None) -> Tensor:
        mm.load_models_gpu([model.patcher], sampler.memory_needed(latent.shape, model.dtype))
        return sampler.predict(networks.unet, networks.controlnet, latent, hint, regions, device, model.dtype)

    def is_oom(error: Exception) -> bool:
        return mm.is_oom(error) if hasattr(mm, "is_oom") else isinstance(error, mm.OOM_EXCEPTION)

    tile = sampler.Budget().tile
    batch = int(0.1 * mm.get_total_memory(device) / sampler.memory_needed((1, 4, tile, tile), model.dtype))
    budget = sampler.Budget(tile, codec.tile(), 1 if mm.is_device_cpu(device) else min(max(batch, 1), 8))

    show = partial(progress.show, draw=latent_painter(model.config, device))

    def sample(budget: sampler.Budget) -> tuple[Tensor, Tensor | None]:
        return sampler.render(
            codec, predict, image, defocus, focus_mask, budget=budget, progress=progress, show=show, **options
        )

    if options["preset"] == "fast":
        return sampler.smaller_until_it_fits(sample, budget, is_oom, mm.soft_empty_cache)
    picture, _ = sample(budget)  # its tiles are what they are
    whole = sampler.grow(picture, 0, codec.cell)
    latent = sampler.smaller_until_it_fits(
        lambda budget: sampler.encode_whole(codec, whole, budget=budget), budget, is_oom, mm.soft_empty_cache
    )
    return picture, latent
