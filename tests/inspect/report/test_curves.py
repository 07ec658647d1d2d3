from __future__ import annotations

from fakes.told import Told
from holdfast.inspect.report.curves import MOST_POINTS, Point, series, thinned
from holdfast.inspect.report.read import read


def test_so_many_points_as_can_be_seen_are_left_and_no_spike_is_lost() -> None:
    points = [Point(step, float(step), 1.0) for step in range(100_000)]
    points[77_777] = Point(77_777, 77_777.0, 9.0)
    points[33_333] = Point(33_333, 33_333.0, -9.0)
    few = thinned(points)
    assert len(few) <= MOST_POINTS
    assert (few[0], few[-1]) == (points[0], points[-1])
    assert {9.0, -9.0} <= {point.value for point in few}
    assert few == sorted(few)
    assert thinned(points[:7]) == points[:7]


def test_each_metric_has_a_point_for_each_checkpoint_and_the_loss_is_first(told: Told) -> None:
    told.killed(270)
    told.completed()
    records = read(told.run.store, told.run.id)
    found = series(records.starts, records.manifests)
    assert list(found) == ["loss", "val_loss", "accuracy"]
    assert [point.step for point in found["loss"]] == list(range(100, 1001, 100))
