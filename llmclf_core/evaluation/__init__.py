"""Figures on held-out rows: scores, calibration, significance and the report."""
