"""A party's process: its data, its policy, its openings, its part in every phase."""
