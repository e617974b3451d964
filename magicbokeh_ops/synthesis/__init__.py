"""Scenes whose true bokeh is known."""
