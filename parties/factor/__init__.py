"""A finished factor as files: forms, tables, checks, sealing and delivery."""
