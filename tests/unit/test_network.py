"""Our network against diffusers' classes, pruned the same way."""

from collections import Counter

import pytest
import torch
from diffusers import ControlNetModel, UNet2DConditionModel
from torch.utils._python_dispatch import TorchDispatchMode

from magicbokeh_ops.model.network import TIMESTEP, Config, ControlNet, ResnetBlock, UNet
from magicbokeh_ops.weights import checkpoint

SIZES = {"channels": (32, 64, 96, 96), "heads": (2, 4, 3, 0), "groups": 16, "hint_channels": (8, 16, 24, 32)}
CONFIG = Config(**SIZES)


def theirs(kind, **options):
    torch.manual_seed(0)
    model = kind(
        in_channels=4,
        block_out_channels=CONFIG.channels,
        attention_head_dim=(2, 4, 3, 3),
        cross_attention_dim=24,
        norm_num_groups=CONFIG.groups,
        use_linear_projection=True,
        **options,
    ).eval()
    for module in model.modules():
        if hasattr(module, "attn2"):
            module.attn2, module.norm2 = None, None
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.05)
    return model


def ours(kind, state):
    model = kind(CONFIG).eval()
    model.load_state_dict(state)
    return model


@pytest.mark.parametrize("size", [(16, 16), (24, 8), (40, 32)])
@torch.inference_mode()
def test_unet_and_controlnet_equal_diffusers(size):
    unet = theirs(UNet2DConditionModel, mid_block_type=None)
    control = theirs(ControlNetModel, conditioning_embedding_out_channels=CONFIG.hint_channels)
    state = {key: value for key, value in control.state_dict().items() if "mid_block" not in key}
    latent, hint = torch.randn(2, 4, *size), torch.rand(2, 1, 8 * size[0], 8 * size[1])
    prompt = torch.zeros(2, 1, 24)
    residuals, _ = control(latent, TIMESTEP, prompt, (2 * hint - 1).expand(-1, 3, -1, -1), return_dict=False)
    expected = unet(
        latent,
        TIMESTEP,
        prompt,
        down_block_additional_residuals=residuals,
        mid_block_additional_residual=torch.zeros(()),
        return_dict=False,
    )[0]
    found = ours(ControlNet, state)(latent, hint)
    assert len(found) == len(residuals) == 12
    for a, b in zip(found, residuals):
        assert torch.allclose(a, b, atol=1e-5 * b.abs().max().item())
    out = ours(UNet, unet.state_dict())(latent, found)
    assert torch.allclose(out, expected, atol=2e-5 * expected.abs().max().item())


class Operations(TorchDispatchMode):
    """Names of what is computed."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(func.overloadpacket.__name__)
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def test_folded_networks_are_equal_and_compute_nothing_of_time():
    torch.manual_seed(0)
    config = Config(**{**SIZES, "rank": 4})
    networks = UNet(config).eval(), ControlNet(config).eval()
    weights = checkpoint.fold_time(checkpoint.Weights(*(n.state_dict() for n in networks), {}, config))
    folded = UNet(weights.config).eval(), ControlNet(weights.config).eval()
    latent, hint = torch.randn(1, 4, 16, 16), torch.rand(1, 1, 128, 128)
    pictures, computed = [], []
    for (unet, control), tensors in ((networks, None), (folded, (weights.unet, weights.controlnet))):
        if tensors is not None:
            unet.load_state_dict(tensors[0])
            control.load_state_dict(tensors[1])
        with Operations() as seen:
            pictures.append(unet(latent, control(latent, hint), (hint[..., :8, :8] > 0.5).float()))
        computed.append(Counter(seen.names))
    assert (pictures[0] - pictures[1]).abs().max() <= 1e-5 * pictures[0].abs().max()
    gone = computed[0] - computed[1]
    blocks = sum(isinstance(module, ResnetBlock) for n in networks for module in n.modules())
    assert gone["sin"] == gone["cos"] == 2 and gone["linear"] == blocks + 4
    assert not {"sin", "cos", "arange", "exp"} & computed[1].keys()
    assert checkpoint.fold_time(weights) is weights


def test_full_size_has_the_released_number_of_parameters():
    with torch.device("meta"):
        counts = [sum(p.numel() for p in kind().parameters()) / 1e6 for kind in (UNet, ControlNet)]
    assert counts == pytest.approx([723.7, 247.1], abs=0.05)


@torch.inference_mode()
def test_odd_latent_sizes_come_back_whole():
    torch.manual_seed(0)
    config = Config(**{**SIZES, "rank": 4})
    unet, control = UNet(config).eval(), ControlNet(config).eval()
    latent, regions = torch.randn(1, 4, 11, 13), (torch.rand(1, 1, 88, 104) > 0.5).float()
    assert unet(latent, control(latent, torch.rand(1, 1, 88, 104)), regions).shape == latent.shape


@torch.inference_mode()
def test_regions_differ_within_a_batch():
    torch.manual_seed(0)
    config = Config(**{**SIZES, "rank": 4})
    unet, control = UNet(config).eval(), ControlNet(config).eval()
    latent, regions = torch.randn(2, 4, 16, 16), (torch.rand(2, 1, 128, 128) > 0.5).float()
    residuals = control(latent, torch.rand(2, 1, 128, 128))
    together = unet(latent, residuals, regions)
    for i in range(2):
        alone = unet(latent[i : i + 1], [r[i : i + 1] for r in residuals], regions[i : i + 1])
        assert torch.allclose(together[i : i + 1], alone, atol=1e-5)


def test_operations_and_attention_are_the_ones_given():
    made, calls = [], []

    class Operations:
        def __getattr__(self, name):
            made.append(name)
            return getattr(torch.nn, name)

    def attention(q, k, v, heads):
        calls.append(heads)
        return v

    unet = UNet(CONFIG, Operations(), attention)
    assert set(made) == {"Linear", "Conv2d", "GroupNorm", "LayerNorm"}
    latent = torch.randn(1, 4, 16, 16)
    unet(latent, [torch.zeros(())] * 12)
    assert len(calls) == 6 + 9
