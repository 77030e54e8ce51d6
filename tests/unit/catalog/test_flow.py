"""Flow, as far as it needs no cluster: which engine, how much at once, what is refused."""

from itertools import islice

import pyarrow as pa
import pytest

from catalog import flow
from catalog.errors import ConfigError, PlanInfeasible
from catalog.settings import Resources
from catalog.shards import Part, PartKey


def part(rows: int) -> Part:
    return Part(PartKey("b", 0, rows, "h", "id"), pa.table({"id": [str(k) for k in range(rows)]}))


@pytest.mark.parametrize(
    ("engine", "rows", "address", "expected"),
    [
        ("auto", 4_999, None, "local"),
        ("auto", 5_000, None, "ray"),
        ("auto", 1, "ray://head:10001", "ray"),
        ("local", 9_999, "ray://head:10001", "local"),
        ("ray", 1, None, "ray"),
    ],
)
def test_small_work_stays_in_this_process(engine: flow.Engine, rows: int, address: str | None, expected: str) -> None:
    assert flow._choose(engine, [part(rows)], address) == expected


def test_a_window_is_bounded_in_rows_and_parts() -> None:
    endless = (part(40_000) for _ in iter(int, 1))
    assert len(flow._window(endless)) == 3
    empty = (part(0) for _ in iter(int, 1))
    assert len(flow._window(empty)) == flow.WINDOW_PARTS
    assert flow._window(islice(empty, 0)) == []


@pytest.mark.parametrize(
    ("resources", "nodes", "message"),
    [
        (Resources(cpus=4), [{"CPU": 2.0}], r"has 2 on 1 node\(s\); set resources\.embed\.cpus to 2 or less"),
        (Resources(gpus=1), [{"CPU": 8.0}], r"1 GPU, the cluster has 0 on .*; set resources\.embed\.gpus to 0"),
        (Resources(gpus=0.5, workers=5), [{"CPU": 8.0, "GPU": 2.0}], r"2\.5 GPU, the cluster has 2 .*workers to 4"),
        (Resources(gpus=4), [{"CPU": 4.0, "GPU": 2.0}] * 2, r"has 4 on 2 node\(s\); set resources\.embed\.gpus to 2"),
        (Resources(cpus=3, workers=3), [{"CPU": 5.0}] * 2, r"set resources\.embed\.workers to 2"),
        (Resources(), [], r"the cluster has 0 on 0 node\(s\)"),
    ],
)
def test_a_plan_that_cannot_be_scheduled_says_what_to_change(
    resources: Resources, nodes: list[dict[str, float]], message: str
) -> None:
    with pytest.raises(PlanInfeasible, match=message):
        flow.preflight("embed", resources, nodes)


@pytest.mark.parametrize(
    "resources",
    [Resources(cpus=0, workers=9), Resources(cpus=0.1, gpus=0.1, workers=20), Resources(workers=2), Resources(gpus=2)],
)
def test_a_plan_that_fits_passes(resources: Resources) -> None:
    flow.preflight("embed", resources, [{"CPU": 2.0, "GPU": 2.0}])


def test_a_gpu_share_is_a_fraction_or_a_whole_number() -> None:
    with pytest.raises(ConfigError, match=r"gpus: .*whole number"):
        Resources.parse({"gpus": 1.5}, "c.yaml")
    assert Resources.parse({"gpus": "2"}, "c.yaml").gpus == 2
