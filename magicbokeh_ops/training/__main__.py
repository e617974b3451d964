"""`accelerate launch -m magicbokeh_ops.training CONFIG -o DIR`, the same as `magicbokeh train`."""

from ..cli import train_command

train_command()
