"""The one step on ComfyUI's devices, with what fits on them at once."""

import logging
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial

import comfy.latent_formats
import comfy.model_management as mm
import comfy.model_patcher
import comfy.sd
import latent_preview
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from ..magicbokeh_ops import sampler
from ..magicbokeh_ops.model.method import METHODS
from ..magicbokeh_ops.model.network import Config
from ..magicbokeh_ops.model.patch_codec import as_picture
from ..magicbokeh_ops.sampler import SMALLEST_TILE, Budget
from .bokeh_model import BokehModel, check_family
from .devices import free_everything, halved_to_fit, has_complex_numbers, retry_when_freed, smaller_until_it_fits
from .progress import THUMBNAIL_SIDE, Progress, to_thumbnail

LONGEST_TILE = 2048  # pixels of a side in the VAE on any device; at 3400 its attention would be half of the work
SCORES = 3  # copies of the attention's scores that ComfyUI counts with


class Turns:
    """Whose turn it is on the devices. A model is loaded when its turn comes, and not again for every tile."""

    def __init__(self):
        self.patcher, self.room = None, 0.0

    def take(self, patcher: comfy.model_patcher.ModelPatcher, room: float, **options) -> None:
        """Load what belongs to `patcher`, with `room` bytes beside it."""
        if patcher is not self.patcher or room > self.room:
            mm.load_models_gpu([patcher], room, **options)
            self.patcher, self.room = patcher, room

    def free(self) -> None:
        self.patcher = None
        free_everything()


