"""What coordinator and node say to each other: commands and reports, one model each."""
