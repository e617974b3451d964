"""Files of weights: what they are, what they hold, and one model out of them. `magicbokeh_ops.checkpoint` has the public names."""
