"""The `finish` component."""
