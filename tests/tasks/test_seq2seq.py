import gzip
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError

import braid
import tiny
from braid.data.example import Example, Window
from braid.data.groups import make_batch
from braid.data.packing import pack_ids, pack_targets
from braid.errors import BraidError, DataError, LabelError, SkippedLabelError
from braid.model.evaluate import evaluate
from braid.model.network import BraidModel, TaskSpec
from braid.nn.generate import Request, beam_search
from braid.tasks.base import Hidden
from braid.tasks.seq2seq import Generated, Seq2Seq
from tiny import loss_scales, task_losses

EXAMPLE = Example(text="a text")
NO_UNITS = np.empty((0, 2), np.int64)
TEXTS = ["the cat sat on the mat", "我爱北京天安门。", "Ünï 😀\ttabs\nand  spaces", "안녕 [SEP] </s> 世界", "a"]


def window(tokens=3, number=0):
    ids = np.arange(tokens)
    return Window(ids, ids * 0, np.zeros((tokens, 2), int), NO_UNITS, 0, np.empty(0, np.int64), number)


def learn(targets, **options):
    return Seq2Seq(**options).learn(targets, [EXAMPLE] * len(targets))


def ids_of(task, label, facts, tokens=3):
    return task.encode(label, EXAMPLE, window(tokens), facts)["ids"].tolist()


def decoded(task, facts, ids):
    row = np.stack([ids, np.zeros(len(ids))], axis=1).astype(np.float32)
    return task.make_head(facts, 8).decode([row], [EXAMPLE], [NO_UNITS])[0].text


@pytest.mark.parametrize("text", [*TEXTS, "words that no training target has: żółć 龘"])
def test_a_text_survives_the_trained_vocabulary(text):
    task, facts = Seq2Seq(), learn(TEXTS)
    json.dumps(facts)
    assert decoded(task, facts, ids_of(task, f" {text}\n", facts)) == text


def test_tags_have_an_inventory_of_symbols():
    task = Seq2Seq(target="tags")
    facts = learn(["B O", ["O", "I", 7], "  O\tB "], target="tags")
    assert facts["labels"] == ["7", "B", "I", "O"]
    assert ids_of(task, ["O", "B"], facts) == ids_of(task, "O  B", facts) == [3, 1, 4]
    assert decoded(task, facts, [3, 1, 4]) == "O B"
    assert task.gold(["O", "new"], EXAMPLE, NO_UNITS, facts) == "O new"
    assert learn(["B O"], target="tags", labels=["O", "B", "I"])["labels"] == ["O", "B", "I"]
    with pytest.raises(LabelError, match="lacks 'X'"):
        learn(["X O"], target="tags", labels=["O", "B"])
    with pytest.raises(LabelError, match="no training row has the label 'new'"):
        ids_of(task, "O new", facts)


def test_a_vocabulary_can_be_given(tmp_path):
    path = tmp_path / "tokenizer.json"
    path.write_text(learn(TEXTS)["tokenizer"], encoding="utf-8")
    task, facts = Seq2Seq(vocab=str(path)), learn(["x"], vocab=str(path))
    path.unlink()
    assert all(decoded(task, facts, ids_of(task, text, facts)) == text for text in TEXTS)
    with pytest.raises(LabelError, match="there is no file"):
        learn(["x"], vocab=str(path))


@pytest.mark.parametrize(
    ("label", "options", "what"),
    [
        (3, {}, "expected a string"),
        (["a", "b"], {}, "set `target: tags`"),
        (3.5, {"target": "tags"}, "expected symbols"),
        (["a b"], {"target": "tags"}, "has a space in it"),
        ([""], {"target": "tags"}, "empty string"),
    ],
)
def test_a_label_of_the_wrong_kind_is_an_error(label, options, what):
    task, facts = Seq2Seq(**options), learn(["a b"], **options)
    for call in (
        lambda: task.encode(label, EXAMPLE, window(), facts),
        lambda: task.gold(label, EXAMPLE, NO_UNITS, facts),
    ):
        with pytest.raises(LabelError, match=what):
            call()


