"""The released adapter."""

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from .kinds import ADAPTER, MERGED, WHOLE, mistaken, what_it_is
from .parts import Adapter, Tensors, shown
from .pickles import StandIn, module_tensors
from .reading import AGAIN, read_tensors


def read_adapter(path: Path, mapped: bool = False) -> Adapter:
    """The released `lora.pkl`. mapped: as for `read_tensors`. Raises ValueError if it is something else."""
    return adapter_from(read_tensors(path, mapped), path)


NEEDED = {
    "rank_unet": int,
    "rank_vae": int,
    "state_dict_unet": dict,
    "state_dict_vae": dict,
    "controlnet": StandIn,
    "state_dict_attn": int,
    "processor_state_dict": dict,
    "unet_lora_encoder_modules": list,
    "unet_lora_decoder_modules": list,
    "vae_lora_encoder_modules": list,
}


def adapter_from(content: Any, path: Path) -> Adapter:
    """The adapter in what `read_tensors` gives. Raises ValueError if it is something else."""
    what = what_it_is(content)
    if what != ADAPTER:
        advice = "use lora.pkl, or a merged checkpoint made with it"
        if what == WHOLE:
            advice = "use lora.pkl here, and this file as base"
        elif what == MERGED:  # given beside a base, or without the metadata by which it is known
            advice = "use it without a base, and with its metadata"
        raise ValueError(f"{shown(path)} {mistaken(content, ADAPTER)}; {advice}.")
    for key, kind in NEEDED.items():
        if key not in content:
            raise ValueError(f"{path.name} misses {key}; {AGAIN}.")
        value = content[key]
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
        whole = all(isinstance(part, Tensor if kind is dict else str) for part in parts)
        if not isinstance(value, kind) or not whole or (isinstance(value, int) and value < 1):
            raise ValueError(f"{path.name} is damaged: its {key} is not what it should be; {AGAIN}.")
    adapter = Adapter(
        unet=content["state_dict_unet"],
        vae=content["state_dict_vae"],
        controlnet=module_tensors(content["controlnet"]),
        processor=content["processor_state_dict"],
        rank_unet=content["rank_unet"],
        rank_vae=content["rank_vae"],
        rank_bokeh=content["state_dict_attn"],
        unet_modules=content["unet_lora_encoder_modules"] + content["unet_lora_decoder_modules"],
        vae_modules=content["vae_lora_encoder_modules"],
        name=path.name,
    )
    check_adapter(adapter)
    return adapter


def check_adapter(adapter: Adapter) -> None:
    """Raise ValueError naming what the adapter itself lacks, whatever its base."""
    for key in ("conv_in.base_layer.weight", "conv_in.base_layer.bias"):
        if key not in adapter.unet:
            raise ValueError(f"{adapter.name} misses {key}; {AGAIN}.")
    for lora, rank, modules in (
        (adapter.unet, adapter.rank_unet, adapter.unet_modules),
        (adapter.vae, adapter.rank_vae, adapter.vae_modules),
    ):
        updates = find_updates(lora)
        for module in modules:
            if updates.get(module, {}).keys() != {"A", "B"}:
                raise ValueError(f"{adapter.name} misses a LoRA tensor of {module}; {AGAIN}.")
            if len(updates[module]["A"]) != rank:
                raise ValueError(f"{adapter.name} says rank {rank}, but {module} has {len(updates[module]['A'])}; {AGAIN}.")
    for layer in {key.rpartition(".processor.")[0] for key in adapter.processor}:
        for part in ("q", "k", "v", "out"):
            for i in (0, 1):
                key = f"{layer}.processor.to_{part}_lora.{i}.weight"
                if key not in adapter.processor:
                    raise ValueError(f"{adapter.name} misses {key}; {AGAIN}.")


def find_updates(lora: Tensors) -> dict[str, dict[str, Tensor]]:
    """The two matrices A and B of each module."""
    updates: dict[str, dict[str, Tensor]] = {}
    for key, value in lora.items():
        found = re.fullmatch(r"(.+)\.lora_([AB])\.[^.]+\.weight", key)
        if found:
            updates.setdefault(found[1], {})[found[2]] = value
    return updates
