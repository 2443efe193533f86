"""The bar of a training run on stderr, with the losses of all tasks below it."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from argus_edge.errors import shown
from argus_edge.train.loop import StepReport


class RunProgress(Progress):
    """Shows steps and validations."""

    def __init__(self, steps: int, step: int) -> None:
        """Of `steps`, `step` are done."""
        self._losses = Text()
        super().__init__(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            console=Console(stderr=True),
        )
        self._bar = self.add_task("training", total=steps, completed=step, speed="")

    def get_renderables(self) -> Iterable[RenderableType]:
        """The bars, and the losses in as many lines as they take."""
        yield from super().get_renderables()
        if self._losses:
            yield self._losses

    def show(self, report: StepReport, images_per_second: float, kept: float | None = None) -> None:
        """Bring the bar to a step; `kept` is the share of images whose features were on disk."""
        losses = "  ".join(f"{task} {loss:.3f}" for task, loss in report.losses.items())
        self._losses = Text(losses, style="progress.data.speed")
        speed = f"{images_per_second:.1f} img/s"
        if kept is not None:
            speed += f", {kept:.0%} of features kept"
        self.update(self._bar, completed=report.step, speed=speed)

    def tell(self, message: str) -> None:
        """Print a line that stays, above the bar."""
        self.console.print(shown(message), markup=False, highlight=False, soft_wrap=True)

    @contextmanager
    def validating(self, images: int) -> Iterator[Callable[[], None]]:
        """A second bar; the value is called after every image."""
        bar = self.add_task("validating", total=images, speed="")
        try:
            yield lambda: self.advance(bar)
        finally:
            self.remove_task(bar)
