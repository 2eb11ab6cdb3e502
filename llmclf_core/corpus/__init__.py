"""Ingest: labelled texts of many formats become one validated, deduplicated, split corpus."""

from llmclf_core.corpus.ingest import ingest

__all__ = ["ingest"]