@pytest.mark.parametrize(("label", "target"), [(" \n", "text"), ([], "tags")])
def test_an_empty_target_is_left_out(label, target):
    task, facts = Seq2Seq(target=target), learn(["a b", label], target=target)
    with pytest.raises(SkippedLabelError):
        task.encode(label, EXAMPLE, window(), facts)
    with pytest.raises(SkippedLabelError):
        task.gold(label, EXAMPLE, NO_UNITS, facts)


@pytest.mark.parametrize("labels", [[], [3], ["  "]])
def test_without_any_target_there_is_nothing_to_learn(labels):
    with pytest.raises(LabelError, match="no training row has a target"):
        learn(labels)


@pytest.mark.parametrize(
    "options",
    [
        {"labels": ["a"]},
        {"target": "tags", "vocab": "vocab.txt"},
        {"hidden_size": 10, "heads": 3},
        {"top_p": 0},
        {"temperature": 0},
        {"beam": 0},
    ],
)
def test_options_that_do_not_fit_are_refused(options):
    with pytest.raises(ValidationError):
        Seq2Seq(**options)


def test_heads_that_do_not_divide_the_encoders_size_are_refused():
    with pytest.raises(BraidError, match="cannot be divided"):
        Seq2Seq(heads=3).make_head(learn(["a"]), 8)
    assert Seq2Seq().make_head(learn(["a"]), 300).decoder.shape.heads == 4


def test_a_long_target_is_cut_without_an_end_symbol_and_reported():
    task = Seq2Seq(target="tags", max_target_length=4)
    facts = learn(["a b c d e"], target="tags")
    assert ids_of(task, "a b c", facts) == [0, 1, 2, 5]
    assert ids_of(task, "a b c d", facts) == [0, 1, 2, 3]
    assert task.gold("a b c d e", EXAMPLE, NO_UNITS, facts) == "a b c d e"
    assert task.check_label("a b c", EXAMPLE) == []
    assert "longer than max_target_length 4" in task.check_label("a b c d", EXAMPLE)[0]
    words = Seq2Seq(max_target_length=4)
    facts = learn(["x" * 20, "a b c d"])
    assert "of 5 tokens" in words.check_label("a b c d", EXAMPLE)[0]
    assert words.check_label("qwertyuiop", EXAMPLE) == []
    assert "of 11 tokens" in words.check_label("qwertyuiop", EXAMPLE, facts)[0]
    assert words.describe_label("a", facts) == ["2 to 4 tokens"]
    assert Seq2Seq(max_target_length=12).describe_label("qwertyuiop", facts) == ["9 to 12 tokens"]
    assert words.describe_label("qwertyuiop", facts) == ["over 4 tokens (cut)"]


def test_a_target_counts_its_tokens_and_knows_its_source():
    task, facts = Seq2Seq(), learn(["a b"])
    target = task.encode("a b", EXAMPLE, window(tokens=7), facts)
    assert task.count(target) == len(target["ids"]) == 4
    assert target["source"].tolist() == [7]
    assert task.encode("a b", EXAMPLE, window(number=1), facts) is None


@pytest.mark.parametrize(
    ("labels", "options", "tokens", "best"),
    [
        (["one two three four"] * 2, {}, "13a", "bleu"),
        (["你好吗？我很好。", "ok then, it is", "再见，再见！"], {}, "zh", "bleu"),
        (["你好吗？我很好。"], {"tokenize": "char"}, "char", "bleu"),
        (["B I O"], {"target": "tags"}, "none", "exact_match"),
        (["B I O O O"], {"target": "tags"}, "none", "bleu"),
        (["你好", "再见"], {}, "zh", "exact_match"),
        (["one two"], {"metric": "chrf"}, "13a", "chrf"),
    ],
)
def test_the_targets_say_how_they_are_measured(labels, options, tokens, best):
    task, facts = Seq2Seq(**options), learn(labels, **options)
    assert facts["tokenize"] == tokens
    assert task.best(facts) == best
    if task.metric is None:
        assert next(iter(task.meter(facts).compute())) == best


