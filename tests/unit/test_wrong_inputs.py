"""Mistakes as users make them, in every node and on the command line: each gets a sentence or two that name the input as it is shown."""

import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from safetensors.torch import save_file

from magicbokeh_ops.cli import main
from tests.support import stand_in_host as host
from tests.support.model_files import ADAPTER, DEPTH, SD, UNET
from tests.support.small_models import nano_like

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 5214865159\n"
PAGE = b"<!DOCTYPE html>\n<html><head><title>Not found</title>"
NONE = "none (merged file)"
NAN = float("nan")

WEIGHTS = nano_like()
MODEL, VAE = host.nodes.bokeh_model.load_model(WEIGHTS), host.nodes.bokeh_model.load_vae(WEIGHTS.vae)
DEPTH_MODEL = host.nodes.depth.load_depth_model(DEPTH)
# VAEs of other models, of which only the sizes are asked: one of 16 channels, a video's, and a VAE without anything in it.
FLUX_VAE = SimpleNamespace(first_stage_model=torch.nn.Module(), latent_channels=16, latent_dim=2, downscale_ratio=8)
VIDEO_VAE = SimpleNamespace(first_stage_model=torch.nn.Module(), latent_channels=4, latent_dim=3, downscale_ratio=8)
NO_VAE = SimpleNamespace(first_stage_model=None, latent_channels=4, latent_dim=2, downscale_ratio=8)


def photo(frames=1, height=66, width=88, channels=3):
    return torch.rand(frames, height, width, channels, generator=torch.Generator().manual_seed(0))


def ramp(frames=1, height=66, width=88):
    return torch.linspace(0, 1, width).expand(frames, height, width).clone()


def with_pixel(values, value):
    values = values.clone()
    values[0, 3, 4] = value
    return values


def check_words(text: str, name: str) -> None:
    """That a message is one or two short sentences in one line, and says the name that the user knows the input by."""
    assert "\n" not in text and len(text) <= 300 and text.endswith("."), text
    assert len(re.findall(r"\. [A-Z]", text)) <= 1, text
    assert re.search(rf"(?<![\w-]){re.escape(name)}(?![\w-])", text), f"{name!r} is not in: {text}"


