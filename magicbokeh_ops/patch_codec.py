"""A small stand-in for the VAE, for networks that are trained from nothing."""

import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
RESTORING = (3, 32, 32, 32, 32, 32, 3)  # channels of the encoder's network
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
        return F.pixel_unshuffle(own - self.restore(own), PATCH).to(image)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W), near [-1, 1], of latents."""
        picture = F.pixel_shuffle(latent.to(self.smooth[0].weight), PATCH)
        return (picture + self.smooth(picture)).to(latent)


def _convolutions(channels: tuple[int, ...]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for narrow, wide in zip(channels, channels[1:]):
        convolution = nn.Conv2d(narrow, wide, 3, padding=1)
        # torch's own start fades from layer to layer where no norm is in between.
        nn.init.kaiming_normal_(convolution.weight)
        nn.init.zeros_(convolution.bias)  # type: ignore[arg-type]
        layers += [convolution, nn.ReLU()]
    nn.init.zeros_(convolution.weight)
    return nn.Sequential(*layers[:-1])
