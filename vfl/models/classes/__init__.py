"""Several classes of static data: a model of each against the rest, all on the same rows."""
