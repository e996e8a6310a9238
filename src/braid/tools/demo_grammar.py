"""Words and sentence patterns of the demo data: invented names, dishes and goods, opinions, and what is said of them.

A pattern is a string of words divided by spaces, so that Chinese sentences come with their words marked. `{SLOT}` is
filled with a name of that kind, and `{THING}`, `{ADJ}` with words of an opinion. Persons and places are made of
parts, so there are far more of them than any training set shows: a model has to learn forms and contexts, not lists.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Literal

Language = Literal["zh", "en"]
Words = tuple[str, ...]

LABELS = {
    "PERSON": "PERSON",
    "HOTEL": "PLACE",
    "DINER": "PLACE",
    "SHOP": "PLACE",
    "CITY": "PLACE",
    "DISH": "DISH",
    "PRODUCT": "PRODUCT",
    "PAST": "DATE",
    "COMING": "DATE",
}
"""The label of each slot's entity."""

PREPOSITION = "on"
"""Said before some dates and no part of the entity: `on March 12`."""


# --- Names: every combination of parts is one name -------------------------------------------------------------------
def _words(*parts: str) -> Words:
    return tuple(" ".join(parts).split())


def _phrases(text: str) -> Words:
    return tuple(text.split("|"))


_SURNAMES = "张李王陈林高白周吴徐孙马朱胡郭何罗梁宋郑谢韩唐冯"
_GIVEN_FIRST = "文雨子佳思嘉明欣晓建志海立春雅俊国小天云"
_GIVEN_LAST = "博晨涵宁远怡轩然彤华强燕平生梅杰庆红宇芳"
_FORENAMES = _words("Mira Tomas Elena Oscar Nadia Felix Ruth Hugo Clara Simon Paula Victor Ines Martin Alma Daniel")
_SURNAME_HEADS = _words("Har Bel Tam Wen Cor Mar Lan Dor Ash Fen Kel Ros Hol Bran Tol Win")
_SURNAME_TAILS = _words("low win by ford ley ton mer dale more wick sen ner")
_NAME_HEADS = "翠云金兰竹松星月明锦福临青南东长白玉安"
_NAME_TAILS = "湖庭悦轩苑阁泉溪园华川江山桥林海岩塘"
_EN_COLOURS = _words("Silver Copper Golden Blue Maple Willow Cedar Harbour Lantern Amber River Stone")
_EN_THINGS = _words("Anchor Spoon Kettle Garden Bridge Feather Compass Pine Crown Lily Wharf Mill")
_CITY_HEADS = _words(
    "Bren Toll Ash Kel Mor Stan Hollow Fair Whit Lark Ember Nor Had Wex Thorn Gold Black Sel Under Kirk"
)
_CITY_TAILS = _words("port mere field bury haven gate wood bridge ham stead cliff brook well minster shore hill")
_COOKED = _words("清蒸 红烧 麻辣 香煎 蒜蓉 糖醋 酸辣 葱油 干锅 凉拌 椒盐 酱爆")
_FOODS = _words("鲈鱼 豆腐 牛肉 排骨 茄子 虾仁 鸡丁 土豆 蘑菇 羊肉 白菜 鸭块 笋片 面条 米线 莲藕")
_EN_COOKED = _words("grilled steamed spicy smoked roasted braised fried pickled baked stewed")
_EN_FOODS = _phrases("salmon|tofu|beef|pork|aubergine|cabbage|chicken|rice|squid|lamb|sea bass|duck")
_MATERIALS = _words("羊毛 真丝 竹编 陶瓷 实木 纯棉 皮革 亚麻 不锈钢 玻璃 水晶 藤编")
_GOODS = _words("围巾 茶盘 花瓶 书架 手套 背包 台灯 水杯 床单 毛毯 拖鞋 桌布")
_EN_MATERIALS = _words("woollen silk bamboo ceramic oak cotton leather linen steel glass")
_EN_GOODS = _phrases("scarf|tea tray|vase|bookshelf|hat|backpack|desk lamp|mug|blanket|cushion|tablecloth|bowl")
_MONTHS = _words("January February March April May June July August September October November December")
_WEEKDAYS = _words("Monday Tuesday Wednesday Thursday Friday Saturday Sunday")


