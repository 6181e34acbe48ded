"""Protocols built on one primitive, the private matrix product."""
