"""`braid convert`: which kind a file is, what stands in the way, what is refused, and what the command prints."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from typer.testing import CliRunner

import uer_reference as uer
from braid.cli import app
from braid.errors import BraidError
from braid.tools.convert import convert
from braid.tools.convert.finding import kinds
from braid.tools.convert.labels import read_labels
from foreign import transformers_directory, vocabulary, weights


def run(*arguments: object) -> Any:
    return CliRunner().invoke(app, ["convert", *map(str, arguments)], catch_exceptions=True)


@pytest.fixture
def bert(tmp_path: Path) -> Path:
    """A `.bin` of UER-py, without its settings, and a vocabulary elsewhere."""
    torch.save(uer.bert(old=False), tmp_path / "model.bin")
    vocabulary(tmp_path / "vocab.txt")
    (tmp_path / "config.json").write_text(json.dumps({"heads_num": 4, "hidden_act": "gelu", "layers_num": 2}))
    return tmp_path / "model.bin"


def options(path: Path) -> dict[str, Any]:
    return {"vocab": path.with_name("vocab.txt"), "config": path.with_name("config.json")}


def tree(path: Path) -> dict[str, bytes]:
    return {str(file.relative_to(path)): file.read_bytes() for file in sorted(path.rglob("*")) if file.is_file()}


def test_the_command_says_what_it_read_and_wrote(bert: Path, tmp_path: Path) -> None:
    done = run(bert, tmp_path / "run", "--vocab", tmp_path / "vocab.txt", "--config", tmp_path / "config.json")
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert lines[0].endswith("a .bin of UER-py or TencentPretrain (bert, 2 layers of 32, 34 tokens, mlm, nsp)")
    assert lines[1].endswith("a Braid run directory")
    assert lines[2] == "tensors mapped: 37 to encoder, 6 to mlm, 4 to nsp"
    assert lines[3].startswith("note: norms are copied")
    done = run(tmp_path / "run", tmp_path / "hf")
    assert "a directory of transformers" in done.output
    assert json.loads((tmp_path / "hf/config.json").read_text())["architectures"] == ["BertForPreTraining"]


def test_every_kind_says_what_it_is() -> None:
    found = kinds()
    assert {"braid", "transformers", "uer", "tensorflow", "mtdnn"} <= found.keys()
    assert len({kind.title for kind in found.values()}) == len(found)


def test_nothing_is_overwritten_unasked_and_nothing_is_lost_by_a_failure(bert: Path, tmp_path: Path) -> None:
    convert(bert, tmp_path / "run", **options(bert))
    before = tree(tmp_path / "run")
    with pytest.raises(BraidError, match="exists; --overwrite replaces it"):
        convert(bert, tmp_path / "run", **options(bert))
    torch.save({**uer.bert(old=True), "encoder.transformer.0.layer_norm_1.gamma": torch.ones(3)}, bert)
    with pytest.raises(BraidError, match=r"layer_norm_1.weight is \[3\], expected \[32\]"):
        convert(bert, tmp_path / "run", overwrite=True, **options(bert))
    assert tree(tmp_path / "run") == before
    torch.save(uer.bert(old=True), bert)
    convert(bert, tmp_path / "run", overwrite=True, **options(bert))
    assert tree(tmp_path / "run") == before


def test_a_directory_that_is_no_model_is_never_replaced(bert: Path, tmp_path: Path) -> None:
    (tmp_path / "letters").mkdir()
    (tmp_path / "letters" / "dear.txt").write_text("dear all")
    with pytest.raises(BraidError, match="holds something that is no model"):
        convert(bert, tmp_path / "letters", overwrite=True, **options(bert))
    (tmp_path / "file").write_text("x")
    with pytest.raises(BraidError, match="is a file; a Braid run directory is a directory"):
        convert(bert, tmp_path / "file", overwrite=True, **options(bert))
    with pytest.raises(BraidError, match="is what is to be read"):
        convert(bert, bert)
    assert (tmp_path / "letters" / "dear.txt").read_text() == "dear all"


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> Any:
        return (exec, ("open('evil-ran', 'w').close()",))


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_not_run(
    legacy: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    state = {**uer.bert(old=False), "extra": Evil()}
    torch.save(state, "model.bin", _use_new_zipfile_serialization=not legacy)
    done = run("model.bin", "run")
    assert isinstance(done.exception, BraidError)
    assert "holds the Python object" in str(done.exception)
    assert "exec" in str(done.exception)
    assert not Path("evil-ran").exists()
    with open("plain.bin", "wb") as file:
        pickle.dump({"state": Evil()}, file)
    with pytest.raises(BraidError, match=r"could run code|damaged"):
        convert("plain.bin", "run")
    assert not Path("evil-ran").exists()
    (tmp_path / "hf").mkdir()
    Path("hf/config.json").write_text('{"model_type": "bert"}')
    torch.save(state, "hf/pytorch_model.bin")
    with pytest.raises(BraidError, match="holds the Python object"):
        convert("hf", "run")
    assert not Path("evil-ran").exists()


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_file_that_was_cut_short_is_refused(share: float, bert: Path, tmp_path: Path) -> None:
    content = bert.read_bytes()
    bert.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(BraidError, match="damaged, cut short"):
        convert(bert, tmp_path / "run", **options(bert))
    assert not (tmp_path / "run").exists()


def test_layers_that_are_missing_are_named(bert: Path, tmp_path: Path) -> None:
    state = {name: tensor for name, tensor in uer.bert(old=False).items() if ".1.feed_forward." not in name}
    torch.save(state, bert)
    with pytest.raises(BraidError) as error:
        convert(bert, tmp_path / "run", **options(bert))
    assert "encoder.transformer.1.feed_forward.linear_1.weight is missing, expected [48, 32]" in str(error.value)
    assert "encoder.transformer.1.feed_forward.linear_2.bias is missing, expected [32]" in str(error.value)


def test_a_vocabulary_of_another_model_is_refused(bert: Path, tmp_path: Path) -> None:
    for change in (["one", "more"], None):
        lines = (tmp_path / "vocab.txt").read_text().splitlines()
        changed = lines + change if change else lines[:-1]
        (tmp_path / "other.txt").write_text("\n".join(changed) + "\n")
        with pytest.raises(BraidError, match=rf"has {len(changed)} tokens, the model 34 word embeddings"):
            convert(bert, tmp_path / "run", vocab=tmp_path / "other.txt")
    with pytest.raises(BraidError, match="give it with --vocab"):
        convert(bert, tmp_path / "run")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: None, "there is no"),
        (lambda path: path.write_text("hello"), "no file of torch"),
        (lambda path: path.write_bytes(b""), "no file of torch"),
        (lambda path: torch.save([1, 2], path), "a file of torch that holds a list"),
        (
            lambda path: torch.save({"conv1.weight": torch.ones(2)}, path),
            "(conv1.weight ...) are of no kind",
        ),
        (lambda path: path.mkdir(), "a directory with nothing in it"),
    ],
)
def test_what_is_no_model_is_refused_with_what_was_found_and_expected(make: Any, message: str, tmp_path: Path) -> None:
    make(tmp_path / "thing")
    with pytest.raises(BraidError) as error:
        convert(tmp_path / "thing", tmp_path / "run")
    assert message in str(error.value)
    if "there is no" not in message:
        assert "a Braid run directory; a .pt of MT-DNN" in str(error.value)


def test_models_that_braid_has_no_encoder_for_are_refused(tmp_path: Path) -> None:
    (tmp_path / "hf").mkdir()
    (tmp_path / "hf/config.json").write_text('{"model_type": "t5"}')
    with pytest.raises(BraidError, match="model_type is 't5'; what can be converted: bert"):
        convert(tmp_path / "hf", tmp_path / "run")
    with pytest.raises(BraidError, match="--to mtdnn can be read but not written"):
        convert(tmp_path / "hf", tmp_path / "run", to="mtdnn")
    with pytest.raises(BraidError, match=r"--to tranformers is no kind: did you mean 'transformers'\?"):
        convert(tmp_path / "hf", tmp_path / "run", to="tranformers")


def test_a_vocabulary_of_byte_pairs_goes_along_as_it_is(tmp_path: Path) -> None:
    from braid.data.vocabularies import load_tokenizer, train

    transformers_directory(tmp_path / "a", "GPT2LMHeadModel", vocab_size=300)
    (tmp_path / "a" / "vocab.txt").unlink()
    tokenizer = train("bpe", lambda: ["the cat sat on the mat"], size=300)
    tokenizer.save(tmp_path / "a")
    report = convert(tmp_path / "a", tmp_path / "b.bin")
    assert "no list of tokens" in report.notes[0]
    convert(tmp_path / "b.bin", tmp_path / "c", to="transformers")
    assert load_tokenizer(tmp_path / "c").rust.encode("the cat").ids == tokenizer.rust.encode("the cat").ids
    assert weights(tmp_path / "c").keys() == weights(tmp_path / "a").keys()


@pytest.mark.parametrize("mark", ["", "\ufeff"])
@pytest.mark.parametrize("content", ["a\nb\n\nc\n", "a\r\nb\r\nc", '{"b": 1, "a": 0, "c": 2}', '["a", "b", "c"]'])
def test_labels_are_read_from_a_list_or_a_file(content: str, mark: str, tmp_path: Path) -> None:
    path = tmp_path / ("labels.txt" if content.startswith("a") else "labels.json")
    path.write_text(mark + content, encoding="utf-8", newline="")
    assert read_labels(str(path)) == ("a", "b", "c") == read_labels("a, b,c")
    (tmp_path / "gap.json").write_text('{"a": 0, "b": 2}')
    with pytest.raises(BraidError, match="numbers 0, 1, 2"):
        read_labels(str(tmp_path / "gap.json"))
    (tmp_path / "old.txt").write_bytes("好\n坏\n".encode("gb18030"))
    with pytest.raises(BraidError, match="looks like GB18030"):
        read_labels(str(tmp_path / "old.txt"))
    with pytest.raises(BraidError, match="empty or stands twice"):
        read_labels("a,b,a")
