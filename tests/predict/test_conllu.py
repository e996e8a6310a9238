"""CoNLL-U in and out."""

import gzip

import pytest

from braid.data.example import Example
from braid.data.sources.conll import Conllu
from braid.errors import DataError
from braid.model.network import TaskSpec
from braid.predict.conllu import examples, to_conllu
from braid.predict.results import Result
from braid.tasks.classification import Classification, Label
from braid.tasks.dependency import Dependency, Tree
from braid.tasks.tagging import Tagging, Tags

PLAIN, BIO = {"scheme": "plain"}, {"scheme": "bio"}
SPECS = {
    "topic": TaskSpec(Classification(), {}),
    "ner": TaskSpec(Tagging(), BIO),
    "pos": TaskSpec(Tagging(), PLAIN),
    "tree": TaskSpec(Dependency(), {}),
}


def result(text, words, **predictions):
    return Result(text, words=None if words is None else tuple(words), predictions=predictions)


SHE_RUNS = result(
    "She runs.",
    ["She", "runs", "."],
    topic=Label("sport", {"sport": 1.0}),
    ner=Tags([], ["O", "O", "O"]),
    pos=Tags([], ["PRON", "VERB", "PUNCT"]),
    tree=Tree([2, 0, 2], ["nsubj", "root", "punct"], 0.9),
)


def read(path):
    return [row.fields for row in Conllu(path=str(path)).rows("x")]


def test_a_result_is_a_sentence():
    assert to_conllu(SHE_RUNS, SPECS) == (
        "# text = She runs.\n"
        "1\tShe\t_\tPRON\t_\t_\t2\tnsubj\t_\t_\n"
        "2\truns\t_\tVERB\t_\t_\t0\troot\t_\tSpaceAfter=No\n"
        "3\t.\t_\tPUNCT\t_\t_\t2\tpunct\t_\t_\n"
        "\n"
    )


def test_what_is_written_is_read_again(tmp_path):
    strange = result(
        " 1 000 # of\tthem\n",
        ["1 000", "#", "of", "them"],
        pos=Tags([], ["NUM", "SYM", "ADP", "PRON"]),
        tree=Tree([0, 1, 4, 1], ["root", "dep", "case", "nmod:part"]),
    )
    chinese = result("我爱她", None, tree=Tree([2, 0, 2], ["nsubj", "root", "obj"]))
    (tmp_path / "a.conllu").write_text("".join(to_conllu(each, SPECS) for each in (SHE_RUNS, strange, chinese)))
    first, second, third = read(tmp_path / "a.conllu")
    assert (first["text"], first["words"], first["upos"]) == (
        "She runs.",
        list(SHE_RUNS.words),
        ["PRON", "VERB", "PUNCT"],
    )
    assert first["dependencies"] == {"heads": [2, 0, 2], "relations": ["nsubj", "root", "punct"]}
    assert second["words"] == ["1 000", "#", "of", "them"]
    assert second["text"] == "1 000 # of them"
    assert second["dependencies"]["relations"] == ["root", "dep", "case", "nmod:part"]
    assert (third["words"], third["text"], third["upos"]) == (["我", "爱", "她"], "我爱她", ["_"] * 3)
    assert third["misc"] == ["SpaceAfter=No", "SpaceAfter=No", "_"]
    again = list(examples(str(tmp_path / "a.conllu")))
    assert [example.words for example in again] == [SHE_RUNS.words, strange.words, ("我", "爱", "她")]
    assert [example.text for example in again] == ["She runs.", "1 000 # of them", "我爱她"]


def test_words_are_divided_where_the_input_did_not(tmp_path):
    text = result("It's 9.", None, pos=Tags([], ["PRON", "PUNCT", "PART", "NUM", "PUNCT"]))
    (tmp_path / "a.conllu").write_text(to_conllu(text, SPECS))
    (row,) = read(tmp_path / "a.conllu")
    assert row["words"] == ["It", "'", "s", "9", "."]
    assert row["misc"] == ["SpaceAfter=No", "SpaceAfter=No", "_", "SpaceAfter=No", "_"]
    assert "dependencies" not in row
    assert to_conllu(result("  ", None), SPECS) == ""


def test_upos_is_what_is_called_so_else_the_first_plain_tags():
    tags = {name: Tags([], [name.upper()]) for name in ("chunk", "xpos", "pos", "upos", "ner")}
    specs = {name: TaskSpec(Tagging(), BIO if name == "ner" else PLAIN) for name in tags}

    def columns(*names):
        line = to_conllu(result("a", ["a"], **{name: tags[name] for name in names}), specs).split("\n")[1]
        return line.split("\t")[3:5]

    assert columns("chunk", "xpos", "pos", "upos") == ["UPOS", "XPOS"]
    assert columns("chunk", "pos") == ["POS", "_"]
    assert columns("chunk", "ner") == ["CHUNK", "_"]
    assert columns("xpos", "ner") == ["_", "XPOS"]
    # Tags of something else than these words.
    assert to_conllu(result("a b", ["a", "b"], pos=tags["pos"]), specs).split("\n")[1].split("\t")[3] == "_"


def test_sentences_of_a_file_are_inputs(tmp_path):
    lines = [
        "# text = Don't go",
        "1-2\tDon't" + "\t_" * 8,
        "1\tDo" + "\t_" * 8,
        "2\tn't" + "\t_" * 8,
        "3\tgo" + "\t_" * 8,
        "",
        "# text = im Haus",
        "1-2\tim" + "\t_" * 8,
        "1\tin" + "\t_" * 8,
        "2\tdem" + "\t_" * 8,
        "3\tHaus" + "\t_" * 8,
        "",
    ]
    path = tmp_path / "a.conllu.gz"
    path.write_bytes(gzip.compress("\n".join(lines).encode()))
    first, second = examples(str(path))
    assert isinstance(first, Example)
    assert (first.text, first.words, str(first.place)) == ("Don't go", ("Do", "n't", "go"), f"{path}:2")
    # "in dem" does not stand in "im Haus": the words count.
    assert (second.text, second.words) == ("in dem Haus", ("in", "dem", "Haus"))


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "a.conll").write_text("1\tonly\tthree\n\n")
    with pytest.raises(DataError, match=r"a\.conll:1.*10 of CoNLL-U"):
        list(examples(str(tmp_path / "a.conll")))
