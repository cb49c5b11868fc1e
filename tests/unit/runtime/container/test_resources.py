from runtime.container.resources import build_limits
from runtime.contract.container import Limits


def test_each_limit_has_its_place():
    limits = Limits(
        memory_bytes=100, nano_cpus=1_500_000_000, cpu_shares=2, cpuset_cpus="0-1", pids=9,
        memory_reservation_bytes=50,
    )  # fmt: skip
    assert build_limits(limits, has_swap=True) == {
        "memory": {"limit": 100, "swap": 200, "reservation": 50},
        "cpu": {"period": 100000, "quota": 150000, "shares": 2, "cpus": "0-1"},
        "pids": {"limit": 9},
    }


def test_nothing_limited_is_nothing_said():
    assert build_limits(Limits(), has_swap=True) == {}


def test_swap_needs_a_kernel_that_counts_it():
    unlimited = Limits(memory_bytes=100, memory_swap_bytes=-1)
    assert build_limits(unlimited, has_swap=True)["memory"] == {"limit": 100, "swap": -1}
    assert build_limits(unlimited, has_swap=False)["memory"] == {"limit": 100}