# Node, input at fault, and all inputs that differ from a widget's default. Calls make tensors when a test runs.
LENS = {"image": photo(), "disparity": ramp()}
SAMPLER = {"model": MODEL, "vae": VAE, "image": photo(), "defocus": ramp()}
SWEEP = {**LENS, "frames": 2}
BOX = {"disparity": ramp(), "image": photo(), "focus_mode": "box"}
RELATIVE = "disparity, one distance known"
METRES, KNOWN = {"depth": 1 + ramp()}, {"depth": ramp(), "depth_is": RELATIVE}
TOUCH_UP = {"disparity": ramp(), "mask": ramp()}
MASK = {"disparity": ramp(), "image": photo(), "focus_mode": "mask"}
WRONG = {
    # Load Portrait Photo, whose input is a file
    "page as a photo": ("PortraitPhoto", "page.jpg", {"image": "page.jpg"}),
    "photo of floats": ("PortraitPhoto", "float.tif", {"image": "float.tif"}),
    "refine below 0 of a portrait": ("PortraitPhoto", "refine", {"image": "magicbokeh_demo.jpg", "refine": -1}),
    # Video Focus Track
    "no photos for a point": ("FocusTrack", "image", {"disparity": ramp(3)}),
    "no mask to follow": ("FocusTrack", "subject_mask", {**LENS, "follow": "mask"}),
    "no boxes to follow": ("FocusTrack", "boxes", {**LENS, "follow": "box"}),
    "boxes of other frames": ("FocusTrack", "boxes", {**LENS, "follow": "box", "boxes": [[0, 0, 9, 9]] * 2}),
    "words as boxes": ("FocusTrack", "boxes", {**LENS, "follow": "box", "boxes": "on the left"}),
    "words as keys": ("FocusTrack", "keys", {**LENS, "follow": "keys", "keys": "near, then far"}),
    "a key after the end": ("FocusTrack", "keys", {**LENS, "follow": "keys", "keys": "0: 0.5, 24: 0.4"}),
    "a frame after the end": ("FocusTrack", "point_frame", {**LENS, "point_frame": 3}),
    "a point beside the photo": ("FocusTrack", "point_x", {**LENS, "point_x": 1.5}),
    "speed below 0": ("FocusTrack", "max_speed", {**LENS, "max_speed": -1.0}),
    "smoothing of NaN": ("FocusTrack", "smoothing", {**LENS, "smoothing": NAN}),
    # A number for each frame
    "focus of other frames": ("LensBlur", "focus", {**LENS, "focus": [0.1, 0.2]}),
    "k of other frames": ("DefocusMap", "k", {"disparity": ramp(3), "k": [0.1, 0.2]}),
    # Disparity From Photo
    "photo in 0..255": ("FindDisparity", "image", {"depth_model": DEPTH_MODEL, "image": 255 * photo()}),
    "photo with NaN": ("FindDisparity", "image", {"depth_model": DEPTH_MODEL, "image": with_pixel(photo(), NAN)}),
    "photo that is a strip": ("FindDisparity", "image", {"depth_model": DEPTH_MODEL, "image": photo(1, 4, 88)}),
    "no photo for depth": ("FindDisparity", "image", {"depth_model": DEPTH_MODEL, "image": None}),
    "input_size below a patch": ("FindDisparity", "input_size", {"depth_model": DEPTH_MODEL, "image": photo(), "input_size": 0}),
    "smooth_range below 0": ("FindDisparity", "smooth_range", {"depth_model": DEPTH_MODEL, "image": photo(), "smooth_range": -1}),
    "refine below 0 of a photo": ("FindDisparity", "refine", {"depth_model": DEPTH_MODEL, "image": photo(), "refine": -1}),
    # Disparity From Depth
    "coloured depth": ("DisparityFrom", "depth", {"depth": photo()}),
    "constant depth": ("DisparityFrom", "depth", {"depth": torch.ones(1, 66, 88)}),
    "depth of five axes": ("DisparityFrom", "depth", {"depth": photo()[None]}),
    "no depth": ("DisparityFrom", "depth", {"depth": None}),
    "depth without pixels": ("DisparityFrom", "depth", {"depth": torch.zeros(0, 66, 88)}),
    "depth that is unknown": ("DisparityFrom", "depth", {"depth": torch.full((1, 66, 88), NAN)}),
    "geometry without depth": ("DisparityFrom", "depth", {"depth": {"depth": None}}),
    "distances that are none": (
        "DisparityFrom",
        "depth",
        {"depth": -1 - ramp(), "convention": "distance (in any unit)"},
    ),
    "distances taken for a picture": ("DisparityFrom", "convention", {"depth": 9 * ramp(), "convention": "depth (near = black)"}),
    "depth not stretched": ("DisparityFrom", "normalize", {"depth": 9 * ramp(), "normalize": "none"}),
    "depth of another shape": ("DisparityFrom", "depth", {"depth": ramp(1, 66, 66), "image": photo()}),
    "refine without the photo": ("DisparityFrom", "refine", {"depth": ramp(), "refine": 3}),
    "refine below 0": ("DisparityFrom", "refine", {"depth": ramp(), "image": photo(), "refine": -1}),
    "depth_ratio of 1": ("DisparityFrom", "depth_ratio", {"depth": ramp(), "convention": "depth (near = black)", "depth_ratio": 1.0}),
    # Steady Disparity
    "disparity to steady in 0..255": ("SteadyDisparity", "disparity", {"disparity": 255 * ramp(), "image": photo()}),
    "disparity to steady of another shape": ("SteadyDisparity", "disparity", {"disparity": ramp(1, 66, 66), "image": photo()}),
    "photos to steady by for other frames": ("SteadyDisparity", "image", {"disparity": ramp(3), "image": photo(2)}),
    "strength of 2": ("SteadyDisparity", "strength", {"disparity": ramp(), "image": photo(), "strength": 2.0}),
    # Disparity Touch-Up
    "no disparity to touch up": ("DisparityTouchUp", "disparity", {**TOUCH_UP, "disparity": None}),
    "disparity to touch up in 0..255": ("DisparityTouchUp", "disparity", {**TOUCH_UP, "disparity": 255 * ramp()}),
    "disparity to touch up with holes": ("DisparityTouchUp", "disparity", {**TOUCH_UP, "disparity": with_pixel(ramp(), NAN)}),
    "no mask of what to touch up": ("DisparityTouchUp", "mask", {**TOUCH_UP, "mask": None}),
    "nothing to touch up": ("DisparityTouchUp", "mask", {**TOUCH_UP, "mask": torch.zeros(1, 64, 64)}),
    "touch-up mask in 0..255": ("DisparityTouchUp", "mask", {**TOUCH_UP, "mask": 255 * ramp()}),
    "touch-up mask of another shape": ("DisparityTouchUp", "mask", {**TOUCH_UP, "mask": ramp(1, 66, 66)}),
    "touch-up masks for other frames": ("DisparityTouchUp", "mask", {**TOUCH_UP, "mask": ramp(2), "disparity": ramp(3)}),
    "everything in front of itself": (
        "DisparityTouchUp",
        "mask",
        {**TOUCH_UP, "mask": torch.ones(1, 66, 88), "operation": "in front of its surroundings"},
    ),
    "photo to touch up by in 0..255": ("DisparityTouchUp", "image", {**TOUCH_UP, "image": 255 * photo()}),
    "no such operation": ("DisparityTouchUp", "operation", {**TOUCH_UP, "operation": "paint"}),
    "value of 2": ("DisparityTouchUp", "value", {**TOUCH_UP, "value": 2.0}),
    "amount of NaN": ("DisparityTouchUp", "amount", {**TOUCH_UP, "amount": NAN}),
    "radius below 0": ("DisparityTouchUp", "radius", {**TOUCH_UP, "radius": -1}),
    "edge below 0": ("DisparityTouchUp", "edge", {**TOUCH_UP, "edge": -1}),
    "point beside the photo": ("DisparityTouchUp", "point_x", {**TOUCH_UP, "operation": "value of a point", "point_x": 1.5}),
    # Disparity By Hand
    "no photo to draw on": ("DisparityByHand", "image", {"image": None}),
    "photo without pixels to draw on": ("DisparityByHand", "image", {"image": photo(0)}),
    "thing that is none": ("DisparityByHand", "things", {"image": photo(), "things": photo()}),
    "thing in 0..255": ("DisparityByHand", "things_2", {"image": photo(), "things_2": 255 * ramp()}),
    "thing with NaN": ("DisparityByHand", "things_3", {"image": photo(), "things_3": with_pixel(ramp(), NAN)}),
    "thing of another shape": ("DisparityByHand", "things_4", {"image": photo(), "things_4": ramp(1, 66, 66)}),
    "horizon of NaN": ("DisparityByHand", "horizon", {"image": photo(), "horizon": NAN}),
    "near end above the horizon": ("DisparityByHand", "near_end", {"image": photo(), "near_end": 0.2}),
    "upright horizon": ("DisparityByHand", "horizon_tilt", {"image": photo(), "horizon_tilt": 90.0}),
    "wall behind the horizon": ("DisparityByHand", "back_wall", {"image": photo(), "back_wall": -1.0}),
    "left wall of NaN": ("DisparityByHand", "left_wall", {"image": photo(), "left_wall": NAN}),
    "right wall below 0": ("DisparityByHand", "right_wall", {"image": photo(), "right_wall": -1.0}),
    "vanishing point at the edge": ("DisparityByHand", "vanishing_x", {"image": photo(), "vanishing_x": 1.0}),
    # Camera
    "coloured distances": ("Camera", "depth", {"depth": photo()}),
    "wall": ("Camera", "depth", {"depth": torch.full((1, 66, 88), 3.0)}),
    "distances below 0": ("Camera", "depth", {"depth": -1 - ramp()}),
    "no distances": ("Camera", "depth", {"depth": None}),
    "geometry without distances": ("Camera", "depth", {"depth": {"depth": None}}),
    "disparity below 0": ("Camera", "depth", {"depth": 2 * ramp() - 1, "depth_is": RELATIVE}),
    "distances of another shape": ("Camera", "depth", {**METRES, "image": photo(1, 66, 66)}),
    "photos for other frames": ("Camera", "image", {"depth": 1 + ramp(3), "image": photo(2)}),
    "no light": ("Camera", "image", {**METRES, "image": photo(0)}),
    "focal_length of 0": ("Camera", "focal_length", {**METRES, "focal_length": 0.0}),
    "focal_length below 0": ("Camera", "focal_length", {**METRES, "focal_length": -50.0}),
    "focal_length of NaN": ("Camera", "focal_length", {**METRES, "focal_length": NAN}),
    "f_number of 0": ("Camera", "f_number", {**METRES, "f_number": 0.0}),
    "f_number below 0": ("Camera", "f_number", {**METRES, "f_number": -1.8}),
    "f_number of NaN": ("Camera", "f_number", {**METRES, "f_number": NAN}),
    "focus within the focal length": ("Camera", "focus_distance", {**METRES, "focus_distance": 0.05}),
    "focus_distance below 0": ("Camera", "focus_distance", {**METRES, "focus_distance": -2.0}),
    "focus_distance of NaN": ("Camera", "focus_distance", {**METRES, "focus_distance": NAN}),
    "no such sensor": ("Camera", "sensor", {**METRES, "sensor": "glass plate"}),
    "no such focal length": ("Camera", "focal_length_is", {**METRES, "focal_length_is": "long"}),
    "no such depth": ("Camera", "depth_is", {**METRES, "depth_is": "deep"}),
    "known_distance of 0": ("Camera", "known_distance", {**KNOWN, "known_distance": 0.0}),
    "known_distance of NaN": ("Camera", "known_distance", {**KNOWN, "known_distance": NAN}),
    "known_x beside the photo": ("Camera", "known_x", {**KNOWN, "known_x": 1.5}),
    "known_y of NaN": ("Camera", "known_y", {**KNOWN, "known_y": NAN}),
    "known point in the sky": ("Camera", "known_x", {"depth": ramp().clamp(min=0.6) - 0.6, "depth_is": RELATIVE}),
    # Defocus Map
    "disparity in 0..255": ("DefocusMap", "disparity", {"disparity": 255 * ramp()}),
    "constant disparity": ("DefocusMap", "disparity", {"disparity": torch.zeros(1, 64, 64)}),
    "disparity with holes": ("DefocusMap", "disparity", {"disparity": with_pixel(ramp(), float("inf"))}),
    "no disparity": ("DefocusMap", "disparity", {"disparity": None}),
    "disparity of another shape": ("DefocusMap", "disparity", {"disparity": ramp(1, 66, 66), "image": photo()}),
    "frames that do not match": ("DefocusMap", "image", {"disparity": ramp(3), "image": photo(2)}),
    "k of NaN": ("DefocusMap", "k", {"disparity": ramp(), "k": NAN}),
    "k below 0": ("DefocusMap", "k", {"disparity": ramp(), "k": -1.0}),
    "focus of NaN": ("DefocusMap", "focus", {"disparity": ramp(), "focus_mode": "value", "focus": NAN}),
    "focus_x beside the photo": ("DefocusMap", "focus_x", {"disparity": ramp(), "focus_x": 1.5}),
    "focus_y of NaN": ("DefocusMap", "focus_y", {"disparity": ramp(), "focus_y": NAN}),
    "no mask": ("DefocusMap", "focus_mask", {"disparity": ramp(), "focus_mode": "mask"}),
    "empty mask": ("DefocusMap", "focus_mask", {**MASK, "focus_mask": torch.zeros(1, 64, 64)}),
    "mask of another shape": ("DefocusMap", "focus_mask", {**MASK, "focus_mask": ramp(1, 66, 66)}),
    "mask in 0..255": ("DefocusMap", "focus_mask", {**MASK, "focus_mask": 255 * ramp()}),
    "masks for other frames": ("DefocusMap", "focus_mask", {**MASK, "focus_mask": ramp(3)}),
    "no box": ("DefocusMap", "focus_box", {**BOX, "focus_box": []}),
    "box of four numbers": ("DefocusMap", "focus_box", {**BOX, "focus_box": [8, 8, 16, 16]}),
    "box beside the photo": ("DefocusMap", "focus_box", {**BOX, "focus_box": {"x": 500, "y": 0, "width": 9, "height": 9}}),
    "box without the photo": ("DefocusMap", "image", {**BOX, "image": None, "focus_box": {"x": 8, "y": 8, "width": 9, "height": 9}}),
    # Focus Mask
    "defocus in 0..255": ("FocusMask", "defocus", {"defocus": 255 * ramp()}),
    "defocus below 0": ("FocusMask", "defocus", {"defocus": -ramp()}),
    "smooth below 0": ("FocusMask", "smooth", {"defocus": ramp(), "smooth": -1}),
    # Matte From Disparity
    "photo for a matte in 0..255": ("MatteFromDisparity", "image", {**LENS, "image": 255 * photo()}),
    "no disparity for a matte": ("MatteFromDisparity", "disparity", {**LENS, "disparity": None}),
    "disparity of another shape for a matte": ("MatteFromDisparity", "disparity", {**LENS, "disparity": ramp(1, 66, 66)}),
    "rough mask in 0..255": ("MatteFromDisparity", "mask", {**LENS, "mask": 255 * ramp()}),
    "rough mask of another shape": ("MatteFromDisparity", "mask", {**LENS, "mask": ramp(1, 66, 66)}),
    "rough masks for other frames": ("MatteFromDisparity", "mask", {**LENS, "image": photo(2), "mask": ramp(3)}),
    "step of 0": ("MatteFromDisparity", "step", {**LENS, "step": 0.0}),
    "reach below 0": ("MatteFromDisparity", "reach", {**LENS, "reach": -2}),
    # Lens Blur
    "photo of the lens in 0..255": ("LensBlur", "image", {**LENS, "image": 255 * photo()}),
    "channels first": ("LensBlur", "image", {**LENS, "image": photo().movedim(-1, 1)}),
    "photo without its batch": ("LensBlur", "image", {**LENS, "image": photo()[0]}),
    "opaque as 255": ("LensBlur", "image", {**LENS, "image": torch.cat([photo(), 255 * ramp()[..., None]], -1)}),
    "no photo": ("LensBlur", "image", {**LENS, "image": None}),
    "matte in 0..255": ("LensBlur", "matte", {**LENS, "matte": 255 * ramp()}),
    "square matte": ("LensBlur", "matte", {**LENS, "matte": ramp(1, 66, 66)}),
    "plate without a matte": ("LensBlur", "background", {**LENS, "background": photo()}),
    "plate of another shape": ("LensBlur", "background", {**LENS, "matte": ramp(), "background": photo(1, 66, 66)}),
    "disparity without its plate": ("LensBlur", "background_disparity", {**LENS, "matte": ramp(), "background_disparity": ramp()}),
    "square disparity": ("LensBlur", "disparity", {**LENS, "disparity": ramp(1, 66, 66)}),
    "picture as disparity": ("LensBlur", "disparity", {**LENS, "disparity": photo()}),
    "distances as disparity": ("LensBlur", "disparity", {**LENS, "disparity": 5 + ramp()}),
    "k of the lens": ("LensBlur", "k", {**LENS, "k": NAN}),
    "focus of the lens": ("LensBlur", "focus", {**LENS, "focus": NAN}),
    "two blades": ("LensBlur", "blades", {**LENS, "blades": 2}),
    "roundness of 2": ("LensBlur", "roundness", {**LENS, "blades": 5, "roundness": 2.0}),
    "rotation of NaN": ("LensBlur", "rotation", {**LENS, "blades": 5, "rotation": NAN}),
    "squeeze of 0": ("LensBlur", "squeeze", {**LENS, "squeeze": 0.0}),
    "ring of 1": ("LensBlur", "ring", {**LENS, "ring": 1.0}),
    "star of a round opening": ("LensBlur", "star", {**LENS, "star": 0.5}),
    "black iris": ("LensBlur", "iris", {**LENS, "iris": torch.zeros(1, 8, 8)}),
    "unknown lens": ("LensBlur", "lens", {**LENS, "lens": "tele"}),
    "grain of 2": ("LensBlur", "grain", {**LENS, "grain": 2.0}),
    "tilt of NaN": ("LensBlur", "tilt", {**LENS, "tilt": NAN}),
    "cat_eye of 2": ("LensBlur", "cat_eye", {**LENS, "cat_eye": 2.0}),
    "highlight_boost of 99": ("LensBlur", "highlight_boost", {**LENS, "highlight_boost": 99.0}),
    "near_scale below 0": ("LensBlur", "near_scale", {**LENS, "near_scale": -1.0}),
    "far_scale of NaN": ("LensBlur", "far_scale", {**LENS, "far_scale": NAN}),
    # Focus and Aperture Sweep
    "one frame": ("Sweep", "frames", {**LENS, "frames": 1}),
    "maps for another sweep": ("Sweep", "disparity", {**SWEEP, "disparity": ramp(3)}),
    "maps for another clip": ("Sweep", "disparity", {**SWEEP, "image": photo(3), "disparity": ramp(2)}),
    "k_from of NaN": ("Sweep", "k_from", {**SWEEP, "k_from": NAN}),
    "k_to below 0": ("Sweep", "k_to", {**SWEEP, "k_to": -1.0}),
    "focus_from of NaN": ("Sweep", "focus_from", {**SWEEP, "focus_from": NAN}),
    "focus_to of NaN": ("Sweep", "focus_to", {**SWEEP, "focus_to": float("inf")}),
    # Load Depth Model
    "page as a depth model": ("LoadDepthModel", "model", {"model": "page.pth"}),
    "depth model that is gone": ("LoadDepthModel", "model", {"model": "gone.pth"}),
    "pointer as a depth model": ("LoadDepthModel", "model", {"model": "pointer.safetensors"}),
    "Stable Diffusion as a depth model": ("LoadDepthModel", "model", {"model": "sd.safetensors"}),
    "adapter as a depth model": ("LoadDepthModel", "model", {"model": "lora.pth"}),
    "metric depth model": ("LoadDepthModel", "model", {"model": "depth_anything_v2_metric_hypersim_vits.pth"}),
    "folder with a page in it": ("LoadDepthModel", "model", {"model": "small"}),
    # Load MagicBokeh
    "adapter alone": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": NONE}),
    "page as checkpoint": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "page.pkl", "base": NONE}),
    "page beside an automatic base": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "page.safetensors", "base": "automatic"}),
    "checkpoint that is gone": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "gone.pkl", "base": NONE}),
    "base that is gone": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "gone.ckpt"}),
    "pointer as checkpoint": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "pointer.safetensors", "base": NONE}),
    "U-Net as checkpoint": ("LoadMagicBokeh", "checkpoint", {"checkpoint": UNET.name, "base": "sd.safetensors"}),
    "Stable Diffusion as checkpoint": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "sd.safetensors", "base": NONE}),
    "depth model as checkpoint": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "DAdepth.pkl", "base": NONE}),
    "cut checkpoint": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "cut.safetensors", "base": NONE}),
    "pickle that runs something": ("LoadMagicBokeh", "checkpoint", {"checkpoint": "bad.pkl", "base": NONE}),
    "page as base": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "page.safetensors"}),
    "pointer as base": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "pointer.ckpt"}),
    "inpainting base": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "inpainting.safetensors"}),
    "depth base": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "depth.safetensors"}),
    "merged file as base": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "merged.safetensors"}),
    "Flux as base": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "flux.safetensors"}),
    "folder with a pointer in it": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "pointer"}),
    "folder with a page as config": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "page"}),
    "folder of other weights": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "flax"}),
    "folder without a VAE": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "no_vae"}),
    "folder whose index is none": ("LoadMagicBokeh", "base", {"checkpoint": "lora.pkl", "base": "index"}),
    # Save MagicBokeh Checkpoint
    "VAE of Flux to save": ("SaveCheckpoint", "vae", {"model": MODEL, "vae": FLUX_VAE}),
    "no VAE to save": ("SaveCheckpoint", "vae", {"model": MODEL, "vae": NO_VAE}),
    # MagicBokeh Masked Attention
    "attention mask in 0..255": ("MaskedAttention", "focus_mask", {"model": MODEL, "focus_mask": 255 * ramp()}),
    "picture as attention mask": ("MaskedAttention", "focus_mask", {"model": MODEL, "focus_mask": photo()[0]}),
    "no attention mask": ("MaskedAttention", "focus_mask", {"model": MODEL, "focus_mask": None}),
    # MagicBokeh Sampler
    "photo of the sampler in -1..1": ("Sampler", "image", {**SAMPLER, "image": 2 * photo() - 1}),
    "small photo": ("Sampler", "image", {**SAMPLER, "image": photo(1, 40, 88), "defocus": ramp(1, 40, 88)}),
    "defocus of the sampler": ("Sampler", "defocus", {**SAMPLER, "defocus": 255 * ramp()}),
    "defocus of another shape": ("Sampler", "defocus", {**SAMPLER, "defocus": ramp(1, 66, 66)}),
    "upscale of 9": ("Sampler", "upscale", {**SAMPLER, "upscale": 9.0}),
    "VAE of Flux": ("Sampler", "vae", {**SAMPLER, "vae": FLUX_VAE}),
    "VAE of a video model": ("Sampler", "vae", {**SAMPLER, "vae": VIDEO_VAE}),
    "posterior of nano": ("Sampler", "posterior_seed", {**SAMPLER, "posterior_seed": 3}),
}  # fmt: skip


