"""A whole consortium on one machine: homes, processes, one run, and what only a demo may compute."""
