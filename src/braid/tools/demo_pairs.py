"""Pairs of the demo data: what was heard of a place, and what was found there; and how close the two are, 0 to 5.

Both sides hold one of six verdicts, from disaster to perfection, each worded in several ways, in Chinese or English.
What is found is never better than what was heard: so closeness is a sum of what the two sides say, which even a
small encoder learns from scratch in a minute. (Whether two sentences are *equal* in meaning takes far more data.)
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from braid.tools.demo_grammar import Language

VERDICTS: dict[Language, tuple[tuple[str, ...], ...]] = {
    "zh": (
        ("糟糕透了", "差到极点", "简直是灾难", "实在太差了"),
        ("不好", "不怎么样", "有点差", "令人失望"),
        ("很一般", "马马虎虎", "普普通通", "没什么特别"),
        ("还可以", "不算差", "还算好", "比较满意"),
        ("很好", "非常好", "令人满意", "值得推荐"),
        ("好极了", "完美", "好到极点", "简直是享受"),
    ),
    "en": (
        ("a disaster", "absolutely terrible", "the worst ever", "as bad as it gets"),
        ("not good", "disappointing", "rather bad", "worse than most"),
        ("mediocre", "just average", "nothing special", "so so"),
        ("not bad", "fairly good", "decent", "better than most"),
        ("good", "very good", "worth a visit", "really nice"),
        ("perfect", "absolutely superb", "the best ever", "as good as it gets"),
    ),
}
"""Six verdicts from worst to best. Near ones share words: `not good` is two steps from `good`, one from `mediocre`."""

CLOSEST = len(VERDICTS["zh"]) - 1
"""The closeness of two equal verdicts."""

_PEOPLE: dict[Language, tuple[str, ...]] = {
    "zh": ("我", "我们", "妈妈", "同事", "邻居", "老师", "弟弟", "朋友"),
    "en": ("we", "my mother", "a colleague", "the neighbour", "my teacher", "my brother", "a friend", "our guide"),
}
_PLACES: dict[Language, tuple[str, ...]] = {
    "zh": ("酒店", "夜市", "车站", "码头", "学校", "老街"),
    "en": ("hotel", "market", "station", "harbour", "school", "old town"),
}
_THINGS: dict[Language, tuple[str, ...]] = {
    "zh": ("早餐", "服务", "房间", "烤鱼", "咖啡", "风景"),
    "en": ("breakfast", "service", "room", "grilled fish", "coffee", "view"),
}
_HEARD: dict[Language, tuple[str, ...]] = {
    "zh": (
        "听{who}说{place}的{thing}{verdict}。",
        "网上说{place}的{thing}{verdict}。",
        "{who}介绍过，{place}的{thing}{verdict}。",
    ),
    "en": (
        "{who} told us that the {thing} at the {place} is {verdict}.",
        "reviews call the {thing} at the {place} {verdict}.",
        "people say the {thing} at the {place} is {verdict}.",
    ),
}
_FOUND: dict[Language, tuple[str, ...]] = {
    "zh": (
        "昨天{who}去了{place}，{thing}{verdict}。",
        "其实{who}觉得{thing}{verdict}。",
        "去过才知道，{place}的{thing}{verdict}。",
    ),
    "en": (
        "yesterday {who} went to the {place}: the {thing} was {verdict}.",
        "in fact {who} found the {thing} {verdict}.",
        "the {thing} turned out to be {verdict}, said {who}.",
    ),
}


@dataclass(frozen=True)
class Pair:
    """What was heard, what was found, and how close the two are, 0..5."""

    first: str
    second: str
    closeness: int


def make_pair(rng: random.Random, languages: Sequence[Language]) -> Pair:
    """One pair, each side in one of the languages. Every closeness is equally frequent."""
    closeness = rng.randint(0, CLOSEST)
    found = rng.randint(0, closeness)
    heard = found + CLOSEST - closeness
    place, thing = rng.randrange(len(_PLACES["zh"])), rng.randrange(len(_THINGS["zh"]))
    sides = []
    for patterns, level in ((_HEARD, heard), (_FOUND, found)):
        language = rng.choice(languages)
        side = rng.choice(patterns[language]).format(
            who=rng.choice(_PEOPLE[language]),
            place=_PLACES[language][place],
            thing=_THINGS[language][thing],
            verdict=rng.choice(VERDICTS[language][level]),
        )
        sides.append(side[:1].upper() + side[1:])
    return Pair(sides[0], sides[1], closeness)
