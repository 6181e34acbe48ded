"""What a terminal shows: tables, colours and progress."""
