"""The `fit_probe` component."""
