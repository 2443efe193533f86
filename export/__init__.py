"""The converter: from a checkpoint to a model package. `export.package.export` is the main routine."""
