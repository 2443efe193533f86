"""Stands in for the CUDA bindings, with memory of the host."""
