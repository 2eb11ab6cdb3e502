"""Kubeflow Pipelines as ``llmclf submit`` sees it: the way there, schedules, sources, waiting."""
