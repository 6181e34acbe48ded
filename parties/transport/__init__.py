"""Channels between parties."""
