"""A lossless stand-in for the VAE, for networks too small to come with one."""

import torch.nn.functional as F
from torch import Tensor, nn

PATCH = 4
WIDTH = 16  # of the convolutions that smooth the borders of patches


class PatchCodec(nn.Module):
    """A `sampler.Codec` whose latent is the picture itself: its patches of 4 x 4 pixels as 48 channels.

    Decoding is exact up to a small convolutional network, which starts at nothing and learns to hide the patches' borders.
    """

    cell = PATCH

    def __init__(self):
        super().__init__()
        self.smooth = nn.Sequential(
            nn.Conv2d(3, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1),
            nn.SiLU(),
            nn.Conv2d(WIDTH, 3, 3, padding=1),
        )
        nn.init.zeros_(self.smooth[-1].weight)
        nn.init.zeros_(self.smooth[-1].bias)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        """(B, 48, H / 4, W / 4) of images (B, 3, H, W) in [-1, 1]. Raises ValueError for noise: there is no posterior."""
        if noise is not None:
            raise ValueError("This model's codec has no posterior to sample from; leave the seed and the noise out.")
        return F.pixel_unshuffle(image, PATCH)

    def decode(self, latent: Tensor) -> Tensor:
        """Images (B, 3, H, W), near [-1, 1], of latents."""
        picture = F.pixel_shuffle(latent, PATCH)
        return picture + self.smooth(picture)
