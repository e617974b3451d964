"""ComfyUI's devices and the memory on them."""

import logging
from collections.abc import Callable
from functools import cache
from typing import TypeVar

import comfy.model_management as mm
import comfy.model_patcher
import torch
from torch import Tensor, nn

from ..magicbokeh_ops import sampler
from ..magicbokeh_ops.depth import refine

# How devices say it that have no exception of their own for it in torch, in small letters and without underlines: Apple's, the CPU
# on Linux and on Windows, DirectML, Intel's two interfaces, cuBLAS and cuDNN, MIOpen.
OUT_OF_MEMORY = (
    "out of memory",
    "outofmemory",
    "invalid buffer size",
    "failed to allocate",
    "can't allocate memory",
    "not enough memory",
    "not enough gpu video memory",
    "could not allocate tensor",
    "out of device memory",
    "out of host memory",
    "out of resources",
    "alloc failed",
    "allocfailed",
)

T = TypeVar("T")
B = TypeVar("B", bound=sampler.Halvable)


def compute_device(memory: int, fourier: bool = False) -> torch.device:
    """The device to work on, with room made for `memory` bytes. fourier: for Fourier transforms, which are the CPU's where it must be."""
    device = mm.get_torch_device()
    if fourier and not has_complex_numbers(device):
        _tell_that_the_cpu_works(device)
        return torch.device("cpu")
    mm.free_memory(memory, device)
    return device


def has_complex_numbers(device: torch.device) -> bool:
    """Whether Fourier transforms work. DirectML (known to torch as privateuseone) has none; trying ends the whole process."""
    if device.type == "mps":
        return torch.backends.mps.is_macos_or_newer(14, 0)
    return device.type != "privateuseone"


@cache
def _tell_that_the_cpu_does(what: str, device: torch.device) -> None:
    logging.warning(f"MagicBokeh: {device} has too little memory to {what}, so the CPU does it.")


@cache
def _tell_that_the_cpu_works(device: torch.device) -> None:
    logging.warning(f"MagicBokeh: {device} has no complex numbers, so the lens works on the CPU.")


def patcher(model: nn.Module) -> comfy.model_patcher.ModelPatcher:
    # Looked up late: ComfyUI replaces this class when it starts.
    kind = getattr(comfy.model_patcher, "CoreModelPatcher", comfy.model_patcher.ModelPatcher)
    return kind(model, load_device=mm.get_torch_device(), offload_device=mm.unet_offload_device())


def freeable_memory(device: torch.device) -> int:
    """Bytes of a card that are free or held by ComfyUI's models, but for what ComfyUI leaves to others.

    All memory of what is no card: what other programs leave of it changes too much for a result to depend on it.
    """
    if device.type in ("cpu", "mps"):
        return mm.get_total_memory(device)
    held = sum(loaded.model_loaded_memory() for loaded in mm.current_loaded_models if loaded.device == device)
    return mm.get_free_memory(device) + held - mm.extra_reserved_memory()


def is_oom(error: Exception) -> bool:
    """Whether a device ran out of memory."""
    known = mm.is_oom(error) if hasattr(mm, "is_oom") else isinstance(error, mm.OOM_EXCEPTION)
    text = str(error).lower().replace("_", " ")
    return known or isinstance(error, RuntimeError) and any(words in text for words in OUT_OF_MEMORY)


def free_everything() -> None:
    """Take all models off the devices, and give back what torch keeps for later."""
    mm.unload_all_models()
    mm.soft_empty_cache()


def retry_when_freed(work: Callable[[], T], free: Callable[[], None] = free_everything) -> T:
    """work(), and once more after `free` if memory runs out. `work` loads the models that it needs."""
    try:
        return work()
    except Exception as error:
        if not is_oom(error):
            raise
    # Outside of the handler, since the exception holds on to what filled the memory.
    free()
    return work()


def refined(photo: Tensor, disparity: Tensor, reach: int, report: Callable[[int, int], None]) -> Tensor:
    """`refine_edges` on the device, or on the CPU if there is too little memory."""

    def work(device: torch.device) -> Tensor:
        return refine.refine_edges(photo, disparity, reach, report, device)

    return on_device_or_cpu(work, refine.memory_needed(photo.shape[-2:], reach), "refine edges")


def on_device_or_cpu(work: Callable[[torch.device], T], memory: int, what: str) -> T:
    """work(device), which needs `memory` bytes there, or on the CPU if there is too little. what: for the log."""
    device = compute_device(memory)
    try:
        return work(device)
    except Exception as error:
        if not is_oom(error) or device.type == "cpu":
            raise
    free_everything()
    _tell_that_the_cpu_does(what, device)
    return work(torch.device("cpu"))


def halved_to_fit(budget: B, needed: Callable[[B], float], device: torch.device) -> B:
    """The budget, halved as after running out of memory until what it needs can be freed on the device."""
    room = freeable_memory(device)
    while needed(budget) > room and budget != budget.halved():
        budget = budget.halved()
    return budget


def smaller_until_it_fits(
    work: Callable[[B], T], budget: B, free: Callable[[], None], what: str, cost: str = ", which can change fine detail"
) -> T:
    """work(budget), retried with less at once each time memory runs out, down to the smallest budget.

    what: with what to do about it, ends the sentence of the MemoryError that is raised when the least is too much.
    cost: ends the sentence in the log that says so.
    """

    def free_and_say() -> None:
        logging.warning(f"MagicBokeh ran out of memory and goes on with less at once{cost}.")
        free()

    try:
        return sampler.smaller_until_it_fits(work, budget, is_oom, free_and_say)
    except Exception as error:
        if not is_oom(error):
            raise
    free()
    raise MemoryError(f"There is too little memory for {what}.")
