"""The claims of arXiv 2512.12677, re-run at the scale of two CPU cores."""
