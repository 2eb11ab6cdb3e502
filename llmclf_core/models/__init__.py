"""Base weights, adapters, pooling heads and frozen embeddings."""
