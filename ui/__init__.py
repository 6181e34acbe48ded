"""The consortium web UI."""
