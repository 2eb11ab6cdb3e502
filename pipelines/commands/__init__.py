"""The commands of ``llmclf``, one file each; ``pipelines.cli`` puts them together."""
