"""Layers of the split network, one file per kind."""
