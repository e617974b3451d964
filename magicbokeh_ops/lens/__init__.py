"""Thin-lens bokeh without weights: one photo and its disparity in, the photo through a fast lens out.

The photo is taken apart into fragments (colour, weight, signed blur radius), the fragments are sorted by radius, those of
about equal radius are blurred together by the aperture with an FFT in linear light, and the layers are put together from
near to far, each adding no more than what the nearer ones left uncovered. Two things make edges look right:

* a pixel on a depth edge is a mix of two surfaces, so it is split into a near and a far fragment (`edges`);
* what a blurred or sharp silhouette uncovers is not in the photo, so the surface behind is continued under it
  (`behind`) and shows only through the gap.

Wide blurs run at lower resolution, so that the cost hardly grows with the radius; large photos are worked on in blocks, so
that memory follows the block.
"""

from .render import BLOCK, memory_needed, render
from .settings import radius_map
from .tiles import TILE

__all__ = ["BLOCK", "TILE", "memory_needed", "radius_map", "render"]
