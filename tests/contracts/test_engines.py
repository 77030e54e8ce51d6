"""One behaviour, two engines: whatever runs the workers, the rows, the errors and the books are the same."""

import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import odd_workers
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from catalog import flow, schema
from catalog.errors import InputError, PlanInfeasible, StageStalled
from catalog.flow import Engine, Job
from catalog.proving import toychain
from catalog.proving.agreement import check_agreement, live_rows
from catalog.settings import Resources
from catalog.shards import DonePart, Part, ShardWriter, cut
from catalog.stage import Worker

ENGINES = ["local", pytest.param("ray", marks=pytest.mark.ray)]
MakeWorker = Callable[[], Worker]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return request.param  # type: ignore[no-any-return]


@pytest.fixture(autouse=True)
def _toy_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("catalog.pipeline.stages", lambda: toychain.STAGES)


def parts_of(num_rows: int, part_rows: int = 3) -> list[Part]:
    rows = [{"page_id": f"{k:03d}", "url": f"http://x/{k}"} for k in range(num_rows)]
    return list(cut("b", pa.Table.from_pylist(rows, schema=schema.body("pages")), "page_id", part_rows))


def job_of(folder: Path, make_worker: MakeWorker, resources: Resources | None = None) -> Job:
    resources = resources or Resources(stall_seconds=120)
    return Job("extract", make_worker, ShardWriter(str(folder), ("documents", "media")), resources)


def run(job: Job, parts: Iterable[Part], engine: Engine) -> list[DonePart]:
    return sorted(flow.run(job, parts, engine), key=lambda done: done.key.index)


def titles(done: list[DonePart]) -> list[str]:
    return [title for part in done for title in pq.read_table(part.shards["documents"])["title"].to_pylist()]


def ids_in(done: list[DonePart]) -> list[str]:
    shards = [part.shards["documents"] for part in done if "documents" in part.shards]
    return [name for shard in shards for name in pq.read_table(shard)["document_id"].to_pylist()]


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The rows of the whole toy chain on the local engine with one worker."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("catalog.pipeline.stages", lambda: toychain.STAGES)
        with toychain.drive(tmp_path_factory.mktemp("reference"), range(3)) as home:
            return live_rows(home)


@pytest.mark.parametrize("workers", [1, 2])
def test_the_whole_chain_gives_the_same_rows(
    tmp_path: Path, engine: Engine, workers: int, reference: dict[str, list[str]]
) -> None:
    with toychain.drive(tmp_path, range(3), engine=engine, workers=workers) as home:
        assert all(reference.values())
        assert live_rows(home) == reference
        check_agreement(home)


def test_many_parts_come_back_once_each_under_their_own_key(tmp_path: Path, engine: Engine) -> None:
    parts = parts_of(40)
    done = run(job_of(tmp_path, odd_workers.plain, Resources(workers=2)), parts, engine)
    assert [part.key for part in done] == [part.key for part in parts]
    assert ids_in(done) == [f"d{k:03d}" for k in range(40)]
    assert sum(part.rows["documents"] for part in done) == 40


def test_no_parts_make_no_worker(tmp_path: Path, engine: Engine) -> None:
    assert run(job_of(tmp_path, odd_workers.RefuseToStart), [], engine) == []


def test_an_empty_part_is_done_with_nothing(tmp_path: Path, engine: Engine) -> None:
    (done,) = run(job_of(tmp_path, odd_workers.plain), parts_of(0), engine)
    assert (done.key.num_rows, done.rows, done.rejects, done.shards) == (0, {}, {}, {})


def test_all_records_may_be_rejected(tmp_path: Path, engine: Engine) -> None:
    done = run(job_of(tmp_path, odd_workers.RejectAll), parts_of(7), engine)
    assert sum(part.rejects["timeout"] for part in done) == 7
    assert all(part.rows == {} for part in done)


