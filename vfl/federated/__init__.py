"""Funds of one kind train together: federated averaging, of whose updates the sum alone is seen."""