@pytest.fixture(scope="module")
def files(tmp_path_factory, merged, single):
    """Everything that people take for the right file, by its name; folders end in a slash."""
    folder = tmp_path_factory.mktemp("files")

    def put(name, content):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)

    for name in ("page.pth", "page.pkl", "page.safetensors"):
        put(name, PAGE)
    for name in ("pointer.pkl", "pointer.ckpt", "pointer.safetensors"):
        put(name, POINTER)
    for name, source in (("lora.pkl", ADAPTER), ("lora.pth", ADAPTER), (UNET.name, UNET), ("DAdepth.pkl", DEPTH)):
        shutil.copy(source, folder / name)
    shutil.copy(DEPTH, folder / "depth_anything_v2_metric_hypersim_vits.pth")
    shutil.copy(merged, folder / "merged.safetensors")
    put("cut.safetensors", merged.read_bytes()[:9999])
    put("bad.pkl", b"\x80\x04c" + b"os\nsystem\n" + b"(V.\ntR.")
    save_file(single, folder / "sd.safetensors")
    for name, channels in (("inpainting", 9), ("depth", 5)):
        first = {"model.diffusion_model.input_blocks.0.0.weight": torch.zeros(32, channels, 3, 3)}
        save_file({**single, **first}, folder / f"{name}.safetensors")
    save_file({"double_blocks.0.img_attn.qkv.weight": torch.zeros(1)}, folder / "flux.safetensors")
    for name in ("pointer", "page", "flax", "no_vae", "index"):
        shutil.copytree(SD, folder / name)
    put(f"pointer/unet/{UNET.name}", POINTER)
    put("page/unet/config.json", PAGE)
    (folder / "flax" / "unet" / UNET.name).rename(folder / "flax" / "unet" / "diffusion_flax_model.msgpack")
    shutil.rmtree(folder / "no_vae" / "vae")
    put("index/unet/diffusion_pytorch_model.safetensors.index.json", b"[]")
    put("small/config.json", json.dumps({"model_type": "depth_anything"}).encode())
    put("small/model.safetensors", PAGE)
    return folder


