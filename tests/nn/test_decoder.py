import pytest
import torch

from braid.nn.decoder import Decoder, DecoderShape, Rectangle, sinusoids

SHAPE = {"vocab_size": 11, "hidden_size": 8, "memory_size": 6, "layers": 2, "heads": 2, "intermediate_size": 16}
TARGETS, SOURCES = [3, 5, 1, 5], [4, 2, 7, 1]


def make(**options):
    torch.manual_seed(0)
    return Decoder(DecoderShape(**{**SHAPE, "positions": 9, "dropout": 0.0, **options})).eval()


def offsets(lengths):
    return torch.tensor([0, *lengths]).cumsum(0)


def data():
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(SHAPE["vocab_size"], (sum(TARGETS),), generator=generator)
    return ids, offsets(TARGETS), torch.randn(sum(SOURCES), 6, generator=generator), offsets(SOURCES)


@pytest.mark.parametrize("options", [{}, {"tied": False}, {"heads": 1, "hidden_size": 7}, {"layers": 1}])
@torch.no_grad()
def test_one_position_at_a_time_gives_the_logits_of_all_at_once(options):
    decoder = make(**options)
    ids, cu, memory, memory_cu = data()
    together = decoder(ids, cu, memory, memory_cu)
    for row, size in enumerate(TARGETS):
        target = ids[cu[row] : cu[row + 1]]
        source = memory[memory_cu[row] : memory_cu[row + 1]]
        state = decoder.continuation(source, offsets([len(source)]))
        written = [state.step(token.view(1, 1))[0, 0] for token in [torch.tensor(decoder.begin), *target[:-1]]]
        torch.testing.assert_close(torch.stack(written), together[cu[row] : cu[row] + size], atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_rows_of_a_batch_do_not_see_each_other():
    decoder = make()
    ids, cu, memory, memory_cu = data()
    together = decoder(ids, cu, memory, memory_cu)
    for row, (size, length) in enumerate(zip(TARGETS, SOURCES, strict=True)):
        own = slice(int(cu[row]), int(cu[row + 1]))
        source = memory[memory_cu[row] : memory_cu[row + 1]]
        alone = decoder(ids[own], offsets([size]), source, offsets([length]))
        torch.testing.assert_close(together[own], alone, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_a_token_is_predicted_from_those_before_it_only():
    decoder = make()
    ids, cu, memory, memory_cu = data()
    changed = ids.clone()
    changed[4] = (ids[4] + 1) % SHAPE["vocab_size"]
    differs = (decoder(ids, cu, memory, memory_cu) - decoder(changed, cu, memory, memory_cu)).abs().amax(dim=1) > 1e-6
    # Token 4 is the second of row 1, which has tokens 3 to 7.
    assert differs.tolist() == [k in (5, 6, 7) for k in range(len(ids))]


@torch.no_grad()
def test_the_source_is_read():
    decoder = make()
    ids, cu, memory, memory_cu = data()
    changed = memory.clone()
    changed[memory_cu[1]] += 1.0
    differs = (decoder(ids, cu, memory, memory_cu) - decoder(ids, cu, changed, memory_cu)).abs().amax(dim=1) > 1e-6
    assert differs.tolist() == [3 <= k < 8 for k in range(len(ids))]


@torch.no_grad()
def test_continuations_can_change_places_and_rows_can_leave():
    decoder = make()
    _, _, memory, memory_cu = data()
    state = decoder.continuation(memory, memory_cu)
    first = torch.tensor([[1, 2], [3, 4], [5, 6], [7, 8]])
    state.step(torch.full((4, 2), decoder.begin))
    state.step(first)
    state.reorder(torch.tensor([[1, 1], [1, 0], [0, 1], [0, 0]]))
    kept = torch.tensor([3, 1])
    state.keep(kept)
    logits = state.step(torch.tensor([[9, 0], [1, 2]]))
    for place, (row, histories) in enumerate([(3, [[7, 9], [7, 0]]), (1, [[4, 1], [3, 2]])]):
        source = memory[memory_cu[row] : memory_cu[row + 1]]
        for beam, history in enumerate(histories):
            ids = torch.tensor([*history, 0])
            expected = decoder(ids, offsets([3]), source, offsets([len(source)]))[-1]
            torch.testing.assert_close(logits[place, beam], expected, atol=1e-5, rtol=1e-5)


def test_the_begin_symbol_is_read_but_never_written():
    decoder = make()
    ids, cu, memory, memory_cu = data()
    assert decoder.embedding.weight.shape[0] == decoder.begin + 1 == SHAPE["vocab_size"] + 1
    assert decoder(ids, cu, memory, memory_cu).shape == (len(ids), SHAPE["vocab_size"])


def test_tied_embeddings_are_one_matrix():
    sizes = {tied: sum(p.numel() for p in make(tied=tied).parameters()) for tied in (True, False)}
    assert sizes[False] - sizes[True] == SHAPE["vocab_size"] * SHAPE["hidden_size"]


def test_in_mixed_precision_logits_are_fp32_and_close():
    decoder = make()
    ids, cu, memory, memory_cu = data()
    expected = decoder(ids, cu, memory, memory_cu)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = decoder(ids, cu, memory, memory_cu)
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, expected, atol=0.1, rtol=0.1)
    mixed.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in decoder.parameters())


def test_a_rectangle_takes_ragged_rows_and_gives_them_back():
    values = torch.arange(12.0).view(6, 2)
    ragged, even = Rectangle(offsets([1, 3, 2])), Rectangle(offsets([2, 2, 2]))
    assert ragged.spread(values).shape == (3, 3, 2)
    assert ragged.spread(values)[0, 1:].abs().sum() == 0
    assert ragged.positions_N.tolist() == [0, 0, 1, 2, 0, 1]
    assert even.keep_RL is None
    for rectangle in (ragged, even):
        assert torch.equal(rectangle.gather(rectangle.spread(values)), values)


def test_positions_are_sines_and_cosines():
    waves = sinusoids(3, 6)
    assert waves[0].tolist() == [0, 0, 0, 1, 1, 1]
    torch.testing.assert_close(waves[2, [0, 3]], torch.stack([torch.tensor(2.0).sin(), torch.tensor(2.0).cos()]))
    assert sinusoids(4, 5).shape == (4, 5)