def test_an_error_of_ours_arrives_as_itself(tmp_path: Path, engine: Engine) -> None:
    job = job_of(tmp_path, partial(odd_workers.FailAt, "004"))
    with pytest.raises(InputError, match=r"^004: cannot be used; choose another$"):
        run(job, parts_of(9), engine)
    with pytest.raises(InputError, match=r"^model\.bin: cannot be read; reinstall it$"):
        run(job_of(tmp_path, odd_workers.RefuseToStart), parts_of(2), engine)


def test_a_bug_is_not_dressed_up_as_a_user_error(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(Exception, match="a bug") as caught:
        run(job_of(tmp_path, partial(odd_workers.BreakAt, "004")), parts_of(9), engine)
    assert not isinstance(caught.value, InputError)


def test_a_stalled_worker_is_noticed_and_named(tmp_path: Path, engine: Engine) -> None:
    limit, asleep = (0.3, 30.0) if engine == "local" else (6.0, 20.0)
    job = job_of(tmp_path, partial(odd_workers.SleepAt, "000", asleep), Resources(stall_seconds=limit))
    started = time.monotonic()
    with pytest.raises(StageStalled, match=rf"^extract: no part finished for {limit:g} s.*resources\.extract\.stall"):
        run(job, parts_of(9), engine)
    assert time.monotonic() - started < 20


def test_slow_parts_do_not_count_as_a_stall_together(tmp_path: Path) -> None:
    job = job_of(tmp_path, partial(odd_workers.SleepAt, "000", 0.4), Resources(stall_seconds=1.0))
    assert len(run(job, [*parts_of(1), *parts_of(1), *parts_of(1)], "local")) == 3
    time.sleep(1.1)  # an alarm left behind would ring here


@pytest.mark.ray
def test_a_worker_process_killed_half_way_changes_nothing(tmp_path: Path, ray_session: None) -> None:
    parts = parts_of(12)
    expected = run(job_of(tmp_path / "calm", odd_workers.plain), parts, "local")
    marker = tmp_path / "died"
    done = run(job_of(tmp_path / "storm", partial(odd_workers.DieOnceAt, "007", marker)), parts, "ray")
    assert marker.exists()
    assert ids_in(done) == ids_in(expected)
    assert [part.key for part in done] == [part.key for part in expected]


@pytest.mark.ray
def test_fractions_of_gpus_are_scheduled(tmp_path: Path, ray_session: None) -> None:
    resources = Resources(gpus=0.5, workers=2, stall_seconds=60)
    done = run(job_of(tmp_path, odd_workers.NoteGpus, resources), parts_of(12), "ray")
    assert set(titles(done)) <= {"0", "1"}
    assert len(titles(done)) == 12


@pytest.mark.ray
@pytest.mark.parametrize(
    ("resources", "advice"),
    [
        (
            Resources(gpus=4),
            r"of 4 GPU each need 4 GPU, the cluster has 2 on 1 node\(s\); set resources\.extract\.gpus to 2",
        ),
        (Resources(gpus=1, workers=3), r"set resources\.extract\.workers to 2"),
        (Resources(cpus=1, workers=3), r"the cluster has 2 on 1 node\(s\); set resources\.extract\.workers to 2"),
    ],
)
def test_what_the_cluster_can_never_hold_is_refused_at_once(
    tmp_path: Path, ray_session: None, resources: Resources, advice: str
) -> None:
    started = time.monotonic()
    with pytest.raises(PlanInfeasible, match=advice):
        run(job_of(tmp_path, odd_workers.plain, resources), parts_of(3), "ray")
    assert time.monotonic() - started < 5


@pytest.mark.ray
def test_big_blocks_stay_whole(tmp_path: Path, ray_session: None) -> None:
    text = "x" * 50_000
    rows = [{"page_id": f"{k:04d}", "url": f"http://x/{k}/{text}"} for k in range(900)]  # 45 MB in one part
    (part,) = cut("b", pa.Table.from_pylist(rows, schema=schema.body("pages")), "page_id", 1000)
    (done,) = run(job_of(tmp_path, odd_workers.plain), [part], "ray")
    assert done.rows == {"documents": 900}
