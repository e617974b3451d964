"""A small stand-in for the VAE, for networks that are trained from nothing."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .color import linear_to_srgb, srgb_to_linear
from .defocus import K_TRAINED

PATCH = 4
LAYERS = 2  # for each doubling of the blur radius
RESTORING = (12, 64, 64, 64, 64, 64, 64, 12)  # channels of the encoder's network, which works on squares of 2 x 2 pixels
SMOOTHING = (3, 16, 16, 3)  # of the decoder's


class PatchCodec(nn.Module):
    """A `sampler.Codec` whose latent is the picture itself: its patches of 4 x 4 pixels as 48 channels.

    Both ways are exact up to a small convolutional network, which starts at nothing: the encoder's learns to take noise and
    compression away (as the LoRA on the VAE's encoder does in the full model), the decoder's to hide the patches' borders.
    """

    cell = PATCH

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


def plain_blur(latent: Tensor, defocus: Tensor) -> Tensor:
    """Latents (B, 48, h, w) of pictures that are blurred plainly: as if what is sharper always hid what is more blurred.

    Pixels are shared among layers by their blur radius; each layer spreads over discs, and lies in front of those of larger
    radii. In linear light. What a defocus map doesn't tell is left to the networks: in front of the focus it is the other way.
    defocus: radius / 32, (B, 1, 4 h, 4 w). Where the radius is at most a pixel the latent stays as it is, and
    gradients pass there only. A radius goes up to half the shorter side.
    """
    picture = F.pixel_shuffle(latent, PATCH)
    layer = torch.log2((K_TRAINED * defocus).clamp(1, min(picture.shape[-2:]) / 2)) * LAYERS
    light = srgb_to_linear(((picture.detach() + 1) / 2).clamp(0, 1))
    light = torch.cat([light, torch.ones_like(layer)], 1)
    out = torch.zeros_like(light)
    for i in reversed(range(math.ceil(float(layer.max())) + 1)):
        own = light * (1 - (layer - i).abs()).clamp(min=0)
        if i:
            own = _spread(own, 2 ** (i / LAYERS))
        out = own + out * (1 - own[:, 3:]).clamp(min=0)
    blurred = 2 * linear_to_srgb((out[:, :3] / out[:, 3:]).clamp(0, 1)) - 1
    return F.pixel_unshuffle(torch.where(layer > 0, blurred, picture), PATCH)


def _spread(planes: Tensor, radius: float) -> Tensor:
    """Every pixel of planes (B, C, H, W) spread over a disc, and mirrored at the borders."""
    reach = math.ceil(radius)
    steps = torch.arange(-reach, reach + 1, device=planes.device)
    disc = (radius + 0.5 - torch.hypot(steps[:, None], steps.float())).clamp(0, 1)
    padded = F.pad(planes, (reach,) * 4, mode="reflect")
    size = padded.shape[-2:]
    spectrum = torch.fft.rfft2(padded) * torch.fft.rfft2(disc / disc.sum(), s=size)
    return torch.fft.irfft2(spectrum, s=size)[..., 2 * reach :, 2 * reach :].to(planes)


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
