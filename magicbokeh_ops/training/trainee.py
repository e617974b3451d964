"""The networks while they learn: differentiable from photo to picture, SR LoRA by peft, and what learns in which phase."""

import re
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from ..model.method import predict
from ..model.nano import fresh_networks
from ..model.network import ControlNet, UNet
from ..model.patch_codec import PatchCodec
from ..model.vae import Vae, vae_of
from ..weights import checkpoint
from .settings import Settings

ADAPTER = "sr"

# What learns: parts of `Trainee.parts`.
BASE = ("unet", "bokeh_lora", "controlnet", "codec", "encoder")
ENCODER = ("encoder",)
RESTORATION = ("sr_lora", "encoder_lora", "encoder")
BOKEH_PHASE = ("controlnet", "bokeh_lora")
RESTORATION_PHASE = ("sr_lora",)


class Trainee(nn.Module):
    """U-Net, ControlNet and codec from degraded photo to picture."""

    def __init__(self, unet: UNet, controlnet: ControlNet, codec: Vae | PatchCodec):
        super().__init__()
        self.unet, self.controlnet = unet, controlnet
        self.codec = codec

    def forward(self, lq: Tensor, defocus: Tensor | None = None, regions: Tensor | None = None) -> Tensor:
        """Pictures (B, 3, S, S), near [0, 1], of photos in [0, 1].

        defocus, regions: (B, 1, S, S). Without defocus what the codec alone makes of the photos; without regions masks are off.
        """
        if defocus is None:
            return (self.codec.decode(self.codec.encode(2 * lq - 1)) + 1) / 2
        noise = None
        if isinstance(self.codec, Vae):  # whose posterior the released code samples
            noise = torch.randn(
                len(lq), self.unet.config.in_channels, *(side // self.codec.cell for side in lq.shape[-2:]), device=lq.device
            )
        latent = self.codec.encode(2 * lq - 1, noise)
        clean = predict(self.unet, self.controlnet, latent, defocus, regions, latent.device)
        return (self.codec.decode(clean) + 1) / 2

    def add_sr_lora(self, rank: int) -> None:
        """LoRA on all layers that the released adapter has it on: of the U-Net, whose conv_in learns as a whole, and of the encoder."""
        networks: dict[nn.Module, str] = {self.unet: r"(?!.*(\.processor\.|time_emb)).*"}
        if isinstance(self.codec, Vae):
            networks[self.codec] = r"(encoder\..*|quant_conv)"
        for network, pattern in networks.items():
            layers = [name for name, module in network.named_modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
            targets = [name for name in layers if re.fullmatch(pattern, name)]
            inject_adapter_in_model(
                LoraConfig(r=rank, lora_alpha=checkpoint.LORA_ALPHA, target_modules=targets), network, ADAPTER
            )

    def parts(self) -> dict[str, list[str]]:
        """Names of the parameters of each part that can learn by itself."""
        found: dict[str, list[str]] = {
            "unet": [],
            "bokeh_lora": [],
            "sr_lora": [],
            "controlnet": [],
            "codec": [],
            "encoder": [],
            "encoder_lora": [],
        }
        for name, _ in self.named_parameters():
            if name.startswith("unet."):
                part = "bokeh_lora" if ".processor." in name else "unet"
                if ".lora_" in name or ".conv_in.base_layer." in name:
                    part = "sr_lora"
            elif name.startswith("codec."):
                part = "encoder" if name.startswith("codec.restore.") else "codec"
                if ".lora_" in name:
                    part = "encoder_lora"
            else:
                part = "controlnet"
            found[part].append(name)
        return found

    def learn(self, parts: tuple[str, ...]) -> list[nn.Parameter]:
        """Let these parts learn and no others; returns their parameters."""
        parameters = dict(self.named_parameters())
        chosen = [name for part in parts for name in self.parts()[part]]
        self.requires_grad_(False)
        for name in chosen:
            parameters[name].requires_grad_(True)
        return [parameters[name] for name in chosen]

    def weights(self, sources: dict[str, str]) -> checkpoint.Weights:
        """What `checkpoint.save` writes, SR LoRA merged. sources: where the parts are from."""
        unet, codec = _merged(self.unet), _merged(self.codec)
        controlnet = {key: value.detach().cpu() for key, value in self.controlnet.state_dict().items()}
        return checkpoint.Weights(unet, controlnet, codec, self.unet.config, sources)


def _merged(network: nn.Module) -> dict[str, Tensor]:
    network = deepcopy(network).cpu().requires_grad_(False)
    for module in network.modules():
        if isinstance(module, BaseTunerLayer):
            module.merge()
    return {key.replace(".base_layer.", "."): value for key, value in network.state_dict().items() if ".lora_" not in key}


def build(settings: Settings) -> Trainee:
    """Networks to start a run from. Raises ValueError if the base is no Stable Diffusion 2.1-base."""
    return build_nano(settings) if settings.base is None else build_full(settings, settings.base)


def build_nano(settings: Settings) -> Trainee:
    """Fresh networks of the sizes in the settings, which add nothing to what our lens makes of the photo."""
    torch.manual_seed(settings.seed)
    networks = fresh_networks(rank=settings.bokeh_rank, **settings.network.model_dump())
    return Trainee(*networks, PatchCodec())


def build_full(settings: Settings, base_path: Path) -> Trainee:
    """Stable Diffusion 2.1-base, with a ControlNet that starts as a copy of the U-Net's way down and says nothing yet."""
    base = checkpoint.read_base(base_path)
    config = replace(checkpoint.find_unet_config(base.unet, base.heads), rank=settings.bokeh_rank)
    unet, controlnet = UNet(config), ControlNet(config)
    unet.load_state_dict({key: value.float() for key, value in base.unet.items()}, strict=False)
    controlnet.load_state_dict(unet.state_dict(), strict=False)
    # Bokeh parts that add nothing yet.
    silent = [*controlnet.controlnet_down_blocks, controlnet.controlnet_cond_embedding.conv_out]
    silent += [module.to_out_lora[1] for name, module in unet.named_modules() if name.endswith(".processor")]
    for module in silent:
        nn.init.zeros_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return Trainee(unet, controlnet, vae_of(base.vae))
