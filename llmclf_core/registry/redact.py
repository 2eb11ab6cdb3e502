"""Nothing secret leaves this process: credentials are blotted out of everything that is logged."""

from __future__ import annotations

import re
from typing import Any

# Each starts at a fixed word, so that a long text without any takes linear time.
_USER_INFO = re.compile(r"(://)[^/\s]+@")  # to the last @: a password may have one
_SECRET_FIELD = re.compile(
    r"(?i)((?:password|passwd|secret|token|api[_-]?key|access[_-]?key|credential|signature)"
    r"\s*=\s*)[^&\s,;'\"]+"
)
_BEARER = re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9+/._~-]{8,}=*")


def redact(text: str) -> str:
    """Replace ``user:password@`` of URIs, ``secret=…`` fields and authorization headers by ***."""
    text = _USER_INFO.sub(r"\1***@", text)
    text = _SECRET_FIELD.sub(r"\1***", text)
    return _BEARER.sub(r"\1 ***", text)


def redact_values(values: dict[str, Any]) -> dict[str, str]:
    """Values as text, redacted; keys stay."""
    return {key: redact(str(value)) for key, value in values.items()}
