"""The nodes: sockets, widgets and the host's devices around `magicbokeh_ops`."""

from comfy_api.latest import ComfyExtension, io

from . import folders
from .by_hand import DisparityByHand
from .camera import Camera
from .demo import DemoPhoto
from .depth import FindDisparity, LoadDepthModel
from .disparity import DisparityFrom
from .focus import DefocusMap, FocusMask
from .focus_track import FocusTrack
from .lens import LensBlur, Sweep
from .matte import MatteFromDisparity
from .model import LoadMagicBokeh, MaskedAttention, Sampler, SaveCheckpoint
from .portrait import PortraitPhoto
from .steady import SteadyDisparity
from .touch_up import DisparityTouchUp

folders.register_model_folders()
folders.put_demo_photos()


class MagicBokehExtension(ComfyExtension):
    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        return [
            DemoPhoto,
            PortraitPhoto,
            LoadDepthModel,
            FindDisparity,
            DisparityFrom,
            SteadyDisparity,
            DisparityTouchUp,
            DisparityByHand,
            Camera,
            DefocusMap,
            FocusMask,
            FocusTrack,
            MatteFromDisparity,
            LensBlur,
            Sweep,
            LoadMagicBokeh,
            SaveCheckpoint,
            MaskedAttention,
            Sampler,
        ]
