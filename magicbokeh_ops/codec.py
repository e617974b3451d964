"""Stable Diffusion's VAE outside ComfyUI, as diffusers runs it."""

from collections.abc import Callable
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import Decoder, Encoder
from diffusers.models.downsampling import Downsample2D
from diffusers.models.resnet import ResnetBlock2D
from diffusers.models.upsampling import Upsample2D
from torch import Tensor, nn

from .attention import attend
from .checkpoint import is_patch_codec, vae_sizes
from .patch_codec import PatchCodec

# Values of one picture that a layer works on at once; more in pictures that would need very many strips.
STRIP, MOST_STRIPS = 2**21, 64
TRAINED_SIDE = 64  # in latents, of the 512-pixel pictures that the VAE was trained on
# Where rows of a 3 x 3 kernel meet the same one of two rows, for the upper and the lower row that a row becomes.
MEET = torch.tensor([[[1.0, 0.0, 0.0], [0.0, 1.0, 1.0]], [[1.0, 1.0, 0.0], [0.0, 0.0, 1.0]]])


class ThinnedAttention:
    """Attention of the VAE's middle block, from every token to at most 64 x 64 of them, evenly spaced.

    Equal to full attention up to 512 pixels. Beyond, cost grows with the area and not with its square, and the softmax
    stays as sharp as it was in training. All tokens see the same keys, so there is no seam.
    """

    def __call__(self, attn, hidden_states: Tensor, temb: Tensor | None = None, **_kwargs) -> Tensor:
        x = attn.group_norm(hidden_states)
        rows, cols = (torch.linspace(0, n - 1, min(n, TRAINED_SIDE)).round().long().to(x.device) for n in x.shape[-2:])
        seen = x[..., rows, :][..., cols].flatten(2).transpose(1, 2)
        q, k, v = attn.to_q(x.flatten(2).transpose(1, 2)), attn.to_k(seen), attn.to_v(seen)
        out = attn.to_out[0](attend(q, k, v, 1))
        return hidden_states + out.transpose(1, 2).view_as(hidden_states)


class StripConv(nn.Conv2d):
    """A convolution of 3 x 3 that can work in strips of rows, so that neither what it is given nor PyTorch's own copies are ever whole."""

    def prepared(self, x: Tensor, prepare: Callable[[Tensor], Tensor], out: Tensor) -> Tensor:
        """The convolution of prepare(x), which is pointwise or upsamples by 2, written to `out`, which may be x."""
        height, zoom = x.shape[-2], out.shape[-2] // x.shape[-2]
        rows = strip_rows(x)
        # Of the neighbours' rows one is needed; outside of the picture are zeros.
        above = x.new_zeros(*x.shape[:2], 1, out.shape[-1])
        for top in range(0, height, rows):
            strip = prepare(x[..., top : top + rows + 1, :])[..., : zoom * rows + 1, :]
            strip = torch.cat([above, strip], -2)
            if top + rows >= height:
                strip = F.pad(strip, (0, 0, 0, 1))
            above = strip[..., -2:-1, :].clone()
            out[..., zoom * top : zoom * (top + rows), :] = F.conv2d(strip, self.weight, self.bias, padding=(0, 1))
        return out


