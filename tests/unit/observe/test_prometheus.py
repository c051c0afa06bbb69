from __future__ import annotations

from prometheus_client import REGISTRY
from prometheus_client.parser import text_string_to_metric_families

from portside.observe.counts import SECONDS
from portside.observe.null import NullMeter
from portside.observe.ports import Meter
from portside.observe.prometheus import PrometheusMeter


def samples(meter: PrometheusMeter) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(meter.scrape().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def labels(**given: str) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(given.items()))


def test_requests_by_outcome() -> None:
    meter = PrometheusMeter("1.2.3")
    counts = meter.servable("m", 3)
    for duration_s in (0.0002, 0.003, 20.0):
        counts.request("predict", "", duration_s)
    counts.request("predict", "OVERLOADED", 0.00001)
    found = samples(meter)
    ok = {"model": "m", "version": "3", "protocol": "predict", "code": "OK"}
    assert found["portside_requests_total", labels(**ok)] == 3
    assert found["portside_requests_total", labels(**{**ok, "code": "OVERLOADED"})] == 1
    name = "portside_request_duration_seconds"
    assert found[name + "_count", labels(**ok)] == 3
    assert abs(found[name + "_sum", labels(**ok)] - 20.0032) < 1e-9
    assert found[name + "_bucket", labels(**ok, le="0.00025")] == 1
    assert found[name + "_bucket", labels(**ok, le="0.005")] == 2
    assert found[name + "_bucket", labels(**ok, le="10.0")] == 2
    assert found[name + "_bucket", labels(**ok, le="+Inf")] == 3
    assert found["portside_build_info", labels(version="1.2.3")] == 1


def test_a_bound_belongs_to_its_bucket() -> None:
    meter = PrometheusMeter("0")
    meter.servable("m", 1).executed(1, SECONDS[3], 0.0)
    found = samples(meter)
    key = labels(model="m", version="1", le=repr(SECONDS[3]))
    assert found["portside_queue_duration_seconds_bucket", key] == 1
    assert found["portside_queue_duration_seconds_bucket", labels(model="m", version="1", le=repr(SECONDS[2]))] == 0


def test_executions_loads_failures_and_flight() -> None:
    meter = PrometheusMeter("0")
    meter.servable("m", 1).executed(8, 0.5, 0.25)
    meter.loaded("m", 1, 2.0)
    meter.loaded("m", 1, 3.0)
    meter.failure("tfs-rest", "NOT_FOUND")
    meter.failure("tfs-rest", "NOT_FOUND")
    meter.pending(3)
    meter.pending(-1)
    found, one = samples(meter), labels(model="m", version="1")
    assert found["portside_rows_total", one] == 8
    assert found["portside_queue_duration_seconds_sum", one] == 0.5
    assert found["portside_compute_duration_seconds_sum", one] == 0.25
    assert found["portside_model_loads_total", one] == 2
    assert found["portside_model_load_seconds_total", one] == 5.0
    assert found["portside_model_loaded", one] == 1
    assert found["portside_request_failures_total", labels(protocol="tfs-rest", code="NOT_FOUND")] == 2
    assert found["portside_inflight_requests", ()] == 2


def test_an_unloaded_version_is_seen_once_more() -> None:
    meter = PrometheusMeter("0")
    meter.servable("m", 1).request("predict", "", 0.1)
    meter.loaded("m", 1, 1.0)
    meter.forget("m", 1)
    meter.forget("m", 99)
    first, second = meter.scrape().decode(), meter.scrape().decode()
    assert 'portside_requests_total{code="OK",model="m"' in first
    assert "portside_model_loaded{" not in first
    assert 'model="m"' not in second


def test_a_version_that_comes_back_goes_on_counting() -> None:
    meter = PrometheusMeter("0")
    meter.servable("m", 1).request("predict", "", 0.1)
    meter.forget("m", 1)
    meter.servable("m", 1).request("predict", "", 0.1)
    meter.scrape()
    found = samples(meter)
    assert found["portside_requests_total", labels(model="m", version="1", protocol="predict", code="OK")] == 2


def test_names_of_models_are_escaped() -> None:
    meter = PrometheusMeter("0")
    meter.failure('a"b\n', "X")
    assert samples(meter)["portside_request_failures_total", labels(protocol='a"b\n', code="X")] == 1


def test_the_process_wide_registry_is_left_alone() -> None:
    before = {m.name for m in REGISTRY.collect()}
    first, second = PrometheusMeter("0"), PrometheusMeter("0")
    first.failure("a", "b")
    assert "portside_request_failures_total{" not in second.scrape().decode()
    assert {m.name for m in REGISTRY.collect()} == before
    assert "process_resident_memory_bytes" in first.scrape().decode()


def test_the_null_meter_takes_the_same_calls() -> None:
    for meter in (NullMeter(), PrometheusMeter("0")):
        port: Meter = meter
        counts = port.servable("m", 1)
        counts.request("predict", "", 0.1)
        counts.executed(1, 0.0, 0.1)
        port.loaded("m", 1, 0.1)
        port.failure("predict", "X")
        port.pending(1)
        port.forget("m", 1)
        assert isinstance(port.scrape(), bytes)
