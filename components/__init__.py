"""Thin Kubeflow components: each unpacks its arguments, calls the core once, writes artifacts."""

import os

from llmclf_core import __version__

IMAGE = os.environ.get("LLMCLF_IMAGE", f"llmclf:{__version__}")
"""Image that every component runs in; set ``LLMCLF_IMAGE`` before compiling to pin another."""
