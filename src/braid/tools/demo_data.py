"""The data of `braid demo`: seeded Chinese and English travel notes with four layers of labels.

    notes_*.jsonl   a note with its `entities` and its `sentiment`: two tasks on the same rows (`&`)
    words_*.txt     Chinese notes with a space after every word: word segmentation
    pairs_*.tsv     two notes and their `closeness`, 0..5

No text of one split is in another, and no name of the dev and test notes is in the training files: whoever gets
them right has learned how names look and where they stand. Labels have no noise, so every figure can come near 1.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, TypeVar

from braid.tools import demo_grammar as grammar
from braid.tools.demo_grammar import Language, Words
from braid.tools.demo_pairs import make_pair

T = TypeVar("T")

Split = Literal["train", "dev", "test"]
Sentiment = Literal["positive", "negative", "neutral"]

SPLITS: tuple[Split, ...] = ("train", "dev", "test")

DEMO_TEXTS = (
    "上周五晚上我和高雨涵去松泉茶楼吃饭，红烧豆腐不油腻，不过服务员有点冷淡。",
    "请帮梁建宁订下周日中午翠悦小厨的4人桌。",
    "Nadia Tolford and I ate at Willow Anchor Bistro last Sunday evening. The steamed squid was not bland.",
    "The room at Hotel Amber Wharf was bright, but the manager was never helpful.",
    "Oscar Fenmere 推荐的 Hotel Copper Lily 在金桥市，虽然浴室很破旧，但老板非常热情。",
    "从白溪到云江坐了5个小时，风景一点也不无聊。",
)
"""What the demo predicts at its end; a reader can put any other sentences, one a line, into `predict_me.txt`."""

_LANGUAGES: tuple[Language, ...] = ("zh", "en")
_SENTIMENTS: tuple[Sentiment, ...] = ("positive", "negative", "neutral")
_ZH_MARKS = "，。？"
_SHARES = {"train": (0.0, 0.7), "dev": (0.7, 0.85), "test": (0.85, 1.0)}
_MISSING = 0.08  # of the training notes lack one of their two labels, as real collections do
_MIXED = 0.12  # of the Chinese notes name English persons, places and things
_OPPOSITE = 0.3  # of the opinions have a clause of praise and one of blame
_NEGATED = 0.2  # of the clauses say what they say with a negation
_LEAD = 0.5  # of the opinions begin with what happened


@dataclass(frozen=True)
class Entity:
    """A named span: characters `start` to `end` (exclusive) of the note."""

    start: int
    end: int
    label: str


@dataclass(frozen=True)
class Note:
    """A note with all its labels. *words*: the note as words; joined by `text` they are the note."""

    text: str
    words: Words
    entities: tuple[Entity, ...]
    sentiment: Sentiment


def write_demo_data(
    folder: Path, *, seed: int = 1, train: int = 4000, dev: int = 300, test: int = 400
) -> dict[str, list[Path]]:
    """Write the demo's files into `folder` and return their paths: `notes`, `words`, `pairs` (train, dev and test of
    each) and `predict`. The same arguments give the same bytes.

    *train*, *dev*, *test*: notes in each split, and as many pairs and segmented notes in dev and test; training has
    two pairs and two segmented notes for every five notes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    seen: dict[str, set[str]] = {"notes": set(), "words": set(), "pairs": set()}
    paths: dict[str, list[Path]] = {kind: [] for kind in seen}
    for split, size in zip(SPLITS, (train, dev, test), strict=True):
        names = _Names(split, seed)
        rng = random.Random(f"{seed} {split}")
        n_pairs, n_words = (size * 2 // 5, size * 2 // 5) if split == "train" else (size, size)

        notes = _distinct(partial(make_note, rng, names), lambda note: note.text, seen["notes"], size)
        rows = [json.dumps(_note_row(note, split, rng), ensure_ascii=False) for note in notes]
        paths["notes"].append(_write(folder / f"notes_{split}.jsonl", rows))

        segmented = partial(make_note, rng, names, language="zh")
        notes = _distinct(segmented, lambda note: note.text, seen["words"], n_words)
        rows = [" ".join(note.words) for note in notes]
        paths["words"].append(_write(folder / f"words_{split}.txt", rows))

        pairs = _distinct(
            partial(make_pair, rng, _LANGUAGES), lambda pair: f"{pair.first}\t{pair.second}", seen["pairs"], n_pairs
        )
        rows = [f"{pair.closeness}\t{pair.first}\t{pair.second}" for pair in pairs]
        paths["pairs"].append(_write(folder / f"pairs_{split}.tsv", ["label\ttext_a\ttext_b", *rows]))
    return {**paths, "predict": [_write(folder / "predict_me.txt", DEMO_TEXTS)]}


def make_note(rng: random.Random, names: _Names, *, language: Language | None = None) -> Note:
    """One note, as often positive as negative as neutral. *language*: None: Chinese or English with even odds."""
    spoken = rng.choice(_LANGUAGES) if language is None else language
    sentiment = rng.choice(_SENTIMENTS)
    named: Language = "en" if spoken == "zh" and rng.random() < _MIXED else spoken
    draft = _Draft(rng, spoken, _drawn(rng, names, named, spoken))
    if sentiment == "neutral":
        draft.neutral()
    else:
        draft.opinion(good=sentiment == "positive")
    text, starts = _joined(draft.words, spoken)
    spans = [(starts[first], starts[last] + len(draft.words[last]), label) for first, last, label in draft.spans]
    return Note(text, tuple(draft.words), tuple(Entity(*span) for span in spans), sentiment)


class _Names:
    """The names of one split: no name of another split is among them."""

    def __init__(self, split: Split, seed: int) -> None:
        self.by_slot: dict[tuple[Language, str], list[Words]] = {}
        for language in _LANGUAGES:
            for slot, names in grammar.names(language).items():
                random.Random(f"{seed} {language} {slot}").shuffle(names)
                first, last = (round(len(names) * share) for share in _SHARES[split])
                self._add(language, slot, names[first:last])

    def _add(self, language: Language, slot: str, names: list[Words]) -> None:
        if slot != "DATE":
            self.by_slot[language, slot] = names
            return
        marks = {"PAST": grammar.COMING_ONLY, "COMING": grammar.PAST_ONLY}
        for tense, wrong in marks.items():
            fits = [date for date in names if not ({date[0], date[0][0]} & wrong)]
            self.by_slot[language, tense] = fits

    def draw(self, rng: random.Random, language: Language, slot: str) -> Words:
        """Any name of a slot."""
        return rng.choice(self.by_slot[language, slot])


def _drawn(rng: random.Random, names: _Names, named: Language, language: Language) -> Callable[[str], Words]:
    """What fills a slot: names of language `named`, but dates always in the note's own."""
    dates = {"PAST", "COMING"}
    return lambda slot: names.draw(rng, language if slot in dates else named, slot)


class _Draft:
    """A note that is being worded: its words so far, and its entities as first word, last word and label."""

    def __init__(self, rng: random.Random, language: Language, draw: Callable[[str], Words]) -> None:
        self.rng, self.language, self.draw = rng, language, draw
        self.words: list[str] = []
        self.spans: list[tuple[int, int, str]] = []
        self.said: dict[str, Words] = {}

    def neutral(self) -> None:
        """Word a message, or a question or condition that names an opinion and holds none."""
        if self.rng.random() < 0.6:
            self.add(self.rng.choice(grammar.MESSAGES[self.language]))
            return
        topic = grammar.TOPICS[self.language][self.rng.choice(grammar.ASKED)]
        pattern = self.rng.choice(grammar.UNDECIDED[self.language])
        self.add(self.with_opinion(pattern, topic, good=self.rng.random() < 0.5))

    def opinion(self, *, good: bool) -> None:
        """Word what happened and what it was like. Of two opposite clauses the conjunction says which one counts."""
        scene, judged = self.rng.choice(list(grammar.SCENES.items()))
        first, second = self.rng.sample([grammar.TOPICS[self.language][name] for name in judged], 2)
        if self.rng.random() < _LEAD:
            self.add(self.rng.choice(grammar.LEADS[self.language][scene]))
        agree = self.rng.random() > _OPPOSITE
        frame = self.rng.choice((grammar.BOTH_AGREE if agree else grammar.OPPOSED)[self.language])
        frame = frame.replace("{A}", self.clause(first, good=good))
        self.add(frame.replace("{B}", self.clause(second, good=good == agree)))

    def clause(self, topic: grammar.Topic, *, good: bool) -> str:
        """A clause that praises or blames: with a word of that kind, or with the negation of the other kind."""
        negated = self.rng.random() < _NEGATED
        pattern = self.rng.choice((grammar.NEGATED if negated else grammar.PLAIN)[self.language])
        return self.with_opinion(pattern, topic, good=good != negated)

    def with_opinion(self, pattern: str, topic: grammar.Topic, *, good: bool) -> str:
        """A pattern with its thing and an adjective of praise or blame."""
        general, special = (grammar.PRAISE, topic.praise) if good else (grammar.BLAME, topic.blame)
        filled = pattern.replace("{THING}", self.rng.choice(topic.things))
        return filled.replace("{ADJ}", self.rng.choice(general[self.language] + special))

    def add(self, pattern: str) -> None:
        """Append a pattern's words with its slots filled. What an earlier pattern named keeps its name."""
        named: dict[str, Words] = {}
        for word in pattern.split():
            if not word.startswith("{"):
                self.words.append(word)
                continue
            slot = word.strip("{}")
            name = named[slot] = self.said.get(slot) or self.draw(slot)
            first = len(self.words) + (name[0] == grammar.PREPOSITION)
            self.words.extend(name)
            self.spans.append((first, len(self.words) - 1, grammar.LABELS[slot]))
        self.said.update(named)


def _joined(words: Sequence[str], language: Language) -> tuple[str, list[int]]:
    """The text of some words and where each begins. English has spaces and capitals at the beginning of sentences;
    Chinese has spaces only around English words."""
    text, starts = "", []
    for word in words:
        if language == "en":
            new_sentence = not text or text.endswith((".", "?"))
            word = word[0].upper() + word[1:] if new_sentence else word
            spaced = bool(text) and word not in ".,;?"
        else:
            spaced = bool(text) and (
                (_is_latin(text[-1]) and word not in _ZH_MARKS) or (_is_latin(word[0]) and text[-1] not in _ZH_MARKS)
            )
        text += " " * spaced
        starts.append(len(text))
        text += word
    return text, starts


def _is_latin(character: str) -> bool:
    return character.isascii() and character.isalpha()


def _note_row(note: Note, split: Split, rng: random.Random) -> dict[str, object]:
    entities = [{"start": entity.start, "end": entity.end, "label": entity.label} for entity in note.entities]
    row: dict[str, object] = {"text": note.text, "entities": entities, "sentiment": note.sentiment}
    if split == "train" and rng.random() < _MISSING:
        del row[rng.choice(["entities", "sentiment"])]
    return row


def _distinct(make: Callable[[], T], key: Callable[[T], str], seen: set[str], count: int) -> list[T]:
    """`count` new things whose keys were not seen before; their keys are seen from now on."""
    made: list[T] = []
    while len(made) < count:
        thing = make()
        if key(thing) not in seen:
            seen.add(key(thing))
            made.append(thing)
    return made


def _write(path: Path, lines: Sequence[str]) -> Path:
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8", newline="\n")
    return path
