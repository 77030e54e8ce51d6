"""Run a worker over parts: in this process, or on Ray Data with an actor pool; the same rows either way."""

import json
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from catalog import errors
from catalog.errors import HeadraceError, PlanInfeasible, StageStalled, WorkerLost
from catalog.settings import Resources
from catalog.shards import DonePart, Part, PartKey, ShardWriter
from catalog.stage import Worker

if TYPE_CHECKING:
    from ray.data import Dataset

Engine = Literal["auto", "local", "ray"]
RAY_FROM_ROWS = 5_000  # below this, starting a cluster costs more than it saves
WINDOW_ROWS = 100_000  # rows handed to one Ray pipeline; bounds what the driver holds
WINDOW_PARTS = 512
log = logging.getLogger("headrace")


@dataclass(frozen=True)
class Job:
    """One stage's work: how to make a worker, how to write its parts, what it may use."""

    stage: str
    make_worker: Callable[[], Worker]
    writer: ShardWriter
    resources: Resources


def run(job: Job, parts: Iterable[Part], engine: Engine, ray_address: str | None = None) -> Iterator[DonePart]:
    """Yield every part's result as it finishes; auto takes Ray from 5,000 rows or when a cluster's address is given."""
    parts = iter(parts)
    chosen: Literal["local", "ray"] | None = None
    worker: Worker | None = None
    while window := _window(parts):
        # once there are rows, for the whole run, so that models are loaded in one place
        here = chosen or _choose(engine, window, ray_address)
        chosen = here if any(part.rows.num_rows for part in window) else chosen
        if here == "ray":
            yield from _run_ray(job, window, ray_address)
        else:
            worker = worker or job.make_worker()
            yield from _run_local(job, window, worker)


def _window(parts: Iterator[Part]) -> list[Part]:
    window: list[Part] = []
    rows = 0
    for part in islice(parts, WINDOW_PARTS):
        window.append(part)
        rows += part.rows.num_rows
        if rows >= WINDOW_ROWS:
            break
    return window


def _choose(engine: Engine, window: Sequence[Part], address: str | None) -> Literal["local", "ray"]:
    rows = sum(part.rows.num_rows for part in window)
    if engine != "auto":
        return engine if rows else "local"  # nothing to work on is no reason to start a cluster
    return "ray" if address or rows >= RAY_FROM_ROWS else "local"


def _run_local(job: Job, parts: Iterable[Part], worker: Worker) -> Iterator[DonePart]:
    for part in parts:
        with _stall_alarm(job, part):
            done = job.writer.run(part, worker)
        yield done


@contextmanager
def _stall_alarm(job: Job, part: Part) -> Iterator[None]:
    """Raise StageStalled in a part that takes longer than the stage's limit; a signal also ends sleeps and reads."""
    if threading.current_thread() is not threading.main_thread():  # where Python delivers signals
        yield
        return

    def stop(*_: object) -> None:
        raise StageStalled(_stalled(job, part.key))

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, job.resources.stall_seconds, job.resources.stall_seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _stalled(job: Job, key: PartKey | None) -> str:
    where = f" in part {key.index} of batch {key.batch_id}" if key else ""
    return (
        f"{job.stage}: no part finished for {job.resources.stall_seconds:g} s{where}; look at that input, "
        f"or raise resources.{job.stage}.stall_seconds"
    )


# ── Ray ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def start_ray(address: str | None = None) -> None:
    """Connect to a cluster, or start Ray here with its dashboard off; one session per process."""
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    if not ray.is_initialized():
        ray.init(
            address=address,
            include_dashboard=None if address else False,
            logging_level=logging.ERROR,
            log_to_driver=False,
            runtime_env=None,
        )
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def stop_ray() -> None:
    """End this process's Ray session, if it has one."""
    import sys

    if "ray" in sys.modules:
        sys.modules["ray"].shutdown()


def preflight(stage: str, resources: Resources, nodes: Sequence[Mapping[str, float]]) -> None:
    """Raise PlanInfeasible if the nodes' CPU and GPU can never hold the stage's workers at once, each on one node."""
    for unit, each, field in (("GPU", resources.gpus, "gpus"), ("CPU", resources.cpus, "cpus")):
        has = [node.get(unit, 0.0) for node in nodes]
        fits = sum(int(one / each + 1e-9) for one in has) if each else resources.workers
        if fits >= resources.workers:
            continue
        change = (
            f"set resources.{stage}.workers to {fits}"
            if fits
            else f"set resources.{stage}.{field} to {max(has, default=0.0):g} or less"
        )
        raise PlanInfeasible(
            f"{stage}: {resources.workers} worker(s) of {each:g} {unit} each need {each * resources.workers:g} {unit}, "
            f"the cluster has {sum(has):g} on {len(has)} node(s); {change}, or add nodes"
        )


