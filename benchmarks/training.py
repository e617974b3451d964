"""What training the full-size model takes, on paper: memory and operations per picture of 512 pixels, counted without computing.

python -m benchmarks.training
"""

import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from magicbokeh_ops.model.network import Config, ControlNet, UNet
from magicbokeh_ops.model.vae import vae_of
from magicbokeh_ops.training import trainee
from magicbokeh_ops.training.losses import PictureLoss
from magicbokeh_ops.training.settings import Settings
from magicbokeh_ops.training.trainee import Trainee
from tests.support.full_size import full_size_vae

SIDE = 512
PHASES = {
    "SR pre-training": trainee.RESTORATION,
    "bokeh phase": trainee.BOKEH_PHASE,
    "restoration phase": trainee.RESTORATION_PHASE,
}


def full_size() -> Trainee:
    settings = Settings(stages=())
    config = Config(rank=settings.bokeh_rank)
    with torch.device("meta"):
        unet, controlnet = UNet(config), ControlNet(config)
        model = Trainee(unet, controlnet, vae_of(full_size_vae().state_dict(), "meta"))
        model.add_sr_lora(settings.sr_rank)
    return model


def measure(model: Trainee, parts: tuple[str, ...]) -> tuple[int, int, int]:
    """Learned values, bytes kept for the way back (fp32, attention over everything) and operations, of one picture."""
    learned = model.learn(parts)
    weights = {parameter.untyped_storage()._cdata for parameter in model.parameters()}
    kept = {}  # held, since addresses of what is gone come back

    def pack(tensor):
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:
            kept[storage._cdata] = storage
        return tensor

    photo = torch.empty(1, 3, SIDE, SIDE, device="meta")
    with FlopCounterMode(display=False) as counter:
        with saved_tensors_hooks(pack, lambda tensor: tensor):
            loss = PictureLoss()(model(photo, photo[:, :1], None), photo)
        loss.backward()
    size = sum(storage.nbytes() for storage in kept.values())
    return sum(parameter.numel() for parameter in learned), size, counter.get_total_flops()


def main():
    model = full_size()
    weights = sum(parameter.numel() for parameter in model.parameters())
    print(f"{weights / 1e6:.0f} M values in all, {4 * weights / 2**30:.1f} GiB in fp32\n")
    print("| phase | learned, M | gradients, AdamW and EMA, GiB | kept for the way back, GiB per picture | TFLOP per picture |")
    print("| --- " * 5 + "|")
    for name, parts in PHASES.items():
        learned, kept, work = measure(model, parts)
        print(f"| {name} | {learned / 1e6:.1f} | {16 * learned / 2**30:.2f} | {kept / 2**30:.1f} | {work / 1e12:.1f} |")


if __name__ == "__main__":
    main()
