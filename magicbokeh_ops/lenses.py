"""Named lenses: what an aperture's options are in lenses of a kind."""

from dataclasses import fields

from .aperture import Aperture

IDEAL = "ideal"
LENSES = {
    IDEAL: {},
    "fast portrait": {"cat_eye": 0.5, "spherical": -0.3, "fringing": 0.04},
    "vintage swirl": {"cat_eye": 0.6, "swirl": 0.8, "spherical": 0.3, "fringing": 0.06},
    "soap bubble": {"spherical": 0.9, "fringing": 0.04},
    "mirror": {"ring": 0.5},
    "anamorphic 2x": {"squeeze": 2.0, "fringing": 0.04},
    "clean cinema": {"blades": 11, "roundness": 0.5, "spherical": -0.2},
}


def aperture_of(lens: str = IDEAL, **own) -> Aperture:
    """Aperture of one of the `LENSES`. own: options of `Aperture`; those that differ from its defaults count instead of the lens's.

    Raises ValueError for another name, and as `Aperture` does.
    """
    if lens not in LENSES:
        raise ValueError(f"lens is {lens!r}; choose one of: {', '.join(LENSES)}.")
    neutral = {option.name: option.default for option in fields(Aperture)}
    return Aperture(**{**LENSES[lens], **{name: value for name, value in own.items() if value != neutral[name]}})
