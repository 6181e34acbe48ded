"""The sealed network: trained on shares to the end, so that nothing of a row opens but its score."""
