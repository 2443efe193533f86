"""Training: data, model, losses, loop, metrics. Needs the `train` extra."""
