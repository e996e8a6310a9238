"""The JSON Schema for editors, and `braid list`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from braid.config.schema import json_schema, list_variants
from braid.config.variant import families
from braid.errors import BraidError


def test_the_schema_is_json_and_describes_every_field_of_the_recipe() -> None:
    schema = json.loads(json.dumps(json_schema()))
    assert schema["additionalProperties"] is False
    assert set(schema["required"]) == {"encoder", "tasks"}
    train = schema["$defs"]["TrainConfig"]["properties"]
    for name, field in {**schema["properties"], **train}.items():
        assert field.get("description"), name


def test_variants_are_told_apart_by_their_type() -> None:
    tasks = json_schema()["properties"]["tasks"]["additionalProperties"]
    assert tasks["discriminator"]["propertyName"] == "type"
    assert set(tasks["discriminator"]["mapping"]) == {name for name, _, _ in list_variants("tasks")}
    assert "type" in json_schema()["$defs"]["Tagging"]["required"]


def test_every_reference_is_defined() -> None:
    schema = json_schema()
    text = json.dumps(schema)
    for reference in set(text.split('"#/$defs/')[1:]):
        assert reference.split('"')[0] in schema["$defs"]


def test_shorthands_are_part_of_the_schema() -> None:
    definitions = json_schema()["$defs"]
    assert {"type": "string"} in definitions["DataConfig"]["anyOf"]
    sampler = definitions["TrainConfig"]["properties"]["sampler"]
    assert "uniform" in sampler["anyOf"][0]["enum"]


def test_every_variant_is_listed_with_a_file_and_a_line_about_it() -> None:
    import braid.config.families  # noqa: F401

    for family in ("tasks", "encoders", "sources", "samplers", "balancers", "regularisers"):
        assert family in {base.family for base in families()}
        for name, file, line in list_variants(family):
            assert Path(file).is_file(), name
            assert line, name


def test_an_unknown_family_gets_the_nearest_name() -> None:
    with pytest.raises(BraidError, match=r"there is no family 'task': did you mean 'tasks'\?"):
        list_variants("task")
