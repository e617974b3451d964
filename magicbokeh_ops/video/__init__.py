"""Clips that stream: frames come out of a file one at a time, go through stages, and go into another file.

A stage is a function that takes an iterator of frames and gives one. One that must look ahead holds as many frames as it looks
ahead, so memory follows the frame and not the clip.
"""
