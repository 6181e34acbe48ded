"""Secure arithmetic, split models, factors and contribution; no I/O."""
