"""Fixtures that the suites share."""

import pytest
from traffic import ALGORITHMS, CONNECTIONS, SIZES


@pytest.fixture(params=ALGORITHMS)
def algorithm(request):
    return request.param


@pytest.fixture(params=SIZES, ids=lambda size: f"{size}B")
def size(request):
    return request.param


@pytest.fixture(params=CONNECTIONS, ids=lambda n: f"{n}conn")
def connections(request):
    return request.param


@pytest.fixture
def per_item(benchmark):
    """Run a round function under pytest-benchmark and note what one item costs."""

    def run(function, items, size, setup=None):
        benchmark.pedantic(function, setup=setup, rounds=9, warmup_rounds=2)
        if benchmark.stats is None:  # --benchmark-disable
            return
        median = benchmark.stats.stats.median
        benchmark.extra_info["ns_per_segment"] = round(median / items * 1e9, 1)
        benchmark.extra_info["gbit_per_second"] = round(size * items * 8 / median / 1e9, 3)

    return run
