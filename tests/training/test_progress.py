"""What training shows: exact lines in a log, a live display that fits narrow terminals, the table of figures."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from braid.data.progress import bar
from braid.training.progress import LineProgress, LiveProgress, Progress, StepInfo, clock, make_progress, results_table

TASKS = ["ner", "sentiment"]


def plain(width: int = 80) -> Console:
    return Console(file=io.StringIO(), width=width, force_terminal=False)


def terminal(width: int) -> Console:
    return Console(
        file=io.StringIO(),
        width=width,
        height=30,
        force_terminal=True,
        color_system=None,
        legacy_windows=False,
        _environ={"TERM": "xterm"},
    )


def written(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def info(step: int, **losses: float) -> StepInfo:
    return StepInfo(step=step, epoch=step / 10, losses=losses, lr=4.2e-5, tokens=1000, seconds=0.5, pad_fraction=0.03)


def run(progress: Progress, steps: int) -> None:
    for step in range(1, steps + 1):
        progress.step(info(step, ner=0.5, sentiment=1.0))


def test_a_terminal_gets_the_live_display_and_a_file_gets_lines() -> None:
    assert isinstance(make_progress(10, TASKS, console=terminal(80)), LiveProgress)
    assert isinstance(make_progress(10, TASKS, console=plain()), LineProgress)


def test_a_line_every_log_every_steps_and_one_for_the_last() -> None:
    console = plain(width=40)
    progress = make_progress(25, TASKS, console=console, log_every=10)
    progress.start()
    run(progress, 25)
    progress.stop()
    assert written(console) == (
        "step 10/25  epoch 1.0  loss 0.750 (ner 0.5, sentiment 1)  lr 4.2e-05  2,000 tok/s  pad 3%  eta 0:08\n"
        "step 20/25  epoch 2.0  loss 0.750 (ner 0.5, sentiment 1)  lr 4.2e-05  2,000 tok/s  pad 3%  eta 0:02\n"
        "step 25/25  epoch 2.5  loss 0.750 (ner 0.5, sentiment 1)  lr 4.2e-05  2,000 tok/s  pad 3%  eta 0:00\n"
    )


def test_a_single_task_has_no_list_of_losses() -> None:
    console = plain()
    progress = make_progress(1, ["ner"], console=console, log_every=1)
    progress.step(info(1, ner=0.25))
    assert written(console).startswith("step 1/1  epoch 0.1  loss 0.250  lr 4.2e-05")


def test_a_task_that_is_absent_from_a_batch_keeps_its_loss() -> None:
    console = plain()
    progress = make_progress(2, TASKS, console=console, log_every=2)
    progress.step(info(1, ner=0.5, sentiment=1.0))
    progress.step(info(2, ner=0.5))
    assert "loss 0.750 (ner 0.5, sentiment 1)" in written(console)


def test_losses_come_in_the_tasks_order_and_smoothing_starts_as_a_mean() -> None:
    console = plain()
    progress = make_progress(2, TASKS, console=console, log_every=2)
    progress.step(info(1, sentiment=3.0, ner=1.0))
    progress.step(info(2, sentiment=1.0, ner=1.0))
    # (0.95 * 3 + 1) / 1.95
    assert "(ner 1, sentiment 1.97)" in written(console)


def test_a_resumed_run_counts_time_from_its_own_steps() -> None:
    console = plain()
    progress = make_progress(20, ["ner"], console=console, log_every=10)
    progress.step(info(10, ner=1.0))
    assert "eta 0:05" in written(console)


def test_evaluations_and_messages_are_lines_without_markup() -> None:
    console = plain(width=20)
    progress = make_progress(20, TASKS, console=console, log_every=10)
    progress.evaluated(10, {"ner": {"f1": 0.91234, "precision": 0.9}, "sentiment": {"accuracy": 0.87}}, True)
    progress.evaluated(20, {"ner": {"f1": 0.9}}, False)
    progress.message("[bold] is not markup here, and this line is longer than twenty columns")
    assert written(console) == (
        "step 10/20  dev  ner f1 0.912, sentiment accuracy 0.870  best\n"
        "step 20/20  dev  ner f1 0.900\n"
        "[bold] is not markup here, and this line is longer than twenty columns\n"
    )


@pytest.mark.parametrize("width", [60, 80, 120])
def test_the_live_display_tells_all_and_fits(width: int) -> None:
    console = terminal(width)
    progress = LiveProgress(900, TASKS, console)
    for step in range(1, 121):
        progress.step(info(step, ner=0.3, sentiment=0.9))
    shown = Console(file=io.StringIO(), width=width)
    shown.print(progress._render())
    lines = written(shown).splitlines()
    assert max(map(len, lines)) <= width
    assert len(lines) == 3
    assert "epoch 12.0  step 120/900  eta 6:30" in lines[0]
    assert "━" in lines[0]
    assert lines[1].rstrip() == "loss 0.600  ner 0.3  sentiment 0.9"
    assert lines[2].rstrip() == "2,000 tok/s  pad 3%  lr 4.2e-05"


def test_the_live_display_leaves_evaluations_and_messages_behind() -> None:
    console = terminal(60)
    progress = make_progress(900, TASKS, console=console)
    progress.start()
    progress.step(info(1, ner=0.3))
    progress.evaluated(1, {"ner": {"f1": 0.5}}, True)
    progress.message("saved [state]")
    progress.stop()
    progress.stop()
    assert "dev at step 1  ner f1 0.500  best" in written(console)
    assert "saved [state]" in written(console)


def test_clock() -> None:
    assert [clock(seconds) for seconds in (0, 7.4, 59.6, 201, 7401)] == ["0:00", "0:07", "1:00", "3:21", "2:03:21"]


METRICS = {
    "dev": {"ner": {"f1": 0.9, "precision": 0.91, "recall": 0.89}, "sentiment": {"accuracy": 0.8, "mcc": 0.6}},
    "test": {"ner": {"f1": 0.88, "precision": 0.9, "recall": 0.86}},
    "train": {"seconds": 3.5, "tokens": 100, "truncated": {"ner": 2}, "best": {"step": 3, "score": 0.85}},
}


def test_the_table_of_figures() -> None:
    console = plain(width=100)
    console.print(results_table(METRICS, {"sentiment": "mcc"}))
    assert [line.rstrip() for line in written(console).splitlines()] == [
        "task       metric     dev    test  more (test)",
        "ner        f1      0.9000  0.8800  precision 0.9000  recall 0.8600",
        "sentiment  mcc     0.6000       -",
    ]


def test_the_table_fits_a_narrow_terminal_without_losing_a_figure() -> None:
    console = plain(width=60)
    console.print(results_table(METRICS))
    out = written(console)
    assert max(map(len, out.splitlines())) <= 60
    assert all(figure in out for figure in ("0.9000", "0.8800", "0.8000", "precision", "recall", "0.8600"))


def test_the_table_of_one_split_and_of_nothing() -> None:
    console = plain(width=80)
    console.print(results_table({"train": {"ner": {"f1": 1.0}}}))
    assert "1.0000" in written(console)
    console.print(results_table({}))


def test_a_bar_is_silent_without_a_terminal_and_yields_everything() -> None:
    console = plain()
    assert list(bar(range(3), "predicting", console=console)) == [0, 1, 2]
    assert written(console) == ""


def test_a_bar_on_a_terminal_counts_items_of_unknown_number() -> None:
    console = terminal(60)
    assert list(bar(iter("abc"), "predicting", console=console)) == ["a", "b", "c"]
    assert "predicting" in written(console)