def loss_of(labels, smoothing, sources=(2, 4), size=8):
    """The loss on random memory, and the logits of each target's tokens."""
    torch.manual_seed(0)
    task, facts = Seq2Seq(label_smoothing=smoothing, target="tags"), learn(["a b c d"], target="tags")
    head = task.make_head(facts, size).eval()
    encoded = [
        task.encode(label, EXAMPLE, window(tokens), facts) for label, tokens in zip(labels, sources, strict=True)
    ]
    targets = pack_targets(range(len(labels)), encoded, count=sum(map(task.count, encoded)))
    memory = torch.randn(sum(sources), size)
    cu = torch.tensor([0, *sources]).cumsum(0)
    logits = head.decoder(targets.values["ids"], targets.cu["ids"], memory, cu)
    return head.loss(memory, targets), logits, targets.values["ids"]


def test_the_loss_is_the_sum_over_tokens_of_the_divergence_from_the_smoothed_target():
    loss, logits, ids = loss_of(["a b", "c d d"], 0.1)
    smoothed = torch.nn.functional.one_hot(ids, 5) * 0.9 + 0.1 / 5
    expected = (smoothed * (smoothed.log() - logits.log_softmax(-1))).sum()
    torch.testing.assert_close(loss, expected)
    plain, logits, ids = loss_of(["a b", "c d d"], 0.0)
    torch.testing.assert_close(plain, -logits.log_softmax(-1).gather(1, ids[:, None]).sum())


def test_the_loss_of_a_batch_is_the_sum_of_its_rows():
    torch.manual_seed(0)
    task, facts = Seq2Seq(), learn(TEXTS)
    head = task.make_head(facts, 16).eval()
    encoded = [
        task.encode(text, EXAMPLE, window(tokens), facts) for text, tokens in zip(TEXTS, (5, 1, 3, 9, 2), strict=True)
    ]
    memory = torch.randn(20, 16)
    parts = memory.split([5, 1, 3, 9, 2])
    together = head.loss(memory, pack_targets(range(5), encoded, count=1))
    alone = sum(head.loss(part, pack_targets([0], [one], count=1)) for part, one in zip(parts, encoded, strict=True))
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-4)


def small(**options):
    """A tiny trained-size model on the specimens, untrained."""
    torch.manual_seed(0)
    examples = [tiny.example_of(row, "t") for row in tiny.specimens("seq2seq")]
    tokenizer = tiny.tokenizer_of(examples)
    specs = tiny.specs_of({"t": tiny.task_of("seq2seq", **{"max_target_length": 12, **options})}, {"t": examples})
    return tiny.model_of(tokenizer, specs).eval(), tiny.group_of(specs, examples, tokenizer)


def with_options(model, **options):
    """The same weights with other options of generation."""
    spec = model.specs["t"]
    changed = BraidModel(model.encoder, {"t": TaskSpec(spec.task.model_copy(update=options), spec.facts)})
    changed.load_state_dict(model.state_dict())
    return changed.eval()


@pytest.mark.parametrize("options", [{"beam": 1}, {"beam": 3}, {"sample": True}])
def test_what_is_written_does_not_hang_on_the_batch(options, monkeypatch):
    model, group = small()
    model = with_options(model, **options)
    together = tiny.infer(model, [group])[0, "t"]
    assert all(isinstance(found, Generated) and found.score < 0 for found in together)
    monkeypatch.setattr("braid.tasks.seq2seq.GENERATION_FLOATS", 1)
    alone = tiny.infer(model, [group], batch_tokens=1)[0, "t"]
    assert [found.text for found in together] == [found.text for found in alone]
    assert [found.score for found in together] == pytest.approx([found.score for found in alone], abs=1e-5)


def test_samples_are_fixed_by_the_seed():
    (model, group), texts = small(), {}
    for seed in (1, 2):
        draws = [tiny.infer(with_options(model, sample=True, seed=seed), [group])[0, "t"] for _ in range(2)]
        assert draws[0] == draws[1]
        texts[seed] = [found.text for found in draws[0]]
    assert texts[1] != texts[2]
    assert len(set(texts[1])) == len(texts[1])
    cold = tiny.infer(with_options(model, sample=True, temperature=1e-4), [group])[0, "t"]
    assert cold == tiny.infer(with_options(model, beam=1), [group])[0, "t"]


