"""Double-entry ledger; knows nothing of runs."""
