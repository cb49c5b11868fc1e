import pytest

from runtime.container.resources import Kernel, build_limits
from runtime.contract.container import Limits
from runtime.errors import Invalid


def test_each_limit_has_its_place():
    limits = Limits(
        memory_bytes=100, nano_cpus=1_500_000_000, cpu_shares=2, cpuset_cpus="0-1", pids=9,
        memory_reservation_bytes=50, cpuset_mems="0", memory_swappiness=0, oom_kill_disable=True,
        blkio_weight=500,
    )  # fmt: skip
    assert build_limits(limits, Kernel()) == {
        "memory": {
            "limit": 100,
            "swap": 200,
            "reservation": 50,
            "swappiness": 0,
            "disableOOMKiller": True,
        },
        "cpu": {"period": 100000, "quota": 150000, "shares": 2, "cpus": "0-1", "mems": "0"},
        "blockIO": {"weight": 500},
        "pids": {"limit": 9},
    }


def test_nothing_limited_is_nothing_said():
    assert build_limits(Limits(), Kernel()) == {}


def test_swap_needs_a_kernel_that_counts_it():
    unlimited = Limits(memory_bytes=100, memory_swap_bytes=-1)
    assert build_limits(unlimited, Kernel())["memory"] == {"limit": 100, "swap": -1}
    assert build_limits(unlimited, Kernel(has_swap=False))["memory"] == {"limit": 100}


def test_period_and_quota_as_given():
    limits = Limits(cpu_period_us=50_000, cpu_quota_us=-1)
    assert build_limits(limits, Kernel()) == {"cpu": {"period": 50_000, "quota": -1}}


@pytest.mark.parametrize(
    "limits", [Limits(memory_swappiness=0), Limits(memory_bytes=1, oom_kill_disable=True)]
)
def test_what_v2_would_ignore_is_refused(limits):
    with pytest.raises(Invalid, match="cgroup v2"):
        build_limits(limits, Kernel(is_v2=True))
