"""Training data: rendered scenes."""
