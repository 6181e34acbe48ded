"""Tables, one file per subject. Pure."""
