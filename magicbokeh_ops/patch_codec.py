"""A small stand-in for the VAE, for networks that are trained from nothing."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from . import lens
from .defocus import K_TRAINED

PATCH = 4
RESTORING = (12, 64, 64, 64, 64, 64, 64, 12)  # channels of the encoder's network, which works on squares of 2 x 2 pixels
SMOOTHING = (3, 16, 16, 3)  # of the decoder's


class PatchCodec(nn.Module):
    """A `sampler.Codec` whose latent is the picture itself: its patches of 4 x 4 pixels as 48 channels.

    Both ways are exact up to a small convolutional network, which starts at nothing: the encoder's learns to take noise and
    compression away (as the LoRA on the VAE's encoder does in the full model), the decoder's to hide the patches' borders.
    """

    cell, lossless = PATCH, True

    def __init__(self):
        super().__init__()
        self.restore, self.smooth = _convolutions(RESTORING), _convolutions(SMOOTHING)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 48, H / 4, W / 4) of images (B, 3, H, W) in [-1, 1]. Raises ValueError for noise: there is no posterior."""
        if noise is not None:
            raise ValueError("This model's codec has no posterior to sample from; leave the seed and the noise out.")
        own = image.to(self.restore[0].weight)
        flaws = F.pixel_shuffle(self.restore(F.pixel_unshuffle(own, 2)), 2)
        return F.pixel_unshuffle(own - flaws, PATCH).to(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W), near [-1, 1], of latents."""
        picture = F.pixel_shuffle(latent.to(self.smooth[0].weight), PATCH)
        return (picture + self.smooth(picture)).to(latent)


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


def kaiming_start(network: nn.Module, slope: float = 0.0) -> None:
    """He's start for convolutions without norms between, through which torch's own fades. slope: of the activation below 0."""
    for parameter in network.parameters():
        if parameter.ndim > 1:
            nn.init.kaiming_normal_(parameter, a=slope)
        else:
            nn.init.zeros_(parameter)


def _convolutions(channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in zip(channels, channels[1:]):
        convolution = nn.Conv2d(narrow, wide, 3, padding=1)
        kaiming_start(convolution)
        layers += [convolution, nn.ReLU()]
    nn.init.zeros_(convolution.weight)
    return nn.Sequential(*layers[:-1])
