"""Factor panels, evaluation and export."""
