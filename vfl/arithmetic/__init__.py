"""Rings, encryption and randomness: arithmetic without messages."""
