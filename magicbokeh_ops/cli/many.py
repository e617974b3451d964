"""Many jobs of one kind: here, in processes of this machine, or on a Ray cluster.

A job makes one file, whole or not at all, so one whose file is there is done and is skipped. At most as many jobs as there are workers are
under way at a time, so when a process dies (for lack of memory, say) only what was in work then is lost: it counts as failed, and new
processes take the rest. A failure stops nothing; all are listed at the end.
"""

import io
import json
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, redirect_stderr, redirect_stdout
from dataclasses import dataclass, is_dataclass, replace
from multiprocessing import active_children, get_context
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from signal import SIG_IGN, SIGINT, signal
from typing import Any

import click
import torch
from tqdm import tqdm

from ..atomic import write_whole
from .clip import Stop
from .inputs import ONE_OF_MANY

GLANCE = 0.5  # seconds between two looks at whether to stop


@dataclass(frozen=True)
class Job:
    """name: as failures show it. makes: the file that is there once it is done. work: a function at the top of its module.

    The arguments can be pickled; paths among them are made absolute for other machines.
    """

    name: str
    makes: Path
    work: Callable[..., Any]
    arguments: dict[str, Any]


@dataclass(frozen=True)
class Outcome:
    """value: what `work` returned. said: what it printed. error: the sentence of its failure, empty if there was none."""

    value: Any = None
    said: str = ""
    error: str = ""


Outcomes = Generator[tuple[Job, Outcome], None, None]


def run(jobs: Sequence[Job], workers: int | None, ray: str | None, device: str | None, title: str, unit: str) -> dict[str, Any]:
    """Do what is not done yet, and return the values of that by the jobs' names.

    workers: jobs at a time; None: one here, or as many as the cluster takes. ray: a cluster's address. device: as the jobs have it; on a
    cluster with GPUs each job gets one, unless that is cpu. Raises ClickException with all failures, and if it is stopped.
    """
    left = [job for job in jobs if not job.makes.exists()]
    if len(left) < len(jobs):
        click.echo(f"{len(jobs) - len(left)} of {len(jobs)} are there already.")
    if not left:
        return {}
    values: dict[str, Any] = {}
    failures: list[str] = []
    with Stop() as stop, tqdm(total=len(jobs), initial=len(jobs) - len(left), desc=title, unit=unit) as bar:
        if ray is not None:
            outcomes = _on_cluster(left, ray, workers or len(left), device, stop)
        else:
            outcomes = _here(left, stop) if workers in (None, 1) else _in_processes(left, min(workers, len(left)), stop)
        with closing(outcomes):
            try:
                for job, outcome in outcomes:
                    if outcome.error:
                        failures.append(outcome.error if job.name in outcome.error else f"{job.name}: {outcome.error}")
                        tqdm.write(failures[-1])
                    else:
                        values[job.name] = outcome.value
                        tqdm.write(outcome.said, end="")
                    bar.update()
            except KeyboardInterrupt:
                done = len(jobs) - len(left) + len(values)
                raise click.ClickException(f"Stopped. {done} of {len(jobs)} are done; the same command goes on.") from None
    if failures:
        listed = "\n".join(f"  {failure}" for failure in failures)
        raise click.ClickException(f"{len(failures)} of {len(jobs)} failed; the same command tries them again:\n{listed}")
    return values


def go_on(folder: Path, made_with: dict[str, Any]) -> None:
    """Begin a folder, which notes its options, or go on with it. Raises ValueError if it is of something else."""
    note, text = folder / "made_with.json", json.dumps(made_with, indent=1, default=str) + "\n"
    folder.mkdir(parents=True, exist_ok=True)
    if note.exists():
        if note.read_text(encoding="utf-8") != text:
            raise ValueError(f"{folder} was made with other options, as {note.name} in it says; give a new folder.")
    elif any(folder.iterdir()):
        raise ValueError(f"{folder} has files that were made without --workers; give a new folder.")
    else:
        write_whole(note, lambda unfinished: unfinished.write_text(text, encoding="utf-8"))


