"""The networks while they learn: differentiable from photo to picture, SR LoRA by peft, and what learns in which phase."""

from dataclasses import replace

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from .. import checkpoint
from ..network import Config, ControlNet, UNet
from ..patch_codec import PatchCodec
from ..sampler import predict
from .settings import Settings

ADAPTER = "sr"

# What learns: parts of `Trainee.parts`.
BASE = ("unet", "bokeh_lora", "controlnet", "codec")
RESTORATION = ("sr_lora", "encoder_lora")
BOKEH_PHASE = ("controlnet", "bokeh_lora")
RESTORATION_PHASE = ("sr_lora",)


class Trainee(nn.Module):
    """U-Net, ControlNet and codec from degraded photo to picture, paper Sec. 3."""

    def __init__(self, unet: UNet, controlnet: ControlNet, codec: nn.Module):
        super().__init__()
        self.unet, self.controlnet, self.codec = unet, controlnet, codec

    def forward(self, lq: Tensor, defocus: Tensor, regions: Tensor | None) -> Tensor:
        """Pictures (B, 3, S, S), near [0, 1], of photos in [0, 1]. defocus, regions: (B, 1, S, S); None = masks off."""
        latent = self.codec.encode(2 * lq - 1)
        device = latent.device
        clean = predict(self.unet, self.controlnet, latent, defocus, regions, device)
        return (self.codec.decode(clean) + 1) / 2

    def add_sr_lora(self, rank: int) -> None:
        """LoRA on every convolution and projection of the U-Net that the released adapter has it on; conv_in learns as a whole."""
        targets = [
            name
            for name, module in self.unet.named_modules()
            if isinstance(module, (nn.Conv2d, nn.Linear)) and ".processor." not in name and "time_emb" not in name
        ]
        inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=checkpoint.LORA_ALPHA, target_modules=targets), self.unet, ADAPTER)

    def parts(self) -> dict[str, list[str]]:
        """Names of the parameters of each part that can learn by itself."""
        found: dict[str, list[str]] = {
            "unet": [],
            "bokeh_lora": [],
            "sr_lora": [],
            "controlnet": [],
            "codec": [],
            "encoder_lora": [],
        }
        for name, _ in self.named_parameters():
            if name.startswith("unet."):
                part = "bokeh_lora" if ".processor." in name else "unet"
                if ".lora_" in name or ".conv_in.base_layer." in name:
                    part = "sr_lora"
            elif name.startswith("codec."):
                part = "encoder_lora" if ".lora_" in name else "codec"
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


def build_nano(settings: Settings) -> Trainee:
    """Fresh networks of the sizes in the settings, which start as the identity."""
    sizes = {key: tuple(value) if isinstance(value, list) else value for key, value in settings.network.items()}
    channels = 3 * 8 * 8
    config = replace(
        Config(prediction="residual", latent_scale=1.0, in_channels=channels, out_channels=channels, rank=settings.bokeh_rank),
        **sizes,
    )
    torch.manual_seed(settings.seed)
    unet, controlnet = UNet(config), ControlNet(config)
    silent = [unet.conv_out, *controlnet.controlnet_down_blocks, controlnet.controlnet_cond_embedding.conv_out]
    silent += [module.to_out_lora[1] for name, module in unet.named_modules() if name.endswith(".processor")]
    for module in silent:
        nn.init.zeros_(module.weight)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    return Trainee(unet, controlnet, PatchCodec())
