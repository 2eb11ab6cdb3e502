"""Settings of the steps' pods: what Kubernetes would not understand is refused by name."""

import pytest

from llmclf_core.config import ClusterConfig, parse_recipe
from llmclf_core.errors import UserError

RECIPE = {"name": "pods", "ingest": {"source": "/cache/data.csv"}, "base": {"source": "some/llm"}}


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("gpus", -1),
        ("gpu_steps", ["ingest"]),
        ("shared_memory", "2 GB"),
        ("shared_memory", "500000K"),
        ("light", {"cpu": "one", "memory": "1Gi", "timeout_hours": 1}),
        ("finetune", {"cpu": "1", "memory": "lots", "timeout_hours": 1}),
        ("score", {"cpu": "1", "memory": "1Gi", "timeout_hours": 0}),
        ("pull_policy", "Sometimes"),
        ("retries", -1),
        ("gpu", 1),
    ],
)
def test_wrong_settings_are_named(setting, value):
    with pytest.raises(UserError, match=rf"cluster\.{setting}"):
        parse_recipe(RECIPE | {"cluster": {setting: value}}, {}, "recipe")


def test_defaults_fit_the_recipe_that_names_none():
    assert parse_recipe(dict(RECIPE), {}, "recipe").cluster == ClusterConfig()