@pytest.fixture(scope="module")
def model_folders(files):
    """The same in ComfyUI's model folders, and photos in its input folder."""
    paths = host.folder_paths
    photos = Path(paths.get_input_directory())
    (photos / "page.jpg").write_bytes(PAGE)
    Image.fromarray(np.zeros((70, 90), dtype=np.float32)).save(photos / "float.tif")
    before, cached = dict(paths.folder_names_and_paths), dict(paths.filename_list_cache)
    for name, (places, endings) in before.items():
        paths.folder_names_and_paths[name] = ([*places, str(files)], {*endings} - {"folder"} | {".ckpt", ".safetensors"})
    paths.filename_list_cache.clear()
    yield
    paths.folder_names_and_paths, paths.filename_list_cache = before, cached


@pytest.mark.parametrize("case", WRONG)
def test_nodes(case, model_folders):
    node, name, inputs = WRONG[case]
    with pytest.raises(ValueError) as error:
        host.run(getattr(host.nodes, node), **inputs)
    told = str(error.value)
    check_words(told, name)
    if node in ("LoadDepthModel", "LoadMagicBokeh"):
        assert told.startswith(f"{name}: ")
    assert "--" not in told and "magicbokeh " not in told, f"of the command line: {told}"


def test_every_node_with_inputs_is_tried():
    named = {node for node, _, _ in WRONG.values()}
    classes = vars(host.nodes)
    nodes = {name for name, one in classes.items() if isinstance(one, type) and issubclass(one, host.ComfyNode)}
    assert named == {name for name in nodes if classes[name].define_schema().inputs}