def _dates(language: Language) -> list[Words]:
    if language == "zh":
        days = [_words(f"{month}月", f"{day}日") for month, day in product(range(1, 13), range(2, 29, 2))]
        parts = product("上本下", "一二三四五六日", _words("早上 上午 中午 下午 晚上"))
        return days + [_words(f"{week}周{day}", part) for week, day, part in parts]
    days = [_words(PREPOSITION, month, str(day)) for month, day in product(_MONTHS, range(2, 29, 2))]
    parts = product(_words("last this next"), _WEEKDAYS, _words("morning afternoon evening"))
    return days + [_words(*part) for part in parts]


def names(language: Language) -> dict[str, list[Words]]:
    """Every name of every slot, as words; dates under `DATE`."""
    if language == "zh":
        stems = ["".join(pair) for pair in product(_NAME_HEADS, _NAME_TAILS)]
        places = {kind: [_words(stem, end) for stem, end in product(stems, ends)] for kind, ends in _ZH_PLACES.items()}
        given = [*_GIVEN_LAST, *("".join(pair) for pair in product(_GIVEN_FIRST, _GIVEN_LAST))]
        return {
            "PERSON": [_words(surname + name) for surname, name in product(_SURNAMES, given)],
            **places,
            "CITY": [_words(stem + end) for stem, end in product(stems, ["", "市", "镇", "岛"])],
            "DISH": [_words(*pair) for pair in product(_COOKED, _FOODS)],
            "PRODUCT": [_words(*pair) for pair in product(_MATERIALS, _GOODS)],
            "DATE": _dates(language),
        }
    heads = list(product(_EN_COLOURS, _EN_THINGS))
    surnames = ["".join(pair) for pair in product(_SURNAME_HEADS, _SURNAME_TAILS)]
    return {
        "PERSON": [_words(*pair) for pair in product(_FORENAMES, surnames)],
        "HOTEL": [_words("Hotel", *head) for head in heads] + [_words(*head, "Lodge") for head in heads],
        "DINER": [_words(*head, end) for head, end in product(heads, ["Kitchen", "Diner", "Bistro"])],
        "SHOP": [_words(*head, end) for head, end in product(heads, ["Market", "Store", "Gallery"])],
        "CITY": [_words("".join(pair)) for pair in product(_CITY_HEADS, _CITY_TAILS)],
        "DISH": [_words(*pair) for pair in product(_EN_COOKED, _EN_FOODS)],
        "PRODUCT": [_words(*pair) for pair in product(_EN_MATERIALS, _EN_GOODS)],
        "DATE": _dates(language),
    }


_ZH_PLACES = {
    "HOTEL": _words("大酒店 宾馆 客栈 度假村"),
    "DINER": _words("饭馆 小厨 茶楼 酒家"),
    "SHOP": _words("百货 商店 市集 书店"),
}

COMING_ONLY, PAST_ONLY = {"next", "下"}, {"last", "上"}
"""First words (first characters) of dates that only fit what is to come, or what has been."""


# --- Opinions --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Topic:
    """Things that are judged alike, and the words that praise and blame them."""

    things: tuple[str, ...]
    praise: Words
    blame: Words


def _topic(things: str, praise: str, blame: str) -> Topic:
    return Topic(_phrases(things), _words(praise), _words(blame))


PRAISE: dict[Language, Words] = {"zh": _words("好 棒 出色"), "en": _words("good great lovely")}
BLAME: dict[Language, Words] = {"zh": _words("差 糟糕 烂"), "en": _words("bad awful poor")}
"""What can be said of anything; a topic has words of its own besides."""