class WholeCodec:
    """ComfyUI's VAE without its way out of memory errors: tiles of its own, three times over, with each of them failing first."""

    def __init__(self, vae: comfy.sd.VAE, turns: Turns):
        self.vae, self.turns, self.cell = vae, turns, vae.downscale_ratio
        self.samples = hasattr(vae.first_stage_model, "quant_conv")  # Stable Diffusion's kind

    def encode(self, image: Tensor, noise: Tensor | None) -> Tensor:
        return retry_when_freed(lambda: self._encode(image, noise), self.turns.free)

    def decode(self, latent: Tensor) -> Tensor:
        return retry_when_freed(lambda: self._decode(latent), self.turns.free)

    def memory_needed(self, side: int) -> float:
        """Bytes to decode a square latent by ComfyUI's estimate, or for the attention on the way, which that leaves out."""
        coded = self.vae.memory_used_decode((1, self.vae.latent_channels, side, side), self.vae.vae_dtype)
        return max(coded, self._scores(side**2))

    def largest_tile(self) -> int:
        """Side in latents of what fits into 60 % of the device's memory.

        Of all its memory, not of what is free just now: a result must not depend on what ran before.
        """
        room = 0.6 * mm.get_total_memory(self.vae.device)
        side = LONGEST_TILE // self.cell
        while side > SMALLEST_TILE and self.memory_needed(side) > room:
            side -= 1
        return side

    def _scores(self, cells: int) -> float:
        return SCORES * cells**2 * self.vae.vae_dtype.itemsize if self.samples else 0

    def _load(self, coded: float, latent_size: torch.Size) -> None:
        room = max(coded, self._scores(latent_size.numel()))
        self.turns.take(self.vae.patcher, room, force_full_load=self.vae.disable_offload)

    def _device(self):
        # Newer ComfyUI has a device that is current for some of its kernels.
        return mm.cuda_device_context(self.vae.device) if hasattr(mm, "cuda_device_context") else nullcontext()

    def _encode(self, image: Tensor, noise: Tensor | None) -> Tensor:
        vae = self.vae
        size = torch.Size(length // self.cell for length in image.shape[-2:])
        self._load(vae.memory_used_encode(image.shape, vae.vae_dtype), size)
        with self._device():
            pixels = vae.process_input((image + 1) / 2).to(vae.device, vae.vae_dtype)
            if noise is None:
                return vae.first_stage_model.encode(pixels).to(image)
            moments = vae.first_stage_model.quant_conv(vae.first_stage_model.encoder(pixels)).to(image)
        mean, logvar = moments.chunk(2, 1)
        return mean + (0.5 * logvar.clamp(-30, 20)).exp() * noise.to(mean)

    def _decode(self, latent: Tensor) -> Tensor:
        vae = self.vae
        self._load(vae.memory_used_decode(latent.shape, vae.vae_dtype), latent.shape[-2:])
        with self._device():
            picture = vae.first_stage_model.decode(latent.to(vae.device, vae.vae_dtype)).to(latent)
        return 2 * vae.process_output(picture) - 1


class Codec:
    """ComfyUI's VAE as the sampler wants it; pieces that turn out too large are done in smaller ones, and so are all after them."""

    def __init__(self, vae: comfy.sd.VAE, config: Config, turns: Turns):
        check_family(vae, config)
        self.whole, self.turns, self.cell = WholeCodec(vae, turns), turns, vae.downscale_ratio
        self.prediction = getattr(getattr(vae.first_stage_model, "codec", None), "prediction", "epsilon")
        budget = Budget(SMALLEST_TILE, self.whole.largest_tile())
        self.budget = halved_to_fit(budget, lambda budget: self.whole.memory_needed(budget.codec_tile), vae.device)

    def encode(self, image: Tensor, noise: Tensor | None) -> Tensor:
        if noise is not None and not self.whole.samples:
            raise ValueError("vae has no posterior to sample from; set posterior_seed to -1.")
        size = [length // self.cell for length in image.shape[-2:]]
        return self._in_pieces(partial(sampler.encode_whole, self.whole, (image + 1) / 2, noise), size)

    def decode(self, latent: Tensor) -> Tensor:
        return self._in_pieces(partial(sampler.decode_whole, self.whole, latent), latent.shape[-2:])

    def _in_pieces(self, work: Callable[[Budget], Tensor], size: Sequence[int]) -> Tensor:
        start = replace(self.budget, codec_tile=min(self.budget.codec_tile, max(SMALLEST_TILE, *size)))

        def attempt(budget: Budget) -> Tensor:
            if budget != start:
                self.budget = budget
            return work(budget)

        pixels = SMALLEST_TILE * self.cell
        what = f"the VAE even in pieces of {pixels} pixels; close other programs, or start ComfyUI with --cpu-vae"
        return smaller_until_it_fits(attempt, start, self.turns.free, what)


def latent_painter(config: Config, device: torch.device) -> Callable[[Tensor], Image.Image]:
    """How latents look, by the method that the user has chosen for previews, or else by the cheapest."""
    if METHODS[config.prediction].lossless:
        return lambda latent: to_thumbnail(as_picture(latent)[0])
    look = comfy.latent_formats.SD15()
    plain = latent_preview.Latent2RGBPreviewer(look.latent_rgb_factors)
    try:
        previewer = latent_preview.get_previewer(device, look) or plain
    except Exception as error:  # of any kind, as files of small decoders may be damaged; it is only a preview
        logging.warning(
            f"MagicBokeh: previews in coarse colours, for ComfyUI's decoder failed ({type(error).__name__}: {error})."
        )
        previewer = plain
    # A decoder's work and memory are those for what is shown, not for the whole photo.
    side = THUMBNAIL_SIDE if isinstance(previewer, latent_preview.Latent2RGBPreviewer) else THUMBNAIL_SIDE // 8
    return lambda latent: previewer.decode_latent_to_preview((config.latent_scale * shrunk(latent, side)).to(device))


class OneStep:
    """`sampler.render` on ComfyUI's devices, for one picture after another, with less at once if memory runs out."""

    def __init__(self, model: BokehModel, vae: comfy.sd.VAE):
        self.model, self.turns, self.method = model, Turns(), METHODS[model.config.prediction]
        self.codec = Codec(vae, model.config, self.turns)
        device = model.patcher.load_device
        self.draw = latent_painter(model.config, device)
        batch = int(0.1 * mm.get_total_memory(device) / self.memory_needed(Budget()))
        # The VAE has its own.
        budget = Budget(codec_tile=SMALLEST_TILE, batch=1 if mm.is_device_cpu(device) else min(max(batch, 1), 8))
        self.budget = halved_to_fit(budget, self.memory_needed, device)

    def memory_needed(self, budget: Budget) -> int:
        return sampler.memory_needed((budget.batch, 4, budget.tile, budget.tile), self.model.dtype)

    def render(self, progress: Progress, preset: str, wants_latent: bool = True, **options) -> tuple[Tensor, Tensor | None]:
        """A picture and its latent, which is omitted if it costs work and is not used. options: of `sampler.render`."""
        show = partial(progress.show, draw=self.draw)
        options |= {"preset": preset, "progress": progress, "show": show}
        if self.method.uses_lens and not has_complex_numbers(options["image"].device):
            # With --gpu-only pictures lie on the device, where the lens that such a model starts from can't work.
            planes = {name: value for name, value in options.items() if isinstance(value, Tensor)}
            options |= {name: value.cpu() for name, value in planes.items()}

        def sample(budget: Budget) -> tuple[Tensor, Tensor | None]:
            self.budget = budget
            budget = replace(budget, codec_tile=self.codec.budget.codec_tile)
            return sampler.render(self.codec, self.predict, budget=budget, **options)

        what = "MagicBokeh's networks; close other programs, or start ComfyUI with --novram"
        if preset == "reference" and not self.method.lossless:  # its tiles are what they are
            least = replace(self.budget, tile=SMALLEST_TILE, batch=1)
            picture, _ = smaller_until_it_fits(lambda _: sample(self.budget), least, self.turns.free, what)
            if not wants_latent:
                return picture, None
            whole = sampler.grow(picture, 0, self.codec.cell)
            check = mm.throw_exception_if_processing_interrupted
            return picture, sampler.encode_whole(self.codec, whole, budget=self.codec.budget, step=check)
        return smaller_until_it_fits(sample, self.budget, self.turns.free, what)

    def predict(self, latent: Tensor, hint: Tensor, regions: Tensor | None) -> Tensor:
        model, networks = self.model, self.model.patcher.model

        def work() -> Tensor:
            self.turns.take(model.patcher, sampler.memory_needed(latent.shape, model.dtype, model.config.prediction))
            device = model.patcher.load_device
            check = mm.throw_exception_if_processing_interrupted
            return sampler.predict(networks.unet, networks.controlnet, latent, hint, regions, device, model.dtype, check)

        return retry_when_freed(work, self.turns.free)


def shrunk(latent: Tensor, side: int) -> Tensor:
    """A latent (1, C, h, w) on the CPU, whose sides are at most `side`."""
    scale = min(1, side / max(latent.shape[-2:]))
    return F.interpolate(latent.cpu(), size=[max(1, round(scale * length)) for length in latent.shape[-2:]], mode="area")
