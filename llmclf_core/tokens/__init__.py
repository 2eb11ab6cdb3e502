"""Texts to token ids, and token ids to batches."""
