"""Files of our own encoders that hold what they should not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from braid.checkpoint.files import write_json
from braid.data.packing import pack_ids
from braid.errors import BraidError
from encoders.test_own import config_of, encoder_of, saved


@pytest.mark.parametrize("options", ["x", [1], None, 3])
def test_options_that_are_no_mapping_are_refused(options: Any, tmp_path: Path) -> None:
    encoder = encoder_of("lstm")
    folder = saved(tmp_path, encoder)
    write_json(folder / "config.json", {**encoder.hf_config(), "braid": options})
    with pytest.raises(BraidError, match="`braid` holds no options"):
        config_of("lstm").load(folder)


def test_all_wrong_options_are_named(tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of("lstm"), layers="many", dropout=7, nonsense=1)
    with pytest.raises(BraidError) as caught:
        config_of("lstm").load(folder)
    assert all(name in str(caught.value) for name in ("layers", "dropout", "nonsense"))


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [("synt", "intermediate_size", 10**18), ("gatedcnn", "block_size", 10**40), ("attn", "heads", 10**30)],
)
def test_no_size_is_without_bounds(name: str, field: str, value: int, tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of(name), **{field: value})
    with pytest.raises(BraidError, match=field):
        config_of(name).load(folder)


@pytest.mark.parametrize("value", [True, "7", 60])
def test_the_id_of_padding_is_one_of_the_vocabulary(value: Any, tmp_path: Path) -> None:
    encoder = encoder_of("lstm")
    folder = saved(tmp_path, encoder)
    write_json(folder / "config.json", {**encoder.hf_config(), "pad_token_id": value})
    with pytest.raises(BraidError, match="pad_token_id"):
        config_of("lstm").load(folder)


def test_more_layers_than_weights_are_refused_before_they_are_made(tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of("rcnn"), layers=128, hidden_size=2**14)
    with pytest.raises(BraidError, match="asks for 128 layers, the weights hold fewer"):
        config_of("rcnn").load(folder)


def test_weights_without_a_place_are_named_but_those_of_heads_are_not(tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of("cnn"))
    weights = load_file(folder / "model.safetensors")
    save_file({**weights, "head.weight": torch.zeros(2)}, folder / "model.safetensors")
    config_of("cnn").load(folder)
    save_file({**weights, "layers.7.norm.weight": torch.zeros(32)}, folder / "model.safetensors")
    with pytest.raises(BraidError, match=r"layers\.7\.norm\.weight has no place"):
        config_of("cnn").load(folder)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("name", ["lstm", "cnn"])
def test_weights_of_any_precision_are_read_as_float32(name: str, dtype: torch.dtype, tmp_path: Path) -> None:
    folder = saved(tmp_path, encoder_of(name))
    weights = {key: value.to(dtype) for key, value in load_file(folder / "model.safetensors").items()}
    save_file(weights, folder / "model.safetensors")
    encoder = config_of(name).load(folder).eval()
    assert {value.dtype for value in encoder.state_dict().values()} == {torch.float32}
    assert encoder(pack_ids([[5, 6, 7]]))[0].dtype == torch.float32


def test_what_belongs_to_the_recipe_is_not_written(tmp_path: Path) -> None:
    assert not {"type", "vocab_type", "lowercase"} & set(encoder_of("lstm").hf_config()["braid"])