# Command, name at fault, and arguments; files by their names in the fixture's folder.
SHOT = ("photo.png", "-d", "map.png", "-o", "out.png")
FOCUS = ("--focus", "0.5")
CAMERA = ("--convention", "distance", "--focal-length", "50", "--f-number", "2", "--focus-distance", "1")
COMMANDS = {
    "no focus": ("lens", "--focus", SHOT),
    "focus point beside the photo": ("lens", "--focus-point", (*SHOT, "--focus-point", "2,0.5")),
    "focus point of one number": ("lens", "--focus-point", (*SHOT, "--focus-point", "2")),
    "empty focus mask": ("lens", "--focus-mask", (*SHOT, "--focus-mask", "black.png")),
    "focus mask with unknown pixels": ("lens", "--focus-mask", (*SHOT, "--focus-mask", "unknown.pfm")),
    "focus mask of another shape": ("lens", "--focus-mask", (*SHOT, "--focus-mask", "square.png")),
    "map of another shape": ("lens", "square.png", ("photo.png", "-d", "square.png", *FOCUS, "-o", "out.png")),
    "constant map": ("lens", "black.png", ("photo.png", "-d", "black.png", *FOCUS, "-o", "out.png")),
    "map that is unknown": ("lens", "nothing.pfm", ("photo.png", "-d", "nothing.pfm", *FOCUS, "-o", "out.png")),
    "coloured map": ("lens", "photo.png", ("photo.png", "-d", "photo.png", *FOCUS, "-o", "out.png")),
    "millimetres": ("lens", "millimetres.npy", ("photo.png", "-d", "millimetres.npy", *FOCUS, "-o", "out.png")),
    "several arrays": ("lens", "two.npz", ("photo.png", "-d", "two.npz", *FOCUS, "-o", "out.png")),
    "page as a map": ("lens", "page.png", ("photo.png", "-d", "page.png", *FOCUS, "-o", "out.png")),
    "page as a photo": ("lens", "page.png", ("page.png", "-d", "map.png", *FOCUS, "-o", "out.png")),
    "no such photo": ("lens", "none.png", ("none.png", "-d", "map.png", *FOCUS, "-o", "out.png")),
    "no such format": ("lens", "out.psd", ("photo.png", "-d", "map.png", *FOCUS, "-o", "out.psd")),
    "no such folder": ("lens", "nowhere/out.png", ("photo.png", "-d", "map.png", *FOCUS, "-o", "nowhere/out.png")),
    "no such device": ("lens", "--device", (*SHOT, *FOCUS, "--device", "toaster")),
    "distances not stretched": ("lens", "--normalize", (*SHOT, *FOCUS, "--convention", "distance", "--normalize", "none")),
    "distances as a picture": ("lens", "--convention", ("photo.png", "-d", "metres.npy", "--convention", "depth", *FOCUS, "-o", "out.png")),
    "one blade": ("lens", "--blades", (*SHOT, *FOCUS, "--blades", "1")),
    "cat eye of 2": ("lens", "--cat-eye", (*SHOT, *FOCUS, "--cat-eye", "2")),
    "boost of 99": ("lens", "--highlight-boost", (*SHOT, *FOCUS, "--highlight-boost", "99")),
    "part of a camera": ("lens", "--f-number", (*SHOT, "--convention", "distance", "--focal-length", "50")),
    "camera and k": ("lens", "--k", (*SHOT, *CAMERA, "--k", "8")),
    "camera without distances": ("lens", "--convention", (*SHOT, *CAMERA[2:])),
    "focus within the focal length of a camera": ("lens", "--focus-distance", (*SHOT, *CAMERA, "--focus-distance", "0.04")),
    "no such sensor of a camera": ("lens", "--sensor", (*SHOT, *CAMERA, "--sensor", "large")),
    "no model": ("render", "--model", (*SHOT, *FOCUS)),
    "no map and no depth model": ("render", "--depth-model", ("photo.png", "--model", "nano", *FOCUS, "-o", "out.png")),
    "seed of nano": ("render", "--seed", (*SHOT, *FOCUS, "--model", "nano", "--seed", "3")),
    "adapter as merged file": ("render", "lora.pkl", (*SHOT, *FOCUS, "--model", "lora.pkl")),
    "pointer as merged file": ("render", "pointer.pkl", (*SHOT, *FOCUS, "--model", "pointer.pkl")),
    "Stable Diffusion as merged file": ("render", "sd.safetensors", (*SHOT, *FOCUS, "--model", "sd.safetensors")),
    "U-Net as adapter": ("convert", UNET.name, ("--base", "sd.safetensors", "--adapter", UNET.name, "-o", "x.safetensors")),
    "merged file as adapter": ("convert", "merged.safetensors", ("--base", "sd.safetensors", "--adapter", "merged.safetensors", "-o", "x.safetensors")),
    "inpainting base": ("convert", "inpainting.safetensors", ("--base", "inpainting.safetensors", "--adapter", "lora.pkl", "-o", "x.safetensors")),
    "folder with a pointer in it": ("convert", f"pointer/unet/{UNET.name}", ("--base", "pointer", "--adapter", "lora.pkl", "-o", "x.safetensors")),
    "folder of other weights": ("convert", "flax/unet", ("--base", "flax", "--adapter", "lora.pkl", "-o", "x.safetensors")),
    "page as a depth model": ("depth", "page.pth", ("photo.png", "--model", "page.pth", "-o", "out.npy")),
    "Stable Diffusion as a depth model": ("depth", "sd.safetensors", ("photo.png", "--model", "sd.safetensors", "-o", "out.npy")),
    "folder that is no depth model": ("depth", "flax", ("photo.png", "--model", "flax", "-o", "out.npy")),
    "what inspect does not know": ("inspect", "DAdepth.pkl", ("DAdepth.pkl",)),
}  # fmt: skip