def test_the_score_is_the_mean_log_probability_of_what_was_written():
    model, group = small(beam=2)
    batch = make_batch([group], [(0, 0)], tasks=())
    head = model.head("t")
    with torch.no_grad():
        values, sizes = model.answers(batch, {"t": torch.tensor([0])})["t"]
        memory = model.encoder(batch)[0]
        ids = values[:, 0].long()
        logits = head.decoder(ids, torch.tensor([0, len(ids)]), memory, batch.cu_seqlens.long())
    assert sizes.tolist() == [len(ids)]
    expected = logits.log_softmax(-1).gather(1, ids[:, None])[:, 0]
    torch.testing.assert_close(values[:, 1], expected, atol=1e-5, rtol=1e-5)
    (found,) = head.decode([values.numpy()], [EXAMPLE], [NO_UNITS])
    assert found.score == pytest.approx(float(expected.mean()), abs=1e-5)


def test_under_autocast_the_decoder_runs_in_bf16_too():
    model, group = small()
    batch = make_batch([group], [(0, row) for row in group.rows])
    full = float(task_losses(model, batch, model(batch))["t"].detach())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        values = model(batch)
    loss = task_losses(model, batch, values)["t"]
    assert loss.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(full, rel=0.02)
    assert float(loss.detach()) != full
    loss.backward()
    assert all(torch.isfinite(p.grad).all() for p in model.head("t").parameters())
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        model.answers(batch, {"t": torch.arange(8)})


def test_the_source_may_be_longer_or_of_another_size_than_the_decoder():
    model, _ = small(hidden_size=20, heads=2, tied_embeddings=False, layers=1, intermediate_size=10)
    head = model.head("t")
    batch = pack_ids([[1, 2, 3], [4] * 30])
    hidden = Hidden(torch.randn(33, 32), batch)
    assert head(hidden, torch.tensor([1])).shape == (30, 32)
    assert head.sizes(batch, torch.tensor([1, 0])).tolist() == [30, 3]
    values, sizes = head.answers(hidden, torch.tensor([1, 0]))
    assert values.shape == (int(sizes.sum()), 2)


@pytest.mark.parametrize("options", [{"target": "tags"}, {"tied_embeddings": False, "hidden_size": 48, "layers": 1}])
def test_other_kinds_of_target_and_decoder_are_learned(options):
    model, group = small(max_target_length=32, **options)
    model.train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    batch = make_batch([group], [(0, row) for row in group.rows])
    scale = loss_scales([batch], {"t": 1.0}, "row")["t"]
    for _ in range(120):
        optimizer.zero_grad()
        (task_losses(model, batch, model(batch))["t"] * scale).backward()
        optimizer.step()
    assert evaluate(model, [group])["t"]["bleu"] == pytest.approx(1.0)
    for other in ({"beam": 1}, {"sample": True, "top_p": 0.5}):
        assert evaluate(with_options(model.eval(), **other), [group])["t"]["exact_match"] == 1.0


def recipe_of(folder, rows, train=None, **task):
    """A recipe on a file of these rows, with a model of next to nothing."""
    path = folder / "rows.jsonl"
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    return braid.Recipe(
        encoder={"hidden_size": 16, "layers": 1, "heads": 1, "intermediate_size": 16, "max_length": 16},
        tasks={"t": {"type": "seq2seq", "layers": 1, "data": {"train": str(path), "test": str(path)}, **task}},
        chain="t",
        train=train or {},
        out=str(folder / "run"),
        cache=None,
    )


def test_wrong_targets_are_named_with_their_lines(tmp_path):
    rows = [{"text": f"text {k}", "label": f"target number {k} of some"} for k in range(12)]
    rows[3]["label"], rows[7]["label"] = 12, ["a"]
    with pytest.raises(DataError) as error:
        braid.train(recipe_of(tmp_path, rows), say=lambda message: None)
    assert {problem.place.line for problem in error.value.problems} == {4, 8}


