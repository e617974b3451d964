"""MagicBokeh without a host: defocus maps, lens rendering and the scenes they are judged by."""
