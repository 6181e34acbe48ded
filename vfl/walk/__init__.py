"""When which rows are used: schedule, purge and search."""
