"""Mistakes as users make them, in every node: each gets a sentence or two that name the input as it is shown."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from tests.support import stand_in_host as host
from tests.support.model_files import DEPTH, UNET
from tests.support.small_models import nano_like
from tests.support.wrong_files import PAGE, check_words

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
def model_folders(wrong_files):
    """The same in ComfyUI's model folders, and photos in its input folder."""
    paths = host.folder_paths
    photos = Path(paths.get_input_directory())
    (photos / "page.jpg").write_bytes(PAGE)
    Image.fromarray(np.zeros((70, 90), dtype=np.float32)).save(photos / "float.tif")
    before, cached = dict(paths.folder_names_and_paths), dict(paths.filename_list_cache)
    for name, (places, endings) in before.items():
        paths.folder_names_and_paths[name] = ([*places, str(wrong_files)], {*endings} - {"folder"} | {".ckpt", ".safetensors"})
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
