"""Files that a person hands us, read by one set of rules: right, or refused with file, column, row and remedy."""
