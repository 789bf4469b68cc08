"""The loop that every objective shares, on ``accelerate``: one process or many, exact resume, logs, clipping.

A run's state is complete or absent, and holds everything the next step depends on: weights, optimiser, step (and with
it schedule and data position, which are functions of the step) and the random generators.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from types import FrameType
from typing import Any, Protocol, TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor, nn
from torch.utils.tensorboard import SummaryWriter
from tqdm import tqdm

from jepa_world_model.training.distributed import Part
from jepa_world_model.training.loop import LoopConfig, TrainingError, make_optimizers, set_learning_rates
from jepa_world_model.training.run_folder import STATE_FILE, RunLog, save_tensors

Batch = TypeVar("Batch")


class Objective(Protocol[Batch]):
    """What a run minimises. All randomness must be a function of the step, so that a resumed run repeats it."""

    @property
    def module(self) -> nn.Module:
        """What gives the losses, with everything that is trained."""

    @property
    def kept(self) -> nn.Module:
        """What a run's state holds: ``module``, or the part of it with weights, trained or not."""

    def batch(self, step: int, part: Part) -> Batch:
        """This process's share of the batch of ``step``, on the CPU; called from another thread, ahead of time."""

    def losses(self, module: nn.Module, batch: Batch, device: torch.device) -> dict[str, Tensor]:
        """Named scalars, among them ``loss``, from one call of ``module``: ours, wrapped for several processes."""

    def after_update(self) -> None:
        """Called when the weights have changed, for moving averages."""


class Monitor(Protocol):
    """Looks at a run from time to time."""

    def due(self, step: int) -> bool:
        """Whether to measure when ``step`` steps are done."""

    def measure(self, step: int) -> Mapping[str, float]:
        """Values to log.

        Raises:
            TrainingError: the run is dead.
        """


