"""nano: what the one step is for networks that are trained from nothing, on the picture itself instead of a VAE's latents."""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import lens
from ..defocus import K_TRAINED
from .network import Config, ControlNet, UNet
from .patch_codec import PATCH, kaiming_start

# The networks see a picture whole up to 4032 pixels a side, and tiles of that size beyond: their norms would decide differently in
# every tile.
TILE, OVERLAP = 56, 256  # times the budget's tile; pixels


class Nano:
    """The clean latent is what our lens makes of the photo, less what the networks predict in units of its standard deviation.

    One channel more chooses between blur behind (below 0) and in front of the focus.
    """

    lossless, uses_lens, values_per_cell = True, True, 1_500

    def tiles(self, side: int, batch: int, cell: int) -> tuple[int, int, int]:
        return TILE * side // cell, OVERLAP // cell, 1

    def clean_latent(
        self,
        latent: Tensor,
        defocus: Tensor,
        networks: Callable[[Tensor, Tensor], Tensor],
        report: Callable[[], None] | None,
    ) -> Tensor:
        # The networks' norms forget contrast, without which they would take too much out of flat pictures.
        mean = latent.mean((2, 3), keepdim=True)
        spread = latent.std((2, 3), keepdim=True).mean(1, keepdim=True).clamp(min=0.01)
        behind, front = lens_blur(latent, defocus, report)
        found = networks((behind - mean) / spread, (latent - mean) / spread)
        residual, order = found[:, :-1], found[:, -1:].sigmoid()
        return torch.lerp(behind, front, order) - spread * residual


def lens_blur(latent: Tensor, defocus: Tensor, report: Callable[[], None] | None = None) -> tuple[Tensor, Tensor]:
    """Latents (B, 48, h, w) of pictures through our lens: as if all blur lay behind the focus, and as if it lay in front.

    Which of them is true a defocus map doesn't tell, nor what a photo lost; that is left to the networks.
    defocus: radius / 32, (B, 1, 4 h, 4 w). Gradients pass into the first, where its radius is at most a pixel. A picture without
    any blur stays as it is. report: called often; may raise to stop.
    """
    if not defocus.any():
        return latent, latent
    picture = F.pixel_shuffle(latent, PATCH)
    photo = ((picture.detach() + 1) / 2).clamp(0, 1)
    with torch.no_grad():
        progress = None if report is None else lambda *_: report()
        behind, front = (2 * lens.render(photo, sign * defocus, 0.0, K_TRAINED, progress=progress) - 1 for sign in (-1, 1))
    in_focus = K_TRAINED * defocus <= 1
    behind = behind + in_focus * (picture - picture.detach())
    blurred = defocus.amax((1, 2, 3), keepdim=True) > 0
    behind, front = (torch.where(blurred, F.pixel_unshuffle(x, PATCH), latent) for x in (behind, front))
    return behind, front


def fresh_networks(**sizes) -> tuple[UNet, ControlNet]:
    """Networks that add nothing yet to what our lens makes of the photo. sizes: of `network.Config`."""
    channels = 3 * PATCH**2
    config = replace(Config(channels, channels + 1, prediction="residual", latent_scale=1.0), **sizes)
    unet, controlnet = UNet(config), ControlNet(config)
    nn.init.zeros_(unet.conv_out.weight)
    nn.init.zeros_(unet.conv_out.bias)
    kaiming_start(controlnet.controlnet_cond_embedding, 0.2)  # or the defocus would hardly be heard
    return unet, controlnet