def strip_rows(x: Tensor) -> int:
    """Rows, an even number, of a strip of pictures (B, C, H, W)."""
    _, channels, height, width = x.shape
    return 2 * max(1, STRIP // (channels * width) // 2, height // MOST_STRIPS // 2)


def takes_strips(layer: nn.Module | None, x: Tensor) -> bool:
    """Whether the picture is large, nothing is to be learned, and no LoRA is around the layer."""
    return x[0].numel() > STRIP and isinstance(layer, StripConv) and not torch.is_grad_enabled()


class LeanResnet(ResnetBlock2D):
    """diffusers' block, which holds little more than what it is given and its result."""

    def forward(self, input_tensor: Tensor, temb: Tensor | None = None, *args: Any, **kwargs: Any) -> Tensor:
        x = input_tensor
        h = convolved(self.conv1, self.norm1, x)
        h = convolved(self.conv2, self.norm2, h, in_place=True)
        if self.conv_shortcut is None:
            return h.add_(x)
        if not takes_strips(self.conv1, x):
            return h.add_(self.conv_shortcut(x))
        rows = strip_rows(x)
        for part, strip in zip(h.split(rows, -2), x.split(rows, -2)):
            part.add_(self.conv_shortcut(strip))
        return h


def convolved(conv: Any, norm: Any, x: Tensor, in_place: bool = False) -> Tensor:
    """conv(silu(norm(x))). in_place: of as many channels as x, which may be overwritten."""
    if not takes_strips(conv, x):
        return conv(F.silu(norm(x), inplace=True))
    n, channels, height, width = x.shape
    shared = channels // norm.num_groups
    # Written to one tensor: were they kept, they would lie between the groups' large results in memory, and glibc would take
    # new memory for each of those.
    moments = torch.empty(2, n, norm.num_groups, device=x.device)
    for i, group in enumerate(x.split(shared, 1)):
        group = group.float().contiguous()  # halves would round the mean
        moments[..., i : i + 1] = torch.stack(
            torch.native_group_norm(group, None, None, n, shared, height * width, 1, norm.eps)[1:]
        )
    means, spreads = moments.repeat_interleave(shared, 2)
    scale = norm.weight * spreads
    shift = norm.bias - scale * means
    scale, shift = scale[..., None, None], shift[..., None, None]
    out = x if in_place else x.new_empty(n, conv.out_channels, height, width)
    return conv.prepared(x, lambda part: F.silu(torch.addcmul(shift, part, scale), inplace=True).to(x), out)


class LeanUpsample(Upsample2D):
    def forward(self, hidden_states: Tensor, *args: Any, in_phases: bool = False, **kwargs: Any) -> Tensor:
        """in_phases: with 4 instead of 9 products per value, for the same result but for rounding."""
        x, conv = hidden_states, cast(Any, self.conv)
        if not takes_strips(conv, x):
            return super().forward(x, *args, **kwargs)
        out = x.new_empty(len(x), conv.out_channels, 2 * x.shape[-2], 2 * x.shape[-1])
        if not in_phases:
            return conv.prepared(x, partial(F.interpolate, scale_factor=2.0, mode="nearest"), out)
        weight = torch.einsum("par,qbs,oirs->pqoiab", MEET.to(x.device), MEET.to(x.device), conv.weight.float()).to(x)
        (height, width), rows = x.shape[-2:], strip_rows(out)
        for top in range(0, height, rows):
            strip = F.pad(x[..., max(top - 1, 0) : top + rows + 1, :], (1, 1, int(top == 0), int(top + rows >= height)))
            for p in (0, 1):
                above = strip[..., p : p + strip.shape[-2] - 1, :]
                row = [F.conv2d(above[..., q : q + width + 1], weight[p, q], conv.bias) for q in (0, 1)]
                out[..., 2 * top + p : 2 * (top + rows) : 2, :] = torch.stack(row, -1).flatten(-2)
        return out


class LeanDownsample(Downsample2D):
    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        x = hidden_states
        if not takes_strips(self.conv, x):
            return super().forward(x, *args, **kwargs)
        rows = strip_rows(x)
        starts = range(0, x.shape[-2], rows)  # each strip's padding is below what the convolution reaches, but for the last
        return torch.cat([super(LeanDownsample, self).forward(x[..., top : top + rows + 1, :]) for top in starts], -2)


class LeanEncoder(Encoder):
    """diffusers' encoder without holding on to what its blocks were given."""

    def forward(self, sample: Tensor) -> Tensor:
        x = self.conv_in(sample)
        blocks: Any = self.down_blocks
        for block in blocks:
            for layer in (*block.resnets, *(block.downsamplers or ())):
                x = layer(x)
        return convolved(self.conv_out, self.conv_norm_out, self.mid_block(x))


class LeanDecoder(Decoder):
    """diffusers' decoder without holding on to what its blocks were given.

    Up to 512 pixels it does what diffusers' does, so that the released tiles stay what they are; beyond, where nothing was
    released to be compared with, upsampling is done in phases.
    """

    def forward(self, sample: Tensor, latent_embeds: Tensor | None = None) -> Tensor:
        x = self.mid_block(self.conv_in(sample))
        in_phases = max(sample.shape[-2:]) > TRAINED_SIDE
        blocks: Any = self.up_blocks
        for block in blocks:
            for resnet in block.resnets:
                x = resnet(x)
            for upsampler in block.upsamplers or ():
                x = upsampler(x, in_phases=in_phases)
        return convolved(self.conv_out, self.conv_norm_out, x)


LEAN = {
    ResnetBlock2D: LeanResnet,
    Upsample2D: LeanUpsample,
    Downsample2D: LeanDownsample,
    Encoder: LeanEncoder,
    Decoder: LeanDecoder,
}


def make_codec(
    tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32
) -> "DiffusersCodec | PatchCodec":
    """The codec that a merged file's VAE tensors are of."""
    if is_patch_codec(tensors):
        with torch.device("meta"):
            codec = PatchCodec()
        codec.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
        return codec.eval()
    return DiffusersCodec(tensors, device, dtype)


class DiffusersCodec(nn.Module):
    """A `sampler.Codec` of a state dict under diffusers' names."""

    cell = 8

    def __init__(self, tensors: dict[str, Tensor], device: torch.device | str = "cpu", dtype: torch.dtype = torch.float32):
        super().__init__()
        channels, layers, latent_channels = vae_sizes(tensors)
        with torch.device("meta"):
            vae: Any = AutoencoderKL(
                down_block_types=("DownEncoderBlock2D",) * len(channels),
                up_block_types=("UpDecoderBlock2D",) * len(channels),
                block_out_channels=channels,
                layers_per_block=layers,
                latent_channels=latent_channels,
            )
        vae.load_state_dict({key: value.to(device, dtype) for key, value in tensors.items()}, assign=True)
        vae.set_attn_processor(ThinnedAttention())
        for module in vae.modules():
            if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
                module.__class__ = StripConv
            elif type(module) in LEAN:
                module.__class__ = LEAN[type(module)]
        self.vae = vae.eval()

    def _to_vae(self, x: Tensor) -> Tensor:
        weight = self.vae.quant_conv.weight
        return x.to(weight.device, weight.dtype)

    def encode(self, image: Tensor, noise: Tensor | None = None) -> Tensor:
        posterior = self.vae.encode(self._to_vae(image)).latent_dist
        mean = posterior.mean.to(image.device, torch.float32)
        return mean if noise is None else mean + posterior.std.to(mean) * noise.to(mean)

    def decode(self, latent: Tensor) -> Tensor:
        return self.vae.decode(self._to_vae(latent)).sample.to(latent.device, torch.float32)