class Engine:
    """A resumable run of an objective in a folder: ``state.pt``, ``log.jsonl``, ``tensorboard/``."""

    def __init__(self, objective: Objective[Any], config: LoopConfig, folder: Path, device: str = "cpu") -> None:
        """Take up the state in ``folder``, or start.

        Args:
            objective: what to minimise.
            config: how long and how fast.
            folder: the run's.
            device: "cpu", or "cuda" for the graphics card that the launcher gives this process.

        Raises:
            TrainingError: the folder holds a run of another length.
        """
        self._accelerator = Accelerator(cpu=device == "cpu")
        self._objective, self._config, self._folder = objective, config, Path(folder)
        self._folder.mkdir(parents=True, exist_ok=True)
        self.step, self._bad_steps = 0, 0
        objective.module.to(self._accelerator.device)
        optimizers = make_optimizers(objective.module, config)
        self._restore(optimizers)
        self._module, *self._optimizers = self._accelerator.prepare(objective.module, *optimizers)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._accelerator.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files."""
        return bool(self._accelerator.is_main_process)

    @property
    def state_path(self) -> Path:
        """Where the run's state lies."""
        return self._folder / STATE_FILE

    def run(self, title: str, monitor: Monitor | None = None) -> None:
        """Train to the last step. Ctrl-C saves the state first; many processes keep the last one saved.

        Raises:
            TrainingError: losses stay not finite, or the monitor finds the run dead; the last saved state is kept.
            OSError: the disk is full; the last saved state is kept.
        """
        config = self._config
        with self._stop() as stop, self._reporter(title) as report, self._batches() as batches:
            while self.step < config.steps:
                losses = self._advance(next(batches))
                self.step += 1
                report.advance()
                last = self.step == config.steps
                if self.step % config.log_every == 0 or last:
                    report.losses(self.step, self._mean_over_processes(losses))
                if monitor is not None and (monitor.due(self.step) or last):
                    self._look(monitor, report)
                if self.step % config.save_every == 0 or last or stop.asked:
                    self.save()
                if stop.asked and not last:
                    raise KeyboardInterrupt

    def save(self) -> None:
        """Write the state; a crash meanwhile leaves the previous one."""
        generators = gather_object([_generators(self.device)])
        if self.is_main:
            state = {
                "module": self._objective.kept.state_dict(),
                "optimizers": [optimizer.state_dict() for optimizer in self._optimizers],
                "step": self.step,
                "steps": self._config.steps,
                "generators": generators,
            }
            save_tensors(self.state_path, state)
        self._accelerator.wait_for_everyone()

    def _restore(self, optimizers: Sequence[torch.optim.Optimizer]) -> None:
        if not self.state_path.exists():
            return
        state = torch.load(self.state_path, map_location="cpu", weights_only=True)
        if state["steps"] != self._config.steps:
            raise TrainingError(
                f"{self.state_path} belongs to a run of {state['steps']} steps, this one asks for"
                f" {self._config.steps}; give the same number or another output folder"
            )
        kept = state.get("optimizers", ())
        if len(kept) != len(optimizers):
            raise TrainingError(
                f"{self.state_path} was written with other optimisers, by an earlier version of this package or with"
                " another matrix_rate; start again in another output folder"
            )
        self._objective.kept.load_state_dict(state["module"])
        for optimizer, values in zip(optimizers, kept, strict=True):
            optimizer.load_state_dict(values)
        self.step = int(state["step"])
        generators = state.get("generators", ())
        if len(generators) == self._accelerator.num_processes:
            _set_generators(generators[self._accelerator.process_index], self.device)

    def _advance(self, batch: Any) -> dict[str, Tensor]:
        set_learning_rates(self._optimizers, self._config, self.step)
        # Not accelerate's own mixed precision, which all runs of a process would have to share.
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self._config.precision == "bf16"):
            losses = self._objective.losses(self._module, batch, self.device)
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)
        self._accelerator.backward(losses["loss"])
        norm = self._accelerator.clip_grad_norm_(self._module.parameters(), self._config.clip_norm)
        if self._is_finite(losses["loss"], norm):
            for optimizer in self._optimizers:
                optimizer.step()
            self._objective.after_update()
        return {**{name: value.detach() for name, value in losses.items()}, "gradient_norm": norm}

    def _is_finite(self, loss: Tensor, norm: Tensor) -> bool:
        """Whether to take the step. One bad batch is left out; many in a row end the run.

        Raises:
            TrainingError: too many in a row.
        """
        finite = torch.isfinite(loss.detach()) & torch.isfinite(norm)
        if self._accelerator.num_processes > 1:
            finite = self._accelerator.reduce(finite.float(), reduction="mean") == 1.0
        self._bad_steps = 0 if bool(finite) else self._bad_steps + 1
        if self._bad_steps > self._config.bad_steps:
            raise TrainingError(
                f"the loss or its gradient was not finite in {self._bad_steps} steps in a row, at step {self.step};"
                f" lower the learning rate and start again, the state of an earlier step is in {self.state_path}"
            )
        return self._bad_steps == 0

    def _stop(self) -> AbstractContextManager[_Stop]:
        # Several processes would not stop at the same step, and wait for each other.
        return _Stop.on_signals() if self._accelerator.num_processes == 1 else nullcontext(_Stop())

    def _look(self, monitor: Monitor, report: _Reporter) -> None:
        if self.is_main:
            report.values(self.step, monitor.measure(self.step))
        self._accelerator.wait_for_everyone()

    def _mean_over_processes(self, losses: Mapping[str, Tensor]) -> dict[str, float]:
        values = torch.stack([value.float().to(self.device) for value in losses.values()])
        if self._accelerator.num_processes > 1:
            values = self._accelerator.reduce(values, reduction="mean")
        return dict(zip(losses, values.tolist(), strict=True))

    @contextmanager
    def _batches(self) -> Iterator[Iterator[Any]]:
        """This process's batches from the present step on, prepared ahead in a thread."""
        part = Part(self._accelerator.process_index, self._accelerator.num_processes)
        steps = iter(range(self.step, self._config.steps))
        pool = ThreadPoolExecutor(1, thread_name_prefix="batches")

        def generate() -> Iterator[Any]:
            waiting: list[Future[Any]] = []
            while True:
                while len(waiting) <= self._config.prefetch and (step := next(steps, None)) is not None:
                    waiting.append(pool.submit(self._objective.batch, step, part))
                yield waiting.pop(0).result()

        try:
            yield generate()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @contextmanager
    def _reporter(self, title: str) -> Iterator[_Reporter]:
        if not self.is_main:
            yield _Reporter(None, None, None)
            return
        log = RunLog(self._folder, self.step)
        bar = tqdm(total=self._config.steps, initial=self.step, desc=title, mininterval=2.0)
        with bar, SummaryWriter(str(self._folder / "tensorboard"), purge_step=self.step + 1) as board:
            yield _Reporter(bar, log, board)


class _Reporter:
    """Progress bar, ``log.jsonl`` and TensorBoard; nothing in processes other than the first."""

    def __init__(self, bar: Any, log: RunLog | None, board: SummaryWriter | None) -> None:
        self._bar, self._log, self._board = bar, log, board

    def advance(self) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.update()

    def losses(self, step: int, values: Mapping[str, float]) -> None:
        """Show and keep the terms of the loss."""
        if self._bar is not None:
            self._bar.set_postfix({name: f"{value:.3f}" for name, value in values.items()}, refresh=False)
        self.values(step, values)

    def values(self, step: int, values: Mapping[str, float]) -> None:
        """Keep values."""
        if self._log is not None and self._board is not None:
            self._log.add(step, values)
            for name, value in values.items():
                self._board.add_scalar(name, value, step)


class _Stop:
    """Whether Ctrl-C was pressed, or the process asked to end: the step in work is finished and saved."""

    def __init__(self) -> None:
        self.asked = False

    @classmethod
    @contextmanager
    def on_signals(cls) -> Iterator[_Stop]:
        """Listen while the block runs; a second Ctrl-C ends at once. Other threads cannot listen."""
        stop = cls()
        if threading.current_thread() is not threading.main_thread():
            yield stop
            return
        before = {number: signal.signal(number, stop._ask) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield stop
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


def _generators(device: torch.device) -> dict[str, Tensor]:
    states = {"cpu": torch.get_rng_state()}
    return states | {"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else states


def _set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)
