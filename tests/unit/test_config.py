from pathlib import Path

import pytest

from llmclf_core.config import (
    BaseModelConfig,
    HeadConfig,
    IngestConfig,
    LabelColumns,
    Recipe,
    Section,
    SplitConfig,
    TrainingConfig,
    load_recipe,
    parse,
)
from llmclf_core.errors import UserError

MINIMAL = "name: t\ningest: {source: a.csv}\nbase: {source: x/y}\n"


def recipe(tmp_path: Path, text: str = MINIMAL) -> Path:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return path


def test_overrides_reach_nested_settings(tmp_path):
    loaded = load_recipe(recipe(tmp_path), {"seeds": [7], "base.quantization": "nf4"})
    assert loaded.seeds == [7]
    assert loaded.base.quantization == "nf4"
    assert loaded.ingest.source == "a.csv"


def test_misspelt_setting_is_refused_with_its_place(tmp_path):
    with pytest.raises(UserError, match=r"training\.learning_rte: no such setting"):
        load_recipe(recipe(tmp_path, MINIMAL + "training: {learning_rte: 1}\n"))


def test_every_wrong_setting_is_listed():
    with pytest.raises(UserError) as error:
        parse(TrainingConfig, {"epochs": 0, "loss": "hinge"}, "training")
    assert "epochs" in str(error.value)
    assert "loss" in str(error.value)


def test_kubeflow_sends_integers_as_floats():
    assert parse(TrainingConfig, {"epochs": 3.0}, "training").epochs == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "not valid YAML"),
        ("- a\n", "a recipe is a mapping"),
        ("name: t\n", "ingest: Field required"),
        (MINIMAL.replace("name: t", "name: 'a b'"), "name"),
    ],
)
def test_broken_recipes(tmp_path, text, message):
    with pytest.raises(UserError, match=message):
        load_recipe(recipe(tmp_path, text))


def test_missing_recipe(tmp_path):
    with pytest.raises(UserError, match=r"cannot read recipe .*none\.yaml: No such file"):
        load_recipe(tmp_path / "none.yaml")


def test_override_below_a_plain_value(tmp_path):
    with pytest.raises(UserError, match="cannot set name\\.x: name is not a section"):
        load_recipe(recipe(tmp_path), {"name.x": 1})


@pytest.mark.parametrize(
    ("section", "data", "message"),
    [
        (SplitConfig, {"validation": 0.5, "test": 0.5}, "no rows are left to train on"),
        (LabelColumns, {"columns": ["a", "b"]}, "takes exactly one label column"),
        (HeadConfig, {"init": "frozen", "layers": 2}, "init: frozen needs"),
        (HeadConfig, {"init": "frozen", "pooling": "attention"}, "init: frozen needs"),
        (BaseModelConfig, {"source": "x", "quantization": "int4"}, "quantization"),
    ],
)
def test_settings_that_contradict_each_other(section, data, message):
    with pytest.raises(UserError, match=message):
        parse(section, data, "here")


def every_section(section: type[Section]) -> set[type[Section]]:
    found = {section}
    for field in section.model_fields.values():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            found |= every_section(field.annotation)
    return found


def test_every_setting_whose_name_does_not_explain_it_is_documented():
    plain = {"ingest", "base", "tokenize", "lora", "head", "training", "evaluate", "registry"}
    plain |= {"tracking", "seed", "rank", "dropout", "epochs", "weight_decay", "max_grad_norm"}
    missing = [
        f"{section.__name__}.{name}"
        for section in every_section(Recipe)
        for name, field in section.model_fields.items()
        if not field.description and name not in plain
    ]
    assert not missing


def test_settings_are_immutable():
    config = IngestConfig(source="x")
    with pytest.raises(ValueError, match="frozen"):
        config.encoding = "latin-1"