TOPICS: dict[Language, dict[str, Topic]] = {
    "zh": {
        "taste": _topic("味道|汤|菜|{DISH}|点心", "可口 新鲜", "油腻 难吃"),
        "service": _topic("服务员|老板|经理", "热情 耐心", "冷淡 粗心"),
        "room": _topic("房间|床|浴室|阳台", "干净 舒服", "潮湿 脏"),
        "goods": _topic("{PRODUCT}|做工|包装|颜色", "精致 结实", "粗糙 单薄"),
        "trip": _topic("路线|风景|老 街|夜景", "迷人 有趣", "无聊 乏味"),
    },
    "en": {
        "taste": _topic("soup|sauce|food|{DISH}|dessert", "tasty fresh", "greasy bland"),
        "service": _topic("manager|owner|host", "friendly helpful", "rude careless"),
        "room": _topic("room|bed|bathroom|balcony", "clean bright", "damp dirty"),
        "goods": _topic("{PRODUCT}|finish|wrapping|colour", "elegant sturdy", "rough flimsy"),
        "trip": _topic("route|view|old town|walk", "charming lively", "boring gloomy"),
    },
}

SCENES: dict[str, tuple[str, ...]] = {
    "food": ("taste", "service"),
    "hotel": ("room", "service"),
    "shop": ("goods", "service"),
    "trip": ("trip", "taste"),
}
"""What is judged in each scene."""

ASKED = ("taste", "service", "room")
"""What people ask about before they come."""

PLAIN: dict[Language, tuple[str, ...]] = {
    "zh": ("{THING} 很 {ADJ}", "{THING} 非常 {ADJ}", "{THING} 真 {ADJ}", "{THING} 太 {ADJ} 了"),
    "en": (
        "the {THING} was {ADJ}",
        "the {THING} was really {ADJ}",
        "the {THING} was very {ADJ}",
        "we found the {THING} {ADJ}",
    ),
}
"""Clauses that say what the adjective says."""

NEGATED: dict[Language, tuple[str, ...]] = {
    "zh": ("{THING} 不 {ADJ}", "{THING} 一点 也 不 {ADJ}", "{THING} 谈不上 {ADJ}"),
    "en": (
        "the {THING} was not {ADJ}",
        "the {THING} was never {ADJ}",
    ),
}
"""Clauses that say the opposite of the adjective."""

OPPOSED: dict[Language, tuple[str, ...]] = {
    "zh": ("{B} ， 但是 {A} 。", "虽然 {B} ， 但是 {A} 。", "{B} ， 不过 {A} 。", "{A} ， 虽然 {B} 。"),
    "en": ("{B} , but {A} .", "although {B} , {A} .", "{B} ; however , {A} .", "{A} , although {B} ."),
}
"""Two opposite clauses; {A} is the one that the writer ends up with, first or last."""

BOTH_AGREE: dict[Language, tuple[str, ...]] = {
    "zh": ("{A} ， {B} 。", "{A} ， 而且 {B} 。", "{A} 。"),
    "en": ("{A} and {B} .", "{A} ; also , {B} .", "{A} ."),
}