@pytest.fixture(scope="module")
def scene(files):
    """Photos and maps beside the model files."""

    def put_pfm(name, values):
        (files / name).write_bytes(b"Pf\n90 70\n-1\n" + values[::-1].astype("<f4").tobytes())

    across = np.tile(np.linspace(0, 255, 90).astype(np.uint8), (70, 1))
    Image.fromarray(np.dstack([across, across.T.repeat(2, 0)[:70, :70].repeat(2, 1)[:, :90], 255 - across])).save(
        files / "photo.png"
    )
    Image.fromarray(across).save(files / "map.png")
    Image.fromarray(across[:, :70]).save(files / "square.png")
    Image.fromarray(0 * across).save(files / "black.png")
    holes = across / np.float32(255)
    holes[3:5, 3:5] = np.nan
    put_pfm("unknown.pfm", holes)
    put_pfm("nothing.pfm", np.full_like(holes, np.nan))
    np.save(files / "millimetres.npy", 500 + across.astype(np.uint16))
    np.save(files / "metres.npy", 1 + across.astype(np.float32))
    np.savez(files / "two.npz", depth=holes, mask=holes)
    (files / "page.png").write_bytes(PAGE)
    return files


@pytest.mark.parametrize("case", COMMANDS)
def test_commands(case, scene, monkeypatch):
    command, name, arguments = COMMANDS[case]
    monkeypatch.chdir(scene)
    result = CliRunner().invoke(main, [command, *arguments])
    told = result.output.strip().splitlines()[-1].removeprefix("Error: ")
    assert result.exit_code in (1, 2) and isinstance(result.exception, SystemExit), result.exception
    if name.startswith("--"):  # a message may call it as the library does
        told = re.sub(rf"(--)?\b{name[2:].replace('-', '[ _-]')}\b", name, told)
    check_words(told, name)
    assert not re.search(r"\b(connect|node|widget)", told), f"of ComfyUI: {told}"
    assert not list(scene.glob("out.*")) and not (scene / "x.safetensors").exists()
