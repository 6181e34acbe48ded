"""A screen of formulas: sums of label times terminals by period, of which one number each opens."""
