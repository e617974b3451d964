"""A small stand-in for the VAE, for networks that are trained from nothing."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
RESTORING = (12, 64, 64, 64, 64, 64, 64, 12)  # channels of the encoder's network, which works on squares of 2 x 2 pixels
SMOOTHING = (3, 16, 16, 3)  # of the decoder's


class PatchCodec(nn.Module):
    """A `sampler.Codec` whose latent is the picture itself: its patches of 4 x 4 pixels as 48 channels.

    Both ways are exact up to a small convolutional network, which starts at nothing: the encoder's learns to take noise and
    compression away (as the LoRA on the VAE's encoder does in the full model), the decoder's to hide the patches' borders.
    """

    cell, prediction = PATCH, "residual"

    def __init__(self):
        super().__init__()
        self.restore, self.smooth = _convolutions(RESTORING), _convolutions(SMOOTHING)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 48, H / 4, W / 4) of images (B, 3, H, W) in [-1, 1]. Raises ValueError for noise: there is no posterior."""
        if noise is not None:
            raise ValueError("model has no posterior to sample from; leave seed and noise out.")
        own = image.to(self.restore[0].weight)
        flaws = F.pixel_shuffle(self.restore(F.pixel_unshuffle(own, 2)), 2)
        return F.pixel_unshuffle(own - flaws, PATCH).to(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W), near [-1, 1], of latents."""
        picture = F.pixel_shuffle(latent.to(self.smooth[0].weight), PATCH)
        return (picture + self.smooth(picture)).to(latent)


def is_patch_codec(tensors: dict[str, Tensor]) -> bool:
    """Whether these are a `PatchCodec`'s tensors and no VAE's."""
    return any(key.startswith("smooth.") for key in tensors)


def codec_of(tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32) -> PatchCodec:
    """The codec of these tensors."""
    with torch.device("meta"):
        codec = PatchCodec()
    codec.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
    return codec.eval()


def as_picture(latent: Tensor) -> Tensor:
    """The pictures (B, 3, H, W) in [0, 1] that latents are, without the decoder's smoothing."""
    return (F.pixel_shuffle(latent, PATCH) + 1) / 2


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
