"""The progress bar of a training run or a distillation."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar

from unstir.recipes.run import Report
from unstir.training import Progress


@contextmanager
def training_progress(console: Console) -> Iterator[Report]:
    """A bar with loss, samples a second and time left; without a terminal, a line every tenth.

    Args:
        console: where to draw.
    """
    if not console.is_terminal:
        yield training_lines(console)
        return
    columns = (
        TextColumn("{task.percentage:3.0f} %"),
        BarColumn(bar_width=32),
        TextColumn("loss {task.fields[loss]}"),
        TextColumn("{task.fields[rate]} samples/s"),
        TimeRemainingColumn(compact=True),
        TextColumn("left"),
    )
    with Bar(*columns, console=console) as bar:
        task = bar.add_task("training", total=1.0, loss="...", rate="...")

        def step(progress: Progress, loss: float, rate: float) -> None:
            bar.update(task, completed=progress.fraction, loss=f"{loss:.4f}", rate=f"{rate:,.0f}")

        yield Report(say=bar.console.print, step=step)


def training_lines(console: Console) -> Report:
    """A line every tenth of a training; of several trainings one after the other, too."""
    told = [0]

    def step(progress: Progress, loss: float, rate: float) -> None:
        tenth = int(progress.fraction * 10)
        if tenth < told[0]:
            told[0] = 0  # the next training
        if tenth > told[0]:
            told[0] = tenth
            console.print(
                f"{progress.fraction:4.0%}  {progress.samples:,} samples  loss {loss:.4f}  "
                f"{rate:,.0f} samples/s",
                soft_wrap=True,
            )

    return Report(say=lambda sentence: console.print(sentence, soft_wrap=True), step=step)
