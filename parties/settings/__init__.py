"""Settings as TOML files, and what is wrong with them."""
