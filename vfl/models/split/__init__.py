"""The split network: opened sums of embeddings below a top model."""
