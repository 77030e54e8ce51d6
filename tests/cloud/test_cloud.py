"""One home on S3-compatible storage with its catalog in PostgreSQL: really started, written by two, killed, resumed."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from catalog import doctor, export, pipeline, purge, run, search, sql
from catalog.home import Home
from catalog.maintain import maintain
from catalog.proving import drivers, toychain
from catalog.proving.agreement import canonical, check_agreement, live_rows
from catalog.search import Query
from catalog.settings import Config, MaintenanceSettings
from catalog.snapshots import rollback

pytestmark = pytest.mark.slow
BUCKET = "lake"
SECONDS = 60.0


@dataclass(frozen=True)
class Cloud:
    """Where the two servers answer; credentials and endpoint are in the environment, as they are on a real cluster."""

    endpoint: str
    database: str

    def given(self, root: Path, name: str) -> dict[str, object]:
        """Settings of a home of this name; each machine has a root of its own."""
        return {"root": str(root), "warehouse": f"s3://{BUCKET}/{name}", "catalog": {"uri": f"{self.database}{name}"}}


@pytest.fixture(autouse=True)
def _own_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "stages", pipeline.stages)  # put back after a test that installed the toy chain


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def object_store(repo: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """moto's S3 server in a process of its own, with an empty bucket."""
    server = shutil.which("moto_server") or shutil.which(str(repo / ".venv-cloud" / "bin" / "moto_server"))
    if not server or not importlib.util.find_spec("s3fs"):
        pytest.skip("needs moto's S3 server and the extra s3; run make cloud")
    port = free_port()
    environment = {
        "AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
    }  # fmt: skip
    log = (tmp_path_factory.mktemp("moto") / "log").open("wb")
    with pytest.MonkeyPatch.context() as patch, log:
        for name, value in environment.items():
            patch.setenv(name, value)
        process = subprocess.Popen([server, "-H", "127.0.0.1", "-p", str(port)], stdout=log, stderr=log)
        try:
            _await(lambda: urllib.request.urlopen(environment["AWS_ENDPOINT_URL"], timeout=1).close())
            import s3fs

            s3fs.S3FileSystem().mkdir(BUCKET)
            yield environment["AWS_ENDPOINT_URL"]
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def cloud(object_store: str) -> Iterator[Cloud]:
    """The object store, and a PostgreSQL cluster with a database for each home."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "")]
    if not found[-1].is_file() or not importlib.util.find_spec("psycopg"):
        pytest.skip("needs PostgreSQL's server programs (Debian: postgresql) and the extra postgres; run make cloud")
    programs = found[-1].parent
    folder = Path(tempfile.mkdtemp(prefix="headrace-postgres-"))  # below pytest's own folders only their owner may read
    # PostgreSQL refuses to run as root; its Debian package brings a user for it
    user = "postgres" if os.geteuid() == 0 else None
    if user:
        shutil.chown(folder, user)
    port = free_port()

    def call(program: str, *arguments: str) -> None:
        command = [programs / program, *arguments]
        done = subprocess.run(command, user=user, cwd="/", capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    call("initdb", "-D", f"{folder}/data", "-A", "trust", "-U", "headrace")
    options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
    call("pg_ctl", "-D", f"{folder}/data", "-o", options, "-l", f"{folder}/log", "-w", "start")
    try:
        for name in ("toy", "race", "killed", "chain"):
            call("createdb", "-h", "127.0.0.1", "-p", str(port), "-U", "headrace", name)
        yield Cloud(object_store, f"postgresql+psycopg://headrace@127.0.0.1:{port}/")
    finally:
        call("pg_ctl", "-D", f"{folder}/data", "-m", "immediate", "stop")
        shutil.rmtree(folder)


def _await(ready: object) -> None:
    end = time.monotonic() + SECONDS
    while True:
        try:
            ready()  # type: ignore[operator]
            return
        except OSError:
            assert time.monotonic() < end, f"the server did not answer in {SECONDS:g} s"
            time.sleep(0.1)


def drive(given: dict[str, object], origins: range, moment: str = "") -> Home:
    """Publish the origins and run every toy stage once; die at `moment`."""
    drivers.arm(moment)
    toychain.install()
    config = toychain.FlavouredConfig(given, "A")
    home = Home.open(config.catalog)
    for origin in origins:
        pages = {"pages": toychain.page_rows(origin)}
        home.publish_origin(toychain.CRAWL, f"segment-{origin}", toychain.PER_ORIGIN, pages, {})
    for stage in (toychain.EXTRACT, toychain.EMBED, toychain.FUSE):
        stage.run(home, config)
    return home


def race(given: dict[str, object], origins: range, start: Barrier) -> None:
    """Be one of two machines on one home."""
    start.wait(SECONDS)
    drive(given, origins).close()


def check(home: Home, origins: range, folder: Path) -> None:
    with toychain.drive(folder / "reference", origins) as reference:
        assert live_rows(home) == live_rows(reference)
    check_agreement(home)


def test_a_chain_gives_the_rows_that_a_local_home_gives(cloud: Cloud, tmp_path: Path) -> None:
    with drive(cloud.given(tmp_path / "a", "toy"), range(3)) as home:
        check(home, range(3), tmp_path)
        before = canonical(home.view().read("documents"))
        seq = home.view().seq
        result = maintain(home, MaintenanceSettings(min_files=2))
        assert result["compacted"], "nothing was merged"
        assert canonical(home.view().read("documents")) == before
        assert sql.query(home, "SELECT count(*) AS n FROM current_examples")["rows"] == [{"n": len(before)}]
        rollback(home, str(seq - 1), False)
        assert home.view().read("examples").num_rows == 0
    with drive(cloud.given(tmp_path / "another machine", "toy"), range(3)) as other:
        assert canonical(other.view().read("documents")) == before


def test_two_machines_that_write_one_home_consume_every_input_once(cloud: Cloud, tmp_path: Path) -> None:
    start = drivers.CONTEXT.Barrier(2)
    ranges = (range(3), range(1, 4))
    given = [cloud.given(tmp_path / str(number), "race") for number in range(2)]
    racers = [drivers.start(race, one, origins, start) for one, origins in zip(given, ranges, strict=True)]
    assert [drivers.finish(racer, 300) for racer in racers] == [0, 0]
    with drive(given[0], range(4)) as home:
        check(home, range(4), tmp_path)


def test_a_killed_writer_is_resumed_by_another_machine(cloud: Cloud, tmp_path: Path) -> None:
    moments = ("before-add:2", "after-add:3", "table:4", "before-ledger:2", "after-ledger:3")
    for number, moment in enumerate(moments):
        given = cloud.given(tmp_path / str(number), "killed")
        code = drivers.finish(drivers.start(drive, given, range(number, number + 2), moment), 300)
        assert code == drivers.KILLED, moment
    with drive(cloud.given(tmp_path / "last", "killed"), range(len(moments) + 1)) as home:
        check(home, range(len(moments) + 1), tmp_path)


def test_the_real_chain_reads_its_archive_back(cloud: Cloud, repo: Path, tmp_path: Path) -> None:
    given = cloud.given(tmp_path / "home", "chain") | {
        "models": "offline",
        "engine": "local",
        "stages": ["crawl", "extract", "embed", "dedup", "fuse"],
        "data_sources": [{"url": str(repo / "examples" / "site"), "kind": "folder"}],
    }
    config = Config(given)
    result = run.run(config)
    assert {report["stage"]: report["batches"] for report in result["stages"]} == dict.fromkeys(given["stages"], 1)  # type: ignore[call-overload]
    assert [report["batches"] for report in run.run(config)["stages"]] == [0] * 5
    with Home.open(config.catalog) as home:
        assert "frog" in search.by_text(home, config, "a frog", Query("image", 3))["hits"][0]["url"]
        written = export.export(home, "webdataset", tmp_path / "out")
        assert written["rows"] > 10 and not written["missing_media"]
        url = (repo / "examples" / "site" / "volcanoes.html").as_uri()
        told = purge.purge(home, config, purge.Order("url", url, "its owner asked", "steward"))
        assert told["proof"]["found"] == 0 < told["proof"]["markers"], told["proof"]
    assert [one for one in doctor.examine(config)["checks"] if not one["ok"]] == []
