import math
from itertools import product

import numpy as np
import pytest
import torch

from braid.nn.decoder import Decoder, DecoderShape
from braid.nn.generate import Request, beam_search, greedy, length_penalty, sampler, write

CPU = torch.device("cpu")
END, BEGIN = 2, 3
"""The tiny models write 0 (`a`), 1 (`b`) and the end symbol."""

GARDEN = {(): (0.55, 0.45, 0.0), (0,): (0.5, 0.4, 0.1), (1,): (0.05, 0.05, 0.9)}
"""The likeliest first token, `a`, leads to nothing likely; `b` ends at once."""


class Table:
    """Next tokens by a table of histories; one that it lacks ends. It keeps to each row's own table."""

    def __init__(self, *tables):
        self.tables = list(tables)
        self.histories = None
        self.steps = 0

    def step(self, ids_RK):
        if self.histories is None:
            self.histories = [[() for _ in row] for row in ids_RK]
        else:
            pairs = zip(self.histories, ids_RK.tolist(), strict=True)
            self.histories = [[(*h, token) for h, token in zip(row, ids, strict=True)] for row, ids in pairs]
        self.steps += 1
        chances = [
            [table.get(history, (0.0, 0.0, 1.0)) for history in row]
            for table, row in zip(self.tables, self.histories, strict=True)
        ]
        return torch.tensor(chances).clamp(min=1e-9).log()

    def reorder(self, parents_RK):
        pairs = zip(self.histories, parents_RK.tolist(), strict=True)
        self.histories = [[row[parent] for parent in parents] for row, parents in pairs]

    def keep(self, rows):
        self.histories = [self.histories[row] for row in rows.tolist()]
        self.tables = [self.tables[row] for row in rows.tolist()]


def request(rows=1, longest=8):
    return Request(rows=rows, begin=BEGIN, end=END, longest=longest)


def sequences(found):
    return [ids[:size].tolist() for ids, size in zip(found.ids, found.sizes.tolist(), strict=True)]


def searched(*tables, beams, alpha=0.0, longest=8):
    model = Table(*tables)
    return beam_search(model, request(len(tables), longest), beams=beams, alpha=alpha, device=CPU)


def test_beam_search_finds_the_best_sequence_where_greedy_fails():
    assert sequences(write(Table(GARDEN), request(), greedy, device=CPU)) == [[0, 0, END]]
    found = searched(GARDEN, beams=2)
    assert sequences(found) == [[1, END]]
    torch.testing.assert_close(found.log_probs[0, :2], torch.tensor([0.45, 0.9]).log())


def random_table(seed, longest):
    """Random next-token probabilities for every history."""
    random = np.random.default_rng(seed)
    histories = [h for n in range(longest) for h in product((0, 1), repeat=n)]
    return {history: tuple(random.dirichlet((0.5, 0.5, 0.5))) for history in histories}


def best_of_all(table, longest, alpha):
    """By trying every sequence."""
    scores = {}
    for n in range(longest):
        for body in product((0, 1), repeat=n):
            ways = [(*body, END)] + ([(*body, token) for token in (0, 1)] if n + 1 == longest else [])
            for way in ways:
                total = sum(math.log(max(table[way[:t]][token], 1e-9)) for t, token in enumerate(way))
                scores[way] = total / penalty(len(way), alpha)
    return list(max(scores, key=scores.get))


@pytest.mark.parametrize("alpha", [0.0, 0.6, 2.0])
@pytest.mark.parametrize("seed", range(8))
def test_a_beam_as_wide_as_the_tree_is_exact(seed, alpha):
    table = random_table(seed, 4)
    found = searched(table, beams=40, alpha=alpha, longest=4)
    assert sequences(found) == [best_of_all(table, 4, alpha)]


def penalty(length, alpha):
    return float(length_penalty(torch.tensor(length), alpha))


def test_the_length_penalty_changes_the_choice():
    table = {(): (0.5, 0.1, 0.4), (0,): (0.0, 0.7, 0.3)}
    short, long = math.log(0.4), math.log(0.35)
    assert short > long
    assert short / penalty(1, 1.0) < long / penalty(3, 1.0)
    assert sequences(searched(table, beams=3, alpha=0.0)) == [[END]]
    assert sequences(searched(table, beams=3, alpha=1.0)) == [[0, 1, END]]


def test_the_penalty_is_that_of_the_paper():
    lengths = torch.tensor([1, 7, 19])
    assert length_penalty(lengths, 0.6).tolist() == pytest.approx([1.0, 2**0.6, 4**0.6])
    assert length_penalty(lengths, 0.0).tolist() == [1.0, 1.0, 1.0]


def tiny_decoder(rows, seed=1):
    """A random decoder in front of random sources."""
    torch.manual_seed(seed)
    shape = DecoderShape(
        vocab_size=12, hidden_size=8, memory_size=8, layers=2, heads=2, intermediate_size=16, positions=10
    )
    decoder = Decoder(shape).eval()
    torch.nn.init.normal_(decoder.embedding.weight, std=0.5)
    # The end must be likely enough for sequences of several lengths.
    decoder.bias_C.data[-1] = 2.5
    memory = torch.randn(3 * rows, 8)
    return decoder, memory, torch.arange(0, 3 * rows + 1, 3)


def decoder_request(decoder, rows, longest=10):
    return Request(rows=rows, begin=decoder.begin, end=decoder.begin - 1, longest=longest)