LEADS: dict[Language, dict[str, tuple[str, ...]]] = {
    "zh": {
        "food": (
            "{PAST} 我 和 {PERSON} 去 {DINER} 吃饭 ，",
            "{PERSON} 在 {DINER} 点 了 {DISH} ，",
            "我们 {PAST} 在 {CITY} 吃 了 {DISH} ，",
            "{DINER} 的 {DISH} 我 {PAST} 吃 过 ，",
        ),
        "hotel": (
            "我们 {PAST} 入住 {HOTEL} ，",
            "{PERSON} 推荐 的 {HOTEL} 在 {CITY} ，",
            "{PAST} 带 3 个 孩子 住 {HOTEL} ，",
            "在 {CITY} 住 了 2 晚 ，",
        ),
        "shop": (
            "{PAST} 在 {SHOP} 买 了 {PRODUCT} ，",
            "{PERSON} 送 我 一 件 {PRODUCT} ，",
            "从 {SHOP} 订 的 {PRODUCT} {PAST} 到 货 ，",
        ),
        "trip": (
            "{PAST} 跟 {PERSON} 去 {CITY} 旅行 ，",
            "从 {CITY} 到 {CITY} 坐 了 5 个 小时 ，",
            "我们 在 {CITY} 逛 了 {SHOP} ，",
        ),
    },
    "en": {
        "food": (
            "{PERSON} and I ate at {DINER} {PAST} .",
            "I ordered the {DISH} at {DINER} .",
            "{PAST} we had {DISH} in {CITY} .",
            "{PERSON} took me to {DINER} for {DISH} .",
        ),
        "hotel": (
            "we stayed at {HOTEL} {PAST} .",
            "{PERSON} told us about {HOTEL} in {CITY} .",
            "{PAST} I spent 2 nights at {HOTEL} with 3 children .",
        ),
        "shop": (
            "I bought the {PRODUCT} at {SHOP} {PAST} .",
            "{PERSON} gave me this {PRODUCT} from {SHOP} .",
            "the {PRODUCT} from {SHOP} came {PAST} .",
        ),
        "trip": (
            "{PAST} I went to {CITY} with {PERSON} .",
            "the train from {CITY} to {CITY} took 5 hours .",
            "we walked from {SHOP} to {HOTEL} .",
        ),
    },
}

MESSAGES: dict[Language, tuple[str, ...]] = {
    "zh": (
        "请 帮 {PERSON} 订 {COMING} {DINER} 的 4 人 桌 。",
        "{PERSON} 先生 {COMING} 到 {CITY} ， 请 安排 接 站 。",
        "我 想 把 {HOTEL} 的 房间 改 到 {COMING} 。",
        "{DISH} 请 不要 放 葱 ， {COMING} 送 到 {HOTEL} 。",
        "{SHOP} {COMING} 还 有 {PRODUCT} 吗 ？",
        "{PERSON} 问 {CITY} 到 {CITY} 的 车 几 点 开 。",
        "{COMING} 我 和 {PERSON} 在 {SHOP} 门口 见 。",
        "{HOTEL} 离 {DINER} 有 3 公里 。",
    ),
    "en": (
        "please book a table for 4 at {DINER} {COMING} for {PERSON} .",
        "{PERSON} arrives in {CITY} {COMING} and needs a taxi .",
        "can I move my room at {HOTEL} to {COMING} ?",
        "please send the {DISH} to {HOTEL} and do not add onions .",
        "does {SHOP} still have the {PRODUCT} ?",
        "{PERSON} asked when the bus from {CITY} to {CITY} leaves .",
        "I will meet {PERSON} at {SHOP} {COMING} .",
        "{HOTEL} is 3 miles from {DINER} .",
    ),
}
"""Neutral: facts, bookings, requests."""

UNDECIDED: dict[Language, tuple[str, ...]] = {
    "zh": (
        "请问 {HOTEL} 的 {THING} {ADJ} 吗 ？",
        "{PERSON} 想 知道 {DINER} 的 {THING} 是 不 是 {ADJ} 。",
        "要是 {THING} {ADJ} ， {PERSON} {COMING} 就 不 去 {DINER} 了 。",
        "{COMING} 去 {HOTEL} 之前 先 问 {THING} 够 不 够 {ADJ} 。",
    ),
    "en": (
        "is the {THING} at {HOTEL} {ADJ} ?",
        "{PERSON} wants to know whether the {THING} at {DINER} is {ADJ} .",
        "if the {THING} is {ADJ} , {PERSON} will not come to {DINER} {COMING} .",
        "please ask {HOTEL} whether the {THING} is {ADJ} enough .",
    ),
}
"""Neutral although they name an opinion: questions and conditions."""
