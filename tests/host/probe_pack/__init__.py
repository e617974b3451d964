"""Test nodes: inputs of every awkward kind, what goes wrong on purpose, and a probe that reports what came out."""

import importlib.util
import json
import os
import sys
import time
from pathlib import Path

import comfy.model_management as mm
import comfy.model_patcher
import comfy.supported_models
import numpy as np
import torch
from aiohttp import web
from comfy.utils import ProgressBar
from server import PromptServer

from .pictures import IMAGES, MASKS, noise, ramp

TESTS = Path(__file__).resolve().parents[2]


def of_tests(name):
    spec = importlib.util.spec_from_file_location(f"magicbokeh_{name}", TESTS / "support" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


memory_limit = of_tests("memory_limit")
of_tests("half_precision").work_in_single_precision()

PREVIEWS = []  # seconds, width, height and mean of the pictures that were sent while nodes ran
PROGRESS = []  # what bars showed
ASKED = []  # kinds of models, and bytes of room that they were loaded with
LISTED = []  # folders whose files were listed, by whomever
get_total_memory = mm.get_total_memory
CARD = {"part": None, "share": None}  # what has too little memory: this share of its largest tensor
LARGEST = {}  # bytes, of the largest tensor in each part as long as it had room


def update_and_note(bar, value, total=None, preview=None, update=ProgressBar.update_absolute):
    PROGRESS.append(value)
    if preview is not None:
        picture = np.asarray(preview[1], dtype=float)
        PREVIEWS.append([time.monotonic(), *preview[1].size, picture.mean()])
    return update(bar, value, total, preview)


def load_and_note(models, memory_required=0, *args, load=mm.load_models_gpu, **kwargs):
    ASKED.append([type(models[0].model).__name__, memory_required])
    return load(models, memory_required, *args, **kwargs)


def scan_and_note(path=".", scan=os.scandir):
    LISTED.append(str(path))
    return scan(path)


os.scandir = scan_and_note  # which os.walk uses too
ProgressBar.update_absolute = update_and_note
mm.load_models_gpu = load_and_note


@PromptServer.instance.routes.get("/test/{noted}")
async def noted(request):
    notes = {"previews": PREVIEWS, "progress": PROGRESS, "asked": ASKED, "listed": LISTED}[request.match_info["noted"]]
    mm.get_total_memory = get_total_memory
    CARD.update(part=None, share=None)
    sent = notes[:]
    notes.clear()
    return web.json_response(sent)


DEPTH = 1 / (0.1 + ramp())


class TestImage:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (list(IMAGES),)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("IMAGE",), "make", "test"

    def make(self, kind):
        return (IMAGES[kind](),)


class TestMask:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (list(MASKS),)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MASK",), "make", "test"

    def make(self, kind):
        return (MASKS[kind](),)


class TestGeometry:
    INPUT_TYPES = classmethod(lambda cls: {"required": {"far_is": (["infinite", "sky", "missing"],)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("DA3_GEOMETRY", "MOGE_GEOMETRY"), "make", "test"

    def make(self, far_is):
        far = ramp() < 0.25
        return (
            {"depth": DEPTH, "sky": far.float()} if far_is == "sky" else {"image": noise()},
            {"depth": DEPTH.masked_fill(far, float("inf"))} if far_is == "infinite" else {"image": noise()},
        )


class TestBoxes:
    """What detectors give: a list of boxes for each frame, the best first."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"found": ("BOOLEAN",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("BOUNDING_BOX",), "make", "test"

    def make(self, found):
        boxes = [{"x": 40.0, "y": 8.0, "width": 16.0, "height": 30.0, "score": 0.9}, {"x": 0, "y": 0, "width": 9, "height": 9}]
        return ([[], boxes] if found else [[]],)


TRACKS = {
    "list": lambda: [0.1, 0.5, 0.9],
    "lists in a list": lambda: [[0.1, 0.5], [0.9]],
    "tensor": lambda: torch.tensor([0.1, 0.5, 0.9]),
    "array": lambda: np.array([0.1, 0.5, 0.9], dtype=np.float32),
    "one": lambda: [0.5],
    "too short": lambda: [0.1, 0.9],
    "with NaN": lambda: [0.1, float("nan"), 0.9],
}


class TestTrack:
    """A number for each frame over one FLOAT link, as packs for weights and sound hand it on."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"kind": (list(TRACKS),)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("FLOAT",), "make", "test"

    def make(self, kind):
        return (TRACKS[kind](),)


class TestTrackAsList(TestTrack):
    """The same as ComfyUI's own list."""

    OUTPUT_IS_LIST = (True,)


class TestHalved:
    """Makes one number of another, and runs for each of a list."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"number": ("FLOAT", {"forceInput": True})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("FLOAT",), "halve", "test"

    def halve(self, number):
        return (number / 2,)


class TestOutOfMemory:
    """The model runs out of memory in its first steps."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"model": ("MAGICBOKEH_MODEL",), "steps": ("INT", {"default": 1})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MAGICBOKEH_MODEL",), "break_it", "test"

    def break_it(self, model, steps):
        left = [steps]

        def fail(_module, inputs):
            if left[0] == 0:
                hook.remove()
                return
            left[0] -= 1
            raise mm.OOM_EXCEPTION("pretended")

        hook = model.patcher.model.unet.register_forward_pre_hook(fail)
        return (model,)


def on_small_card(part, work):
    """A function that runs out of memory as CARD says."""

    def within(*args, **options):
        if CARD["share"] is None:
            return work(*args, **options)
        limit = CARD["share"] * LARGEST[part] if part == CARD["part"] and CARD["share"] < 1 else float("inf")
        with memory_limit.MemoryLimit(limit) as card:
            done = work(*args, **options)
        LARGEST[part] = max(LARGEST.get(part, 0), card.largest)
        return done

    within.is_limited = True
    return within


class TestMemoryLimit:
    """VAE, networks or lens get a share of the memory that they took before, until somebody asks for notes. Passes on what it gets."""

    INPUT_TYPES = classmethod(
        lambda cls: {
            "required": {"part": (["vae", "networks", "lens"],), "percent": ("INT", {"default": 100})},
            "optional": {"model": ("MAGICBOKEH_MODEL",), "vae": ("VAE",), "image": ("IMAGE",)},
        }
    )
    RETURN_TYPES, FUNCTION, CATEGORY = ("MAGICBOKEH_MODEL", "VAE", "IMAGE"), "shrink", "test"
    IS_CHANGED = classmethod(lambda cls, **_: float("nan"))

    def shrink(self, part, percent, model=None, vae=None, image=None):
        lens = next(module for name, module in sys.modules.items() if name.endswith("magicbokeh.nodes.lens")).lens
        places = [("lens", lens, "render")]
        if model is not None:
            places += [("vae", vae.first_stage_model, "encode"), ("vae", vae.first_stage_model, "decode")]
            places.append(("networks", model.patcher.model.unet, "forward"))
        for name, owner, method in places:
            if not hasattr(getattr(owner, method), "is_limited"):
                setattr(owner, method, on_small_card(name, getattr(owner, method)))
        CARD.update(part=part, share=percent / 100)
        return model, vae, image


class TestCard:
    """The model on a card of some size, until somebody asks for what was asked of it."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"model": ("MAGICBOKEH_MODEL",), "gibibytes": ("INT", {"default": 6})}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MAGICBOKEH_MODEL",), "plug_in", "test"

    def plug_in(self, model, gibibytes):
        ASKED.clear()
        mm.get_total_memory = lambda *_args, **_options: gibibytes * 2**30
        return (model,)


class TestBlindDepth:
    """The depth model sees nothing once."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"model": ("MAGICBOKEH_DEPTH_MODEL",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MAGICBOKEH_DEPTH_MODEL",), "blind", "test"

    def blind(self, model):
        def forget(_module, _inputs, output):
            hook.remove()
            output.predicted_depth = torch.zeros_like(output.predicted_depth)
            return output

        hook = model.patcher.model.network.register_forward_hook(forget)
        return (model,)


class TestStableDiffusion:
    """In place of Load Checkpoint: a random U-Net of Stable Diffusion 2's kind, small, with the VAE that it is given."""

    INPUT_TYPES = classmethod(lambda cls: {"required": {"vae": ("VAE",)}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "CLIP", "VAE"), "make", "test"

    def make(self, vae):
        sizes = {
            "image_size": 32,
            "in_channels": 4,
            "out_channels": 4,
            "model_channels": 64,
            "channel_mult": [1, 2],
            "num_res_blocks": [1, 1],
            "transformer_depth": [1, 1],
            "transformer_depth_output": [1, 1, 1, 1],
            "transformer_depth_middle": 1,
            "context_dim": 1024,
            "use_spatial_transformer": True,
            "use_linear_in_transformer": True,
        }
        config = comfy.supported_models.SD20(sizes)
        config.set_inference_dtype(torch.float32, None)
        model = config.get_model({}).eval()
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, std=0.02)
        return comfy.model_patcher.ModelPatcher(model, mm.get_torch_device(), mm.unet_offload_device()), None, vae


class TestConditioning:
    INPUT_TYPES = classmethod(lambda cls: {"required": {}})
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "test"

    def make(self):
        return ([[torch.zeros(1, 77, 1024), {}]],)


class TestProbe:
    INPUT_TYPES = classmethod(
        lambda cls: {
            "optional": {
                "image": ("IMAGE",),
                "mask": ("MASK",),
                "number": ("FLOAT", {"forceInput": True}),
                "latent": ("LATENT",),
            }
        }
    )
    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "report", "test", True

    def report(self, image=None, mask=None, number=None, latent=None):
        values = next((x for x in (image, mask, latent and latent["samples"]) if x is not None), None)
        found = {"number": number}
        if values is not None:
            found = {
                "shape": list(values.shape),
                "dtype": str(values.dtype),
                "low": float(values.min()),
                "high": float(values.max()),
                "row": values[0, len(values[0]) // 2].float().flatten().tolist()[:200],
                "frames": values.float().flatten(1).mean(1).tolist(),
                "contiguous": values.is_contiguous(),
            }
        return {"ui": {"found": [json.dumps(found)]}}


NODE_CLASS_MAPPINGS = {
    cls.__name__: cls
    for cls in (
        TestImage,
        TestMask,
        TestGeometry,
        TestBoxes,
        TestTrack,
        TestTrackAsList,
        TestHalved,
        TestOutOfMemory,
        TestMemoryLimit,
        TestCard,
        TestBlindDepth,
        TestStableDiffusion,
        TestConditioning,
        TestProbe,
    )
}
