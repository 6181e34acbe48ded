"""The coordinator: schedules and accounts; sees no data."""
