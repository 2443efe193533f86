"""Command lines of the training part."""
