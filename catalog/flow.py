"""Run a worker over parts: in this process, or on Ray Data with an actor pool; the same rows either way."""

import json
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Literal

import pyarrow as pa

from catalog.errors import HeadraceError, PlanInfeasible, StageStalled
from catalog.settings import Resources
from catalog.shards import DonePart, Part, PartKey, ShardWriter
from catalog.stage import Worker

if TYPE_CHECKING:
    from ray.data import Dataset

Engine = Literal["auto", "local", "ray"]
RAY_FROM_ROWS = 5_000  # below this, starting a cluster costs more than it saves
WINDOW_ROWS = 100_000  # rows handed to one Ray pipeline; bounds what the driver holds
WINDOW_PARTS = 512
KEY = "__part__"  # the column that carries a part's key through Ray's blocks
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
    worker: Worker | None = None
    while window := _window(parts):
        if _choose(engine, window, ray_address) == "ray":
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
    if engine != "auto":
        return engine
    return "ray" if address or sum(part.rows.num_rows for part in window) >= RAY_FROM_ROWS else "local"


def _run_local(job: Job, parts: Iterable[Part], worker: Worker) -> Iterator[DonePart]:
    for part in parts:
        with _stall_alarm(job, part):
            done = job.writer.run(part, worker)
        yield done


class _stall_alarm:
    """Interrupt this process's main thread if one part takes longer than the stage's stall limit."""

    def __init__(self, job: Job, part: Part) -> None:
        self._what = _stalled(job, part.key)
        self._fired = False
        self._timer = threading.Timer(job.resources.stall_seconds, self._fire)
        self._timer.daemon = True

    def _fire(self) -> None:
        import _thread

        self._fired = True
        log.error("%s", self._what)
        _thread.interrupt_main()

    def __enter__(self) -> None:
        self._timer.start()

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._timer.cancel()
        if self._fired and kind is KeyboardInterrupt:
            raise StageStalled(self._what) from None


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


def preflight(stage: str, resources: Resources, have: dict[str, float]) -> None:
    """Raise PlanInfeasible if `have` (CPU, GPU) can never hold the stage's workers at once."""
    for unit, each, total, field in (
        ("GPU", resources.gpus, have.get("GPU", 0.0), "gpus"),
        ("CPU", resources.cpus, have.get("CPU", 0.0), "cpus"),
    ):
        if each * resources.workers <= total:
            continue
        fits = int(total // each)
        change = (
            f"set resources.{stage}.workers to {fits}"
            if fits
            else f"set resources.{stage}.{field} to {total:g} or less"
        )
        raise PlanInfeasible(
            f"{stage}: {resources.workers} worker(s) of {each:g} {unit} each need {each * resources.workers:g} {unit}, "
            f"the cluster has {total:g}; {change}, or add nodes"
        )


class _RayWorker:
    """The actor: makes the worker once, then turns each block, which is one part, into its result row."""

    def __init__(self, make_worker: Callable[[], Worker], writer: ShardWriter) -> None:
        self._work = make_worker()
        self._writer = writer

    def __call__(self, block: pa.Table) -> pa.Table:
        keys = set(block[KEY].to_pylist())
        results = []
        for key_json in sorted(keys):
            rows = block.filter(pa.compute.equal(block[KEY], key_json)).drop_columns([KEY])
            key = PartKey(**json.loads(key_json))
            if key.num_rows == 0:
                rows = rows.slice(0, 0)
            assert rows.num_rows == key.num_rows, f"Ray split part {key.index} of {key.batch_id}"
            results.append(json.dumps(asdict(self._writer.run(Part(key, rows), self._work))))
        return pa.table({"done": results})


def _run_ray(job: Job, parts: Sequence[Part], address: str | None) -> Iterator[DonePart]:
    import ray

    start_ray(address)
    preflight(job.stage, job.resources, _cluster())
    blocks: list[Any] = [ray.put(_block(part)) for part in parts]
    dataset = ray.data.from_arrow_refs(blocks)
    results = dataset.map_batches(
        _RayWorker,
        fn_constructor_args=(job.make_worker, job.writer),
        batch_size=None,
        batch_format="pyarrow",
        zero_copy_batch=True,
        compute=ray.data.ActorPoolStrategy(size=job.resources.workers),
        num_cpus=job.resources.cpus,
        num_gpus=job.resources.gpus or None,
    )
    for row in _watched(job, results):
        done = json.loads(row)
        yield DonePart(PartKey(**done.pop("key")), **done)


def _cluster() -> dict[str, float]:
    import ray

    resources: Any = ray.cluster_resources  # untyped upstream
    return dict(resources())


def _block(part: Part) -> pa.Table:
    """One part as one block; an empty part travels as one row of nulls, since Ray drops empty blocks."""
    rows = part.rows
    if rows.num_rows == 0:
        rows = pa.table({f.name: pa.nulls(1, f.type) for f in rows.schema}, schema=rows.schema)
    key = json.dumps(asdict(part.key))
    return rows.combine_chunks().append_column(KEY, pa.array([key] * rows.num_rows, pa.string()))


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
            raise _own_error(item) or item
        yield item


def _own_error(error: BaseException) -> HeadraceError | None:
    """Find the error of ours that a Ray error wraps."""
    seen: list[BaseException | None] = [error, error.__cause__, getattr(error, "cause", None)]
    nested = [getattr(item, "cause", None) for item in seen if item is not None]
    return next((item for item in chain(seen, nested) if isinstance(item, HeadraceError)), None)
