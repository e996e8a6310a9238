"""The rows that went most wrong, with their texts; of two runs also those that only one of them got right."""

from __future__ import annotations

from collections.abc import Sequence

from braid.data.example import Example
from braid.report.blocks import Block, Cards, Columns, Heading, Section, Table, Text, percent
from braid.report.view import View
from braid.report.wrongness import Judgement, judgement

LONGEST = 400
"""Characters of a text that are shown."""


def hardest(views: Sequence[View], *, examples: int) -> Section | None:
    """*examples*: how many rows are shown of each task; 0: none, and no section."""
    if not examples or not any(view.judged for view in views):
        return None
    blocks: list[Block] = []
    for task in dict.fromkeys(task for view in views for task in view.judged):
        there = [view for view in views if task in view.judged]
        judged = [_judgements(view, task) for view in there]
        blocks.append(Heading(task))
        if len(there) == 2 and not judged[0][0].distance and (rows := _paired(there, task, judged)) is not None:
            blocks += _between(there, task, rows, judged, examples)
        shown = [(view.title, _worst(view, task, found, examples)) for view, found in zip(there, judged, strict=True)]
        blocks += [Columns(shown)] if len(shown) > 1 else shown[0][1]
    lead = (
        "The most wrong first: labels by the probability that the right one got, numbers by their distance, tags, "
        "spans and trees by how much of them differs, other answers by their metric on the row alone."
    )
    return Section("hardest", "Hardest examples", lead, blocks)


def _judgements(view: View, task: str) -> list[Judgement]:
    found, spec = view.judged[task], view.specs[task]
    return [
        judgement(prediction, gold, units, example.text, spec)
        for example, units, prediction, gold in zip(
            found.examples, found.units, found.predictions, found.golds, strict=True
        )
    ]


def _worst(view: View, task: str, judged: Sequence[Judgement], examples: int) -> list[Block]:
    wrong = [number for number, one in enumerate(judged) if one.wrong > 0]
    order = sorted(wrong, key=lambda number: -judged[number].wrong)[:examples]
    if not order:
        return [Text(f"All {len(judged):,} rows are right.")]
    count = f"{len(wrong):,} of {len(judged):,} rows ({percent(len(wrong), len(judged))}) have something wrong."
    if judged[0].distance:
        mean = sum(one.wrong for one in judged) / len(judged)
        count = f"{len(judged):,} rows; the mean distance is {mean:.3f}, the greatest {judged[order[0]].wrong:.3f}."
    rows = view.judged[task].examples
    return [Text(count), Cards([[*_input(rows[k]), ("gold", judged[k].gold), ("said", judged[k].said)] for k in order])]


def _paired(views: Sequence[View], task: str, judged: Sequence[Sequence[Judgement]]) -> list[int] | None:
    """Numbers of rows that both runs judged: all, where their data are the same; else None."""
    first, second = (view.judged[task].examples for view in views)
    if views[0].split != views[1].split or [_key(row) for row in first] != [_key(row) for row in second]:
        return None
    return list(range(len(first)))


def _between(
    views: Sequence[View], task: str, rows: Sequence[int], judged: Sequence[Sequence[Judgement]], examples: int
) -> list[Block]:
    first, second = judged
    only_first = [k for k in rows if not first[k].wrong and second[k].wrong]
    only_second = [k for k in rows if first[k].wrong and not second[k].wrong]
    both = sum(not first[k].wrong and not second[k].wrong for k in rows)
    neither = len(rows) - both - len(only_first) - len(only_second)
    a, b = (view.title for view in views)
    counts = [both, len(only_first), len(only_second), neither]
    columns = ["rows that are all right", "both", f"only {a}", f"only {b}", "neither"]
    blocks: list[Block] = [Table(columns, [["", *(f"{n:,}" for n in counts)]])]
    texts = views[0].judged[task].examples
    for title, numbers in ((f"right only in {a}", only_first), (f"right only in {b}", only_second)):
        numbers.sort(key=lambda k: -max(first[k].wrong, second[k].wrong))
        if numbers:
            cards = [
                [*_input(texts[k]), ("gold", _gold(first[k], second[k])), (a, first[k].said), (b, second[k].said)]
                for k in numbers[:examples]
            ]
            blocks += [Text(f"{title}:"), Cards(cards)]
    return blocks


def _gold(first: Judgement, second: Judgement) -> str:
    """The label from the side that is wrong, which names what was missed."""
    return first.gold if first.wrong else second.gold


def _input(example: Example) -> list[tuple[str, str]]:
    out = [("where", str(example.place))] if example.place else []
    out.append(("text", _short(example.text)))
    if example.pair is not None:
        out.append(("pair", _short(example.pair)))
    if example.options:
        out.append(("options", _short(" | ".join(f"{k}: {option}" for k, option in enumerate(example.options, 1)))))
    return out


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}… ({len(text):,} characters)"


def _key(example: Example) -> tuple[object, ...]:
    return example.text, example.pair, example.words, example.query, example.options
