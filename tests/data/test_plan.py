"""The plan: which rows in which batch, as a pure function of seed, epoch and sizes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from braid.data.plan import Plan, split_step
from braid.data.samplers.annealed import Annealed
from braid.data.samplers.base import Sampler, shares
from braid.data.samplers.proportional import Proportional
from braid.data.samplers.temperature import Temperature
from braid.data.samplers.uniform import Uniform
from braid.data.samplers.unimax import UniMax


def plan_of(*sizes: int, sampler: Sampler | None = None, rates: tuple[float, ...] = (), **options: object) -> Plan:
    rng = np.random.default_rng(0)
    settings_ = {"epochs": 3, "seed": 1, "batch_tokens": 256, **options}
    return Plan(
        lengths=tuple(rng.integers(3, 90, size) for size in sizes),
        rates=rates or (1.0,) * len(sizes),
        sampler=sampler or Proportional(),
        **settings_,  # type: ignore[arg-type]
    )


@settings(max_examples=40, deadline=None)
@given(
    sizes=st.lists(st.integers(0, 60), min_size=1, max_size=4),
    seed=st.integers(0, 10**6),
    epoch=st.integers(0, 2),
    batches=st.sampled_from(["mixed", "single"]),
    budget=st.one_of(
        st.tuples(st.just("batch_tokens"), st.integers(10, 500)), st.tuples(st.just("batch_rows"), st.integers(1, 9))
    ),
)
def test_proportional_sees_every_row_exactly_once_an_epoch(sizes, seed, epoch, batches, budget) -> None:
    limits = {"batch_tokens": None, "batch_rows": None, budget[0]: budget[1]}
    plan = plan_of(*sizes, seed=seed, batches=batches, **limits)
    seen = Counter(row for step in plan.epoch(epoch) for row in step)
    assert seen == Counter((g, r) for g, size in enumerate(sizes) for r in range(size))


def test_a_batch_holds_at_most_its_tokens_unless_one_row_is_longer() -> None:
    plan = plan_of(200, 50, batch_tokens=80)
    for step in plan.epoch(0):
        tokens = sum(int(plan.lengths[g][r]) for g, r in step)
        assert tokens <= 80 or len(step) == 1


def test_batches_are_filled_almost_to_the_budget() -> None:
    plan = plan_of(2000, batch_tokens=1024)
    fills = [sum(int(plan.lengths[g][r]) for g, r in step) / 1024 for step in plan.epoch(0)]
    assert np.mean(fills) > 0.97


def test_row_batches_hold_exactly_their_rows() -> None:
    plan = plan_of(70, 33, batch_tokens=None, batch_rows=16)
    assert [len(step) for step in plan.epoch(0)] == [16] * 6 + [7]


def test_mixed_batches_mix_groups_and_single_ones_do_not() -> None:
    mixed = plan_of(100, 100).epoch(0)
    single = plan_of(100, 100, batches="single").epoch(0)
    assert any(len({g for g, _ in step}) == 2 for step in mixed)
    assert all(len({g for g, _ in step}) == 1 for step in single)
    order = [step[0][0] for step in single]
    assert order != sorted(order), "batches of the groups are shuffled together (MT-DNN, algorithm 1)"


def test_the_plan_is_a_function_of_seed_and_epoch_alone() -> None:
    assert list(plan_of(80, 20).epoch(1)) == list(plan_of(80, 20).epoch(1))
    assert list(plan_of(80, 20).epoch(1)) != list(plan_of(80, 20).epoch(0))
    assert list(plan_of(80, 20, seed=2).epoch(1)) != list(plan_of(80, 20).epoch(1))


def test_a_rate_multiplies_how_often_rows_are_seen() -> None:
    plan = plan_of(30, 20, rates=(2.0, 0.5))
    first = Counter(row for step in plan.epoch(0) for row in step)
    assert all(first[0, r] == 2 for r in range(30))
    assert sum(count for (g, _), count in first.items() if g == 1) == 10
    both = first + Counter(row for step in plan.epoch(1) for row in step)
    assert all(both[1, r] == 1 for r in range(20)), "the second epoch draws the half that the first left"


@pytest.mark.parametrize("sampler", [Proportional(), Uniform(), Temperature(), Annealed(), UniMax()])
def test_repeats_are_spread_evenly(sampler: Sampler) -> None:
    plan = plan_of(10, 90, sampler=sampler)
    seen = Counter(row for epoch in range(3) for step in plan.epoch(epoch) for row in step)
    for group, size in ((0, 10), (1, 90)):
        counts = [seen[group, r] for r in range(size)]
        assert max(counts) - min(counts) <= 1


def test_uniform_draws_all_groups_alike() -> None:
    assert Uniform().draws([10, 90], [1, 1], epoch=0, epochs=3) == [50, 50]
    assert Uniform().draws([10, 90], [3, 1], epoch=0, epochs=3) == [75, 25]
    assert Uniform().draws([0, 90], [1, 1], epoch=0, epochs=3) == [0, 90]


def test_temperature_draws_by_root_of_size() -> None:
    assert Temperature(temperature=2).draws([100, 400], [1, 1], epoch=0, epochs=1) == [167, 333]
    assert Temperature(temperature=1).draws([100, 400], [1, 1], epoch=0, epochs=1) == [100, 400]


def test_annealed_goes_from_proportional_to_its_final_exponent() -> None:
    sampler = Annealed(final=0.0)
    assert sampler.draws([10, 90], [1, 1], epoch=0, epochs=5) == [10, 90]
    assert sampler.draws([10, 90], [1, 1], epoch=4, epochs=5) == [50, 50]
    assert Annealed().draws([16, 81], [1, 1], epoch=2, epochs=5) == shares(97, [16**0.6, 81**0.6])


def test_unimax_caps_repeats_and_gives_the_rest_to_others() -> None:
    totals = [sum(UniMax(repeats=2).draws([10, 90], [1, 1], epoch=e, epochs=4)[g] for e in range(4)) for g in (0, 1)]
    assert totals == [20, 180]
    uncapped = [sum(UniMax(repeats=99).draws([10, 90], [1, 1], epoch=e, epochs=4)[g] for e in range(4)) for g in (0, 1)]
    assert uncapped == [200, 200]


@given(parts=st.integers(1, 5), seed=st.integers(0, 999))
def test_a_step_is_split_into_parts_of_nearly_equal_tokens(parts: int, seed: int) -> None:
    plan = plan_of(64, seed=seed, batch_tokens=None, batch_rows=32)
    step = plan.epoch(0)[0]
    split = split_step(step, plan.lengths, parts)
    assert sorted(row for part in split for row in part) == sorted(step)
    loads = [sum(int(plan.lengths[g][r]) for g, r in part) for part in split]
    assert max(loads) - min(loads) <= max(int(plan.lengths[g][r]) for g, r in step)


@pytest.mark.parametrize("batches", ["mixed", "single"])
@pytest.mark.parametrize("budget", [{"batch_tokens": 256}, {"batch_tokens": None, "batch_rows": 7}])
@pytest.mark.parametrize("sampler", [Proportional(), Annealed()])
def test_the_steps_of_a_run_are_counted_without_taking_them(batches: str, budget: dict, sampler: Sampler) -> None:
    plan = plan_of(50, 21, sampler=sampler, batches=batches, **budget)
    sizes = [len(plan.epoch(number)) for number in range(3)]
    assert [plan.size(number) for number in range(3)] == sizes
    assert plan.expected() == sum(sizes)
    assert plan.expected(enough=sizes[0] + 1) == sizes[0] + 1
    assert plan.expected(enough=10_000) == sum(sizes)


def test_many_epochs_are_counted_by_the_first_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("braid.data.plan.COUNTED", 5_000)
    plan = plan_of(900, 100, epochs=60)
    exact = sum(len(plan.epoch(number)) for number in range(60))
    assert abs(plan.expected() - exact) <= 0.01 * exact
    # Even so many that nobody will see their end do not keep training from starting.
    endless = plan_of(900, 100, epochs=50_000)
    assert endless.expected() == pytest.approx(exact / 60 * 50_000, rel=0.02)
    assert len(endless.epoch(49_999)) == pytest.approx(exact / 60, rel=0.05)