class _RayWorker:
    """The actor: makes the worker once, then turns each row, which is one part, into its result.

    Errors of ours travel as results: raised here, they would arrive wrapped, after pages of Ray's own logging.
    """

    def __init__(self, make_worker: Callable[[], Worker], writer: ShardWriter) -> None:
        self._writer = writer
        self._failed: HeadraceError | None = None
        try:
            self._work = make_worker()
        except HeadraceError as error:
            self._failed = error

    def __call__(self, rows: pa.Table) -> pa.Table:
        parts = zip(rows["key"].to_pylist(), rows["rows"], strict=True)
        return pa.table({"done": [self._run(PartKey(**json.loads(key)), data.as_buffer()) for key, data in parts]})

    def _run(self, key: PartKey, data: pa.Buffer) -> str:
        try:
            if self._failed:
                raise self._failed
            part = Part(key, pa.ipc.open_stream(data).read_all())
            return json.dumps(asdict(self._writer.run(part, self._work)))
        except HeadraceError as error:
            kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
            return json.dumps({"error": kind.__name__, "message": str(error)})


def _run_ray(job: Job, parts: Sequence[Part], address: str | None) -> Iterator[DonePart]:
    import ray

    start_ray(address)
    preflight(job.stage, job.resources, _nodes())
    blocks: list[Any] = [ray.put(_block(part)) for part in parts]
    dataset = ray.data.from_arrow_refs(blocks)
    results = dataset.map_batches(
        _RayWorker,
        fn_constructor_args=(job.make_worker, job.writer),
        batch_size=1,  # a row is a part
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=min(job.resources.workers, len(blocks))),
        num_cpus=job.resources.cpus,
        num_gpus=job.resources.gpus or None,
    )
    for row in _watched(job, results):
        done = json.loads(row)
        if "error" in done:
            raise getattr(errors, done["error"])(done["message"])
        yield DonePart(PartKey(**done.pop("key")), **done)


def _nodes() -> list[dict[str, float]]:
    import ray

    nodes: Any = ray.nodes  # untyped upstream
    return [dict(node["Resources"]) for node in nodes() if node["Alive"]]


def _block(part: Part) -> pa.Table:
    """One part as one row of one block, which Ray can neither split nor merge nor, when the part is empty, drop."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, part.rows.schema) as stream:
        stream.write_table(part.rows)
    rows = pa.array([sink.getvalue().to_pybytes()], pa.large_binary())
    return pa.table({"key": [json.dumps(asdict(part.key))], "rows": rows})


def _watched(job: Job, results: "Dataset") -> Iterator[str]:
    """Iterate the results in a thread of their own, so that a pipeline which stops is noticed and named."""
    arrived: queue.Queue[Any] = queue.Queue()
    end = object()

    def pull() -> None:
        try:
            for batch in results.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=0):
                rows: Any = batch["done"]
                for row in rows.to_pylist():
                    arrived.put(row)
        except Exception as error:  # noqa: BLE001 — carried to the caller's thread and raised there
            arrived.put(error)
        arrived.put(end)

    threading.Thread(target=pull, daemon=True).start()
    while True:
        try:
            item = arrived.get(timeout=job.resources.stall_seconds)
        except queue.Empty:
            raise StageStalled(_stalled(job, None)) from None
        if item is end:
            return
        if isinstance(item, Exception):
            raise item
        yield item


# ── actors ───────────────────────────────────────────────────────────────────────────────────────────────────────────


class _Spawned:
    """The actor around any object; errors of ours travel as results, for raised here they would arrive wrapped."""

    def __init__(self, make: Callable[[], object]) -> None:
        self._make = make
        self._made: object | None = None

    def call(self, method: str, args: tuple[Any, ...]) -> tuple[Any, str, str]:
        try:
            if self._made is None:
                self._made = self._make()
            return getattr(self._made, method)(*args), "", ""
        except HeadraceError as error:
            kind = next(kind for kind in type(error).__mro__ if kind.__module__ == errors.__name__)
            return None, kind.__name__, str(error)


class Remote:
    """An object that lives in a process of its own."""

    def __init__(self, stage: str, actor: Any, stall_seconds: float) -> None:
        self._stage = stage
        self._actor = actor
        self._stall_seconds = stall_seconds

    def call(self, method: str, *args: object) -> Callable[[], Any]:
        """Call a method; what is returned waits for its result, or raises its error, WorkerLost or StageStalled."""
        import ray

        reference: Any = self._actor.call.remote(method, args)

        def result() -> Any:
            try:
                value, kind, message = ray.get(reference, timeout=self._stall_seconds)
            except ray.exceptions.GetTimeoutError as error:
                raise StageStalled(
                    f"{self._stage}: a worker did not answer for {self._stall_seconds:g} s; look at its node, "
                    f"or raise resources.{self._stage}.stall_seconds"
                ) from error
            except ray.exceptions.RayActorError as error:
                raise WorkerLost(f"{self._stage}: a worker died; run again to go on from what it had") from error
            if kind:
                raise getattr(errors, kind)(message)
            return value

        return result


@contextmanager
def spawn(
    stage: str, makers: Sequence[Callable[[], object]], resources: Resources, address: str | None = None
) -> Iterator[list[Remote]]:
    """Keep one Ray actor for each maker (picklable) until the block ends; `resources` are each one's own."""
    import ray

    start_ray(address)
    preflight(stage, resources.model_copy(update={"workers": len(makers)}), _nodes())
    remote: Any = ray.remote(_Spawned)
    wanted = remote.options(num_cpus=resources.cpus, num_gpus=resources.gpus or None, max_restarts=0)
    actors = [wanted.remote(make) for make in makers]
    try:
        yield [Remote(stage, actor, resources.stall_seconds) for actor in actors]
    finally:
        for actor in actors:
            ray.kill(actor)