@torch.no_grad()
def test_one_beam_is_greedy_search():
    decoder, memory, cu = tiny_decoder(30)
    wanted = decoder_request(decoder, 30)
    a = write(decoder.continuation(memory, cu), wanted, greedy, device=CPU)
    b = beam_search(decoder.continuation(memory, cu), wanted, beams=1, alpha=0.6, device=CPU)
    assert sequences(a) == sequences(b)
    assert len({len(sequence) for sequence in sequences(a)}) > 2
    torch.testing.assert_close(a.log_probs, b.log_probs)


@torch.no_grad()
@pytest.mark.parametrize("beams", [2, 4])
def test_rows_are_searched_as_if_alone_and_score_what_the_decoder_says(beams):
    decoder, memory, cu = tiny_decoder(12)
    wanted = decoder_request(decoder, 12)
    together = beam_search(decoder.continuation(memory, cu), wanted, beams=beams, alpha=0.6, device=CPU)
    for row, ids in enumerate(sequences(together)):
        source = memory[3 * row : 3 * row + 3]
        alone = decoder.continuation(source, torch.tensor([0, 3]))
        found = beam_search(alone, decoder_request(decoder, 1), beams=beams, alpha=0.6, device=CPU)
        assert sequences(found) == [ids]
        tokens = torch.tensor(ids)
        logits = decoder(tokens, torch.tensor([0, len(ids)]), source, torch.tensor([0, 3]))
        expected = logits.log_softmax(-1).gather(1, tokens[:, None])[:, 0]
        torch.testing.assert_close(together.log_probs[row, : len(ids)], expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_more_beams_find_no_worse_sequences_on_the_whole():
    decoder, memory, cu = tiny_decoder(40)
    totals = []
    for beams in (1, 8):
        found = beam_search(
            decoder.continuation(memory, cu), decoder_request(decoder, 40), beams=beams, alpha=0.0, device=CPU
        )
        totals.append(float(found.log_probs.sum()))
    assert totals[1] > totals[0]


@pytest.mark.parametrize("beams", [None, 1, 3])
def test_what_never_ends_is_cut_at_the_longest(beams):
    endless = {h: (0.7, 0.3, 0.0) for n in range(6) for h in product((0, 1), repeat=n)}
    if beams is None:
        found = write(Table(endless), request(longest=5), greedy, device=CPU)
    else:
        found = searched(endless, beams=beams, alpha=0.6, longest=5)
    assert sequences(found) == [[0] * 5]


def test_finished_rows_leave_the_computation():
    early, late = {}, {(): (1.0, 0.0, 0.0), (0,): (0.0, 1.0, 0.0)}
    for beams in (None, 2):
        model = Table(early, late, early)
        if beams is None:
            found = write(model, request(3), greedy, device=CPU)
        else:
            found = beam_search(model, request(3), beams=beams, alpha=0.0, device=CPU)
        assert sequences(found) == [[END], [0, 1, END], [END]]
        assert model.tables == [late]
        assert model.steps == 3
        ids, log_probs = found.flat()
        assert ids.tolist() == [END, 0, 1, END, END]
        assert log_probs.shape == ids.shape


def drawn(chances, **options):
    """The first tokens that uniform numbers draw from the probabilities 0.5, 0.3, 0.2."""
    table = {(): (0.5, 0.3, 0.2)}
    choose = sampler(torch.tensor(chances).view(-1, 1), **{"temperature": 1.0, "top_k": None, "top_p": 1.0, **options})
    found = write(Table(*[table] * len(chances)), request(len(chances), longest=1), choose, device=CPU)
    return found.ids[:, 0].tolist()


def test_draws_follow_the_probabilities():
    assert drawn([0.0, 0.49, 0.51, 0.79, 0.81, 0.9999]) == [0, 0, 1, 1, 2, 2]
    uniform = ((torch.arange(1000) + 0.5) / 1000).tolist()
    counts = np.bincount(drawn(uniform), minlength=3)
    assert counts.tolist() == [500, 300, 200]


@pytest.mark.parametrize(
    ("options", "counts"),
    [
        ({"top_k": 1}, [1000, 0, 0]),
        ({"top_k": 2}, [625, 375, 0]),
        ({"top_k": 9}, [500, 300, 200]),
        ({"top_p": 0.01}, [1000, 0, 0]),
        ({"top_p": 0.6}, [625, 375, 0]),
        ({"top_p": 0.9}, [500, 300, 200]),
        ({"temperature": 0.01}, [1000, 0, 0]),
        ({"temperature": 0.5}, [658, 237, 105]),
    ],
)
def test_temperature_top_k_and_top_p_narrow_the_choice(options, counts):
    uniform = ((torch.arange(1000) + 0.5) / 1000).tolist()
    assert np.abs(np.bincount(drawn(uniform, **options), minlength=3) - counts).max() <= 1


@torch.no_grad()
def test_a_rows_draws_hang_on_its_own_numbers_alone():
    decoder, memory, cu = tiny_decoder(6)
    chance = torch.rand(6, 10, generator=torch.Generator().manual_seed(4))
    options = {"temperature": 1.5, "top_k": None, "top_p": 0.95}

    def run(rows):
        places = torch.cat([torch.arange(3 * row, 3 * row + 3) for row in rows])
        state = decoder.continuation(memory[places], cu[: len(rows) + 1])
        wanted = decoder_request(decoder, len(rows))
        return sequences(write(state, wanted, sampler(chance[rows], **options), device=CPU))

    together = run([0, 1, 2, 3, 4, 5])
    assert together == run([0, 1, 2, 3, 4, 5])
    assert [together[4], together[1]] == run([4, 1])
    chance = torch.rand(6, 10, generator=torch.Generator().manual_seed(5))
    assert together != run([0, 1, 2, 3, 4, 5])
