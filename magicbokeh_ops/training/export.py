"""What was trained, in the layout of the released lora.pkl, for the released code."""

import pickle
import re
from pathlib import Path

import torch
from diffusers.configuration_utils import FrozenDict
from torch import Tensor, nn

from ..atomic import write_whole
from ..weights import checkpoint
from .settings import Settings
from .trainee import Trainee


class _Pickler(pickle._Pickler):
    """Writes stood-in classes under the names of what they stand for, which need not be installed here."""

    def save_global(self, obj, name=None):
        if isinstance(obj, type) and issubclass(obj, checkpoint.StandIn):
            self.write(pickle.GLOBAL + f"{obj.__module__}\n{obj.__name__}\n".encode())
            self.memoize(obj)
        else:
            super().save_global(obj, name)


class _Writer:
    """What torch.save takes from a pickle module."""

    Pickler = _Pickler


def write_adapter(model: Trainee, settings: Settings, template: Path, path: Path) -> None:
    """Write the LoRA and the ControlNet of trained full-size networks as the released code loads them.

    That code wants the ControlNet as a whole pickled module of its own classes. It is that of `template`, the released
    lora.pkl or another one written by that code, with the values changed.
    Raises ValueError if the template is no adapter, or its ControlNet has other sizes.
    """
    checkpoint.read_adapter(template)
    content = checkpoint.read_tensors(template)
    state = {key: value.detach().cpu() for key, value in model.state_dict().items()}
    controlnet = {key[len("controlnet.") :]: value for key, value in state.items() if key.startswith("controlnet.")}
    _put(content["controlnet"], controlnet, template.name)
    frozen = vars(content["controlnet"])
    frozen["_internal_dict"] = FrozenDict(frozen["_internal_dict"])
    if controlnet:
        raise ValueError(f"{template.name} has no {next(iter(controlnet))} in its ControlNet; take the released lora.pkl.")

    unet, unet_modules = _lora(state, "unet.")
    vae, vae_modules = _lora(state, "codec.")
    for name in ("weight", "bias"):
        unet[f"conv_in.base_layer.{name}"] = state[f"unet.conv_in.base_layer.{name}"]
    processor = {key[len("unet.") :]: value for key, value in state.items() if ".processor." in key}
    for key, value in processor.items():
        if key.endswith("_lora.1.weight"):
            processor[key] = value * settings.bokeh_rank
    content.update(
        rank_unet=settings.sr_rank,
        rank_vae=settings.sr_rank,
        state_dict_unet=unet,
        state_dict_vae=vae,
        unet_lora_encoder_modules=[name for name in unet_modules if not _in_decoder(name)],
        unet_lora_decoder_modules=[name for name in unet_modules if _in_decoder(name)],
        vae_lora_encoder_modules=vae_modules,
        processor_state_dict=processor,
        state_dict_attn=settings.bokeh_rank,
    )
    write_whole(path, lambda unfinished: torch.save(content, unfinished, pickle_module=_Writer, pickle_protocol=2))


def _in_decoder(module: str) -> bool:
    return module.startswith(("up_blocks.", "conv_out"))


def _lora(state: dict[str, Tensor], prefix: str) -> tuple[dict[str, Tensor], list[str]]:
    """LoRA tensors under the released adapters' names, and the modules that they are of."""
    out: dict[str, Tensor] = {}
    modules: dict[str, None] = {}
    for key, value in state.items():
        found = re.fullmatch(rf"{re.escape(prefix)}(.+)\.lora_([AB])\.[^.]+\.weight", key)
        if found:
            adapter = "default_decoder" if _in_decoder(found[1]) else "default_encoder"
            out[f"{found[1]}.lora_{found[2]}.{adapter}.weight"] = value
            modules[found[1]] = None
    return out, list(modules)


def _put(module: checkpoint.StandIn, tensors: dict[str, Tensor], name: str, prefix: str = "") -> None:
    """Move tensors by their names into a stood-in module."""
    state = vars(module)
    for key, old in state["_parameters"].items():
        if old is None:
            continue
        new = tensors.pop(prefix + key, None)
        if new is None or new.shape != old.shape:
            raise ValueError(
                f"{name} has {prefix}{key} of {tuple(old.shape)} in its ControlNet, which was not trained; take the released lora.pkl."
            )
        state["_parameters"][key] = nn.Parameter(new)
    for key, child in state["_modules"].items():
        if child is not None:
            _put(child, tensors, name, f"{prefix}{key}.")
