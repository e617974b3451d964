"""Which encoder a file gets, by its ending and the bits of what goes into it.

No frame is stored out of order: it costs some size, but a file that ends anywhere plays up to there, and times stay as they are.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

from .codes import SHARED, Coding

QUALITY = 16  # rate factor of H.264 and HEVC at which a loss is hard to see


@dataclass(frozen=True)
class Encoder:
    """name, options: of FFmpeg. layouts: of pixels, as players have them. tag: by which players know it. in_line: what brings a packet
    from a file back into the form in which the encoder gives it."""

    name: str
    options: dict[str, str]
    layouts: Collection[str]
    tag: str | None = None
    in_line: str | None = None


COARSE = ("yuv420", "yuv422", "yuv444")
ENDINGS = (".mp4", ".m4v", ".mov", ".mkv")


def check_ending(path: Path) -> None:
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(
            f"{path} has no ending of a video that can be written; use .mp4 (H.264, or HEVC for more than 8 bits), .mov (ProRes) or "
            ".mkv (FFV1, without loss)."
        )
    if not path.parent.is_dir():
        raise ValueError(f"{path} can't be written: there is no folder {path.parent}.")


def encoder_for(path: Path, coding: Coding, quality: float) -> Encoder:
    """quality: rate factor of H.264 and HEVC, 0..51, less is better."""
    ending = path.suffix.lower()
    if ending == ".mkv":
        return Encoder("ffv1", {"level": "3", "slicecrc": "1", "g": "1"}, (*SHARED, "gbr"))
    if ending == ".mov":
        profile = "hq" if layout_for(coding.layout, ("yuv422", "yuv444")) == "yuv422" else "4444"
        return Encoder("prores_ks", {"profile": profile, "vendor": "apl0"}, ("yuv422", "yuv444"))
    if coding.bits == 8:
        return Encoder("libx264", {"crf": f"{quality:g}", "bf": "0"}, COARSE, in_line="h264_mp4toannexb")
    options = {"crf": f"{quality:g}", "x265-params": "bframes=0:log-level=error"}
    return Encoder("libx265", options, COARSE, "hvc1", "hevc_mp4toannexb")


def layout_for(layout: str, layouts: Collection[str]) -> str:
    """One of `layouts` that holds all the chroma of this one."""
    if layout in layouts:
        return layout
    return "yuv422" if SHARED.get(layout, (1, 1))[0] > 1 else "yuv444"


def stored_coding(coding: Coding, encoder: Encoder, av: ModuleType) -> Coding:
    """What an encoder stores of a coding, without a loss if it can. Raises ValueError if it is lacking."""
    try:
        known = {one.name for one in av.Codec(encoder.name, "w").video_formats}
    except av.codec.codec.UnknownCodecError:
        raise ValueError(
            f"The encoder {encoder.name} is missing in this PyAV; write another kind of file (.mp4, .mov, .mkv)."
        ) from None
    layout = layout_for(coding.layout, encoder.layouts)
    wanted = [replace(coding, layout=layout, bits=bits) for bits in range(coding.bits, 17)]
    held = [one for one in wanted if one.format in known]
    # ProRes ends at 10 bits.
    return held[0] if held else replace(coding, layout=layout, bits=10)