def attempt(job: Job) -> Outcome:
    """Do a job, wherever this is. Progress bars within it are not shown."""
    ONE_OF_MANY.set(True)
    with redirect_stdout(io.StringIO()) as said, redirect_stderr(io.StringIO()):
        try:
            return Outcome(job.work(**job.arguments), said.getvalue())
        except click.ClickException as error:
            return Outcome(error=error.message)
        except (ValueError, OSError) as error:
            return Outcome(error=str(error))
        except Exception as error:  # a fault of our own or of a library, which must not stop the others either
            where = traceback.extract_tb(error.__traceback__)[-1]
            return Outcome(error=f"{type(error).__name__}: {error} ({Path(where.filename).name}, line {where.lineno})")


def _here(jobs: Sequence[Job], stop: Stop) -> Outcomes:
    for job in jobs:
        yield job, attempt(job)
        stop.check()


def _in_processes(jobs: Sequence[Job], workers: int, stop: Stop) -> Outcomes:
    waiting, context = deque(jobs), get_context("spawn")
    threads = max(1, torch.get_num_threads() // workers)
    while waiting:
        numbers = context.SimpleQueue()
        for number in range(workers):
            numbers.put(number)
        running: dict[Any, Job] = {}
        with ProcessPoolExecutor(workers, context, _begin, (threads, numbers)) as pool:
            try:
                while waiting or running:
                    while waiting and len(running) < workers:
                        running[pool.submit(attempt, waiting[0])] = waiting[0]
                        waiting.popleft()
                    for future in wait(running, GLANCE, FIRST_COMPLETED).done:
                        outcome = future.result()
                        yield running.pop(future), outcome
                    stop.check()
            except BrokenProcessPool:
                for job in running.values():
                    yield job, Outcome(error="its process ended before it was done; fewer --workers take less memory.")
            except (KeyboardInterrupt, GeneratorExit):
                for process in active_children():
                    process.terminate()
                raise


def _begin(threads: int, numbers: "SimpleQueue[int]") -> None:
    """In each process: Ctrl+C is for the first one to answer; the processor's threads and the GPUs are shared out."""
    signal(SIGINT, SIG_IGN)
    torch.set_num_threads(threads)
    if torch.cuda.is_available():
        torch.cuda.set_device(numbers.get() % torch.cuda.device_count())


def _on_cluster(jobs: Sequence[Job], address: str, at_once: int, device: str | None, stop: Stop) -> Outcomes:
    try:
        import ray
    except ModuleNotFoundError:
        raise click.ClickException("--ray needs ray: pip install 'magicbokeh[cluster]'.") from None
    try:
        ray.init(address, log_to_driver=False, logging_level="error")
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise click.ClickException(f"--ray {address} is no cluster that can be reached: {error}") from None
    try:
        has_gpus = bool(ray.cluster_resources().get("GPU")) and device != "cpu"
        remote = ray.remote(num_gpus=1 if has_gpus else 0)(attempt)
        waiting = deque(jobs)
        running: dict[Any, Job] = {}
        while waiting or running:
            while waiting and len(running) < at_once:
                job = waiting.popleft()
                running[remote.remote(replace(job, arguments=_absolute(job.arguments)))] = job
            for reference in ray.wait(list(running), timeout=GLANCE)[0]:
                try:
                    outcome = ray.get(reference)
                except ray.exceptions.RayError as error:
                    outcome = Outcome(error=f"on the cluster: {str(error).strip().splitlines()[-1]}")
                yield running.pop(reference), outcome
            stop.check()
    finally:
        ray.shutdown()  # which also ends what is still in work there


def _absolute(value: Any) -> Any:
    """Paths in an argument as other machines find them."""
    if isinstance(value, Path):
        return value.absolute()
    if isinstance(value, dict):
        return {key: _absolute(entry) for key, entry in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{name: _absolute(entry) for name, entry in vars(value).items()})
    return value
