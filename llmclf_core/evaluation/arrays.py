"""Names for the array types that the figures are computed on."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Indicators = npt.NDArray[np.int8]
"""0/1 matrix, shape (n_rows, n_labels), int8."""

Floats = npt.NDArray[np.floating[Any]]
"""Floating point array; its shape is said where it is used."""
