"""Weights in files, one step each; `checkpoint` has the public names."""
