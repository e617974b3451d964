"""Disparity from a photo by Depth Anything V2, and by the paper's version of it that copes with degraded photos."""

from .files import CONFIG, depth_files, is_in_folder, read_depth
from .inference import INPUT_SIZE, disparity, estimate, fitted, memory_needed, network_size, predict, prepare, standardize
from .network import DepthConfig, build, build_untrained, check_config
from .refine import refine_edges

__all__ = [
    "CONFIG",
    "INPUT_SIZE",
    "DepthConfig",
    "build",
    "build_untrained",
    "check_config",
    "depth_files",
    "disparity",
    "estimate",
    "fitted",
    "is_in_folder",
    "memory_needed",
    "network_size",
    "predict",
    "prepare",
    "read_depth",
    "refine_edges",
    "standardize",
]
