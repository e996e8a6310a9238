from pathlib import Path

import pytest
import torch
import transformers

import tiny
from braid.data.packing import pack_ids
from braid.encoders.bert import Bert
from braid.model.network import BraidModel
from braid.nn.pooling import Pooler, RowFeatures
from braid.nn.segments import pad, select

KINDS = ["cls", "mean", "max", "weighted", "attention"]


@pytest.fixture
def batch():
    return pack_ids([[1, 2, 3], [4], [5, 6], [7, 8, 9, 10, 11]])


def one_row(pooler, hidden_LD):
    if pooler.kind == "cls":
        return hidden_LD[0]
    if pooler.kind == "mean":
        return hidden_LD.mean(0)
    if pooler.kind == "max":
        return hidden_LD.max(0).values
    if pooler.kind == "weighted":
        weight_L = torch.arange(1.0, len(hidden_LD) + 1)
        return (weight_L[:, None] * hidden_LD).sum(0) / weight_L.sum()
    return (torch.softmax(pooler.score(hidden_LD)[:, 0], 0)[:, None] * hidden_LD).sum(0)


@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [1, 3], [3, 0], []])
@pytest.mark.parametrize("kind", KINDS)
def test_pooled_rows_are_those_of_a_loop(kind, rows, batch):
    torch.manual_seed(0)
    pooler, hidden = Pooler(kind, 6), torch.randn(batch.n_tokens, 6)
    slices = list(batch)
    expected = [one_row(pooler, hidden[slices[row]]) for row in rows]
    pooled = pooler(hidden, batch, torch.tensor(rows, dtype=torch.int64))
    assert pooled.shape == (len(rows), 6)
    if rows:
        torch.testing.assert_close(pooled, torch.stack(expected))


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_a_loop_and_stay_within_the_rows(kind, batch):
    torch.manual_seed(0)
    pooler, weight = Pooler(kind, 6), torch.randn(2, 6)
    hidden = torch.randn(batch.n_tokens, 6, requires_grad=True)
    (pooler(hidden, batch, torch.tensor([0, 3])) * weight).sum().backward()
    got, hidden.grad = hidden.grad, None
    slices = list(batch)
    sum((one_row(pooler, hidden[slices[row]]) * weight[k]).sum() for k, row in enumerate([0, 3])).backward()
    torch.testing.assert_close(got, hidden.grad)
    assert (got[3:6] == 0).all()


@pytest.mark.parametrize("kind", KINDS)
def test_the_type_of_the_hidden_states_is_kept(kind, batch):
    pooler = Pooler(kind, 6)
    assert pooler(torch.randn(batch.n_tokens, 6).bfloat16(), batch, torch.tensor([2])).dtype == torch.bfloat16


def test_attention_bears_scores_of_any_size(batch):
    pooler = Pooler("attention", 6)
    assert torch.isfinite(pooler(1e4 * torch.randn(batch.n_tokens, 6), batch, torch.arange(4))).all()


def test_row_features_are_a_dense_layer_with_tanh(batch):
    features = RowFeatures("cls", 6, dense=True, dropout=0.5).eval()
    hidden = torch.randn(batch.n_tokens, 6)
    expected = torch.tanh(features.dense(hidden[[0, 3, 4, 6]]))
    torch.testing.assert_close(features(hidden, batch, torch.arange(4)), expected)
    assert RowFeatures("cls", 6, dense=False, dropout=0.0)(hidden, batch, torch.arange(4)).equal(hidden[[0, 3, 4, 6]])


def test_segments_are_selected_in_the_order_asked_for():
    index, cu = select(torch.tensor([0, 2, 2, 5], dtype=torch.int32), torch.tensor([2, 1, 0]))
    assert index.tolist() == [2, 3, 4, 0, 1]
    assert cu.tolist() == [0, 3, 3, 5]


def test_segments_are_padded_to_a_rectangle():
    values, real = pad(torch.arange(5.0)[:, None], torch.tensor([0, 2, 5]))
    assert real.tolist() == [[True, True, False], [True, True, True]]
    assert values[real][:, 0].tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("kind", ["bert", "albert"])
def test_a_head_starts_from_the_pooler_of_its_checkpoint(kind: str, tmp_path: Path) -> None:
    sizes = {"vocab_size": 300, "hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = transformers.AutoConfig.for_model(kind, **sizes, intermediate_size=48)
    theirs = transformers.AutoModel.from_config(config)
    theirs.save_pretrained(tmp_path)
    encoder = Bert().load(tmp_path)
    examples = [tiny.example_of(row, "t") for row in tiny.specimens("classification")]
    dense = theirs.pooler if kind == "albert" else theirs.pooler.dense
    for options, same in (({}, True), ({"pooling": "mean"}, False)):
        specs = tiny.specs_of({"t": tiny.task_of("classification", **options)}, {"t": examples})
        state = BraidModel(encoder, specs).head("t").state_dict()
        assert torch.equal(state["features.dense.weight"], dense.weight) is same
        assert torch.equal(state["features.dense.bias"], dense.bias) is same
