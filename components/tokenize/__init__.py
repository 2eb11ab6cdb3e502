"""The `tokenize` component."""
