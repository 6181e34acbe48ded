"""Charts, one file per subject. Pure."""
