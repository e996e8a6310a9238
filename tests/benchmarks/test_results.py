"""RESULTS.md: the table and the section of the GPU leave each other alone."""

from __future__ import annotations

from pathlib import Path

from results import GPU, known, write, write_gpu


def test_lines_come_back_in_the_order_asked_for_and_others_behind_them(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    lines = {name: f"| `{name}` | today | here | {name} 1 |" for name in ("old", "infer", "finetune")}
    write(lines, ["finetune", "infer"], path)
    assert list(known(path)) == ["finetune", "infer", "old"]
    assert known(path) == lines


def test_the_gpus_section_stays_when_the_table_is_written(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    write({"infer": "| `infer` | a |"}, ["infer"], path)
    write_gpu("| `check` | ok |", path)
    write({**known(path), "finetune": "| `finetune` | b |"}, ["finetune", "infer"], path)
    text = path.read_text(encoding="utf-8")
    assert known(path) == {"finetune": "| `finetune` | b |", "infer": "| `infer` | a |"}
    assert text.endswith(f"| `infer` | a |\n\n{GPU}\n\n| `check` | ok |\n")


def test_the_table_stays_when_the_section_is_written_again(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    write({"infer": "| `infer` | a |"}, ["infer"], path)
    before = path.read_text(encoding="utf-8")
    write_gpu("first", path)
    write_gpu("second", path)
    assert path.read_text(encoding="utf-8") == f"{before}\n{GPU}\n\nsecond\n"
    assert list(tmp_path.iterdir()) == [path]
