"""llmclf: fine-tune, compare and register text classifiers built on decoder-only LLMs.

The core library. It imports neither kfp nor anything in ``components/`` or ``pipelines/``.
"""

__version__ = "0.1.0"