def test_a_run_is_checked_trained_and_asked_in_spite_of_empty_and_long_targets(tmp_path):
    rows = [{"text": f"text {k}", "label": f"target number {k} of some"} for k in range(12)]
    rows[3]["label"], rows[7]["label"] = "   ", "too long " * 40
    recipe = recipe_of(tmp_path, rows, {"max_steps": 2, "precision": "fp32"}, beam=2, max_target_length=16)
    found = {finding.what: finding for finding in braid.check(recipe).findings if finding.split == "train"}
    assert found["labels left out: the target is empty"].count == 1
    odd = next(finding for what, finding in found.items() if "odd labels" in what)
    assert odd.count == 1
    assert "rows.jsonl:8" in odd.places[0]
    run = braid.train(recipe, say=lambda message: None)
    assert list(run.scores()["t"]) == ["bleu", "chrf", "rouge_l", "exact_match"]
    result = braid.load(run)("text 3")["t"]
    assert set(result.to_json()) == {"text", "score"}
    assert len(result.text.split()) <= 16


def pairs(path, n):
    """English and Chinese sentences from all over the file, no English one twice."""
    lines = gzip.decompress((path / "tatoeba_en_zh" / "cmn.txt.gz").read_bytes()).decode().splitlines()
    found = {}
    for line in lines[::140]:
        english, chinese, _ = line.split("\t")
        found.setdefault(english, chinese)
    return [{"text": english, "label": chinese} for english, chinese in found.items()][:n]


@pytest.mark.slow
@pytest.mark.data
def test_from_scratch_200_real_pairs_are_learned_by_heart(real_data, tmp_path):
    rows, path = pairs(real_data, 200), tmp_path / "pairs.jsonl"
    assert len(rows) == 200
    path.write_text("\n".join(json.dumps(row, ensure_ascii=False) for row in rows), encoding="utf-8")
    recipe = braid.Recipe(
        encoder={"hidden_size": 128, "layers": 2, "heads": 2, "max_length": 48, "vocab_size": 1000, "dropout": 0.0},
        tasks={"zh": {"type": "seq2seq", "dropout": 0.0, "data": {"train": str(path), "test": str(path)}}},
        chain="zh",
        train={"epochs": 40, "lr": 1e-3, "batch_rows": 20, "precision": "fp32"},
        out=str(tmp_path / "run"),
        cache=None,
    )
    run = braid.train(recipe)
    assert run.scores()["zh"]["bleu"] > 0.95

    model = braid.load(run, precision="fp32")
    network = model.network
    examples = [Example(text=row["text"], labels={"t": row["label"]}) for row in rows]
    spec = network.specs["zh"]
    spec = replace(spec, task=spec.task.model_copy(update={"beam": 1}))
    group = tiny.group_of({"t": spec}, examples, model.tokenizer)
    head, batch = network.head("zh"), make_batch([group], [(0, row) for row in group.rows], tasks=())
    with torch.inference_mode():
        head.task = spec.task
        ids, sizes = head.answers(Hidden(network.encoder(batch)[0], batch), torch.arange(200))
        memory, cu = network.encoder(batch)[0], batch.cu_seqlens.long()
        request = Request(rows=200, begin=head.decoder.begin, end=head.end, longest=64)
        found = beam_search(
            head.decoder.continuation(memory, cu), request, beams=1, alpha=0.6, device=torch.device("cpu")
        )
    assert found.flat()[0].tolist() == ids[:, 0].long().tolist()
    assert found.sizes.tolist() == sizes.tolist()


def test_targets_can_be_spelt_by_the_encoders_own_vocabulary(tmp_path: Path) -> None:
    rows = [
        {"text": f"{a} {b}", "label": f"{b} then {a}"} for a in ("ann", "bo", "carl") for b in ("sat", "ran", "slept")
    ]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    recipe = braid.Recipe(
        out=str(tmp_path / "run"),
        cache=None,
        encoder={"hidden_size": 32, "layers": 1, "heads": 2, "max_length": 16, "vocab_size": 100},
        tasks={"t": {"type": "seq2seq", "vocab": "encoder", "data": str(tmp_path / "rows.jsonl")}},
        train={"epochs": 2, "precision": "fp32", "lr": 1e-3},
    )
    model = braid.load(braid.train(recipe, say=lambda message: None))
    head = model.network.head("t")
    assert head.vocabulary.size == model.tokenizer.vocab_size  # type: ignore[union-attr]
    assert head.vocabulary.decode(head.vocabulary.encode("ran then bo")) == "ran then bo"  # type: ignore[union-attr]
    assert isinstance(model("bo ran")["t"].text, str)
