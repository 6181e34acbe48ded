"""Sealed trees: boosted oblivious extra-trees whose membership, residuals and leaf sums stay in shares."""
