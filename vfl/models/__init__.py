"""One folder per kind of model, each with the same faces."""
