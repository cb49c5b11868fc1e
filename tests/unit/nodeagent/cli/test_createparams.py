import shlex

import msgspec
import pytest

from nodeagent.cli.createflags import CREATE_FLAGS
from nodeagent.cli.createparams import Surroundings, build_create
from nodeagent.cli.grammar import UsageError, parse
from nodeagent.model.containerrequest import ContainerCreate

FILES = {
    "env": "# comment\nA=1\n\n  B=two words\nHOME\nUNSET\n",
    "labels": "tier=web\nplain\n",
    "seccomp.json": '{"defaultAction": "SCMP_ACT_ALLOW"}',
}
AROUND = Surroundings(environ={"HOME": "/root"}, cwd="/here", read_text=lambda path: FILES[path])


def _build(line: str) -> dict:
    values, words = parse(CREATE_FLAGS, shlex.split(line), options_first=True)
    params = build_create(values, words, AROUND)
    msgspec.convert(params, ContainerCreate)  # the agent must be able to read whatever we build
    return params


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", {}),
        ("--name web", {"name": "web"}),
        ("-it", {"tty": True, "open_stdin": True}),
        ("-h box -u 1000:1000 -w /srv",
         {"hostname": "box", "user": "1000:1000", "working_dir": "/srv"}),
        ("-p 8080:80", {"ports": [{"container_port": 80, "protocol": "tcp", "host_port": 8080}]}),
        ("-P --expose 80-81", {"publish_all": True, "expose": ["80/tcp", "81/tcp"]}),
        ("-m 64m --cpus 1.5 --pids-limit 100",
         {"memory_bytes": 64 << 20, "nano_cpus": 1_500_000_000, "pids_limit": 100}),
        ("--memory-swap -1 --memory-reservation 1g",
         {"memory_swap_bytes": -1, "memory_reservation_bytes": 1 << 30}),
        ("--memory-swap 128m", {"memory_swap_bytes": 128 << 20}),
        ("-c 512 --cpuset-cpus 0-1 --oom-score-adj -500",
         {"cpu_shares": 512, "cpuset_cpus": "0-1", "oom_score_adj": -500}),
        ("--shm-size 128m", {"shm_size_bytes": 128 << 20}),
        ("-e A=1 -e HOME -e GONE -e B=", {"env": ["A=1", "HOME=/root", "GONE", "B="]}),
        ("--env-file env -e A=2", {"env": ["A=1", "B=two words", "HOME=/root", "A=2"]}),
        ("-l a=b -l c --label-file labels",
         {"labels": {"tier": "web", "plain": "", "a": "b", "c": ""}}),
        ("--restart on-failure:3", {"restart_policy": {"name": "on-failure", "max_retries": 3}}),
        ("--restart always", {"restart_policy": {"name": "always"}}),
        ("--restart=no --rm", {"restart_policy": {"name": "no"}, "auto_remove": True}),
        ("--ulimit nofile=1024:2048 --ulimit core=-1",
         {"ulimits": {"nofile": (1024, 2048), "core": (-1, -1)}}),
        ("--sysctl net.core.somaxconn=1024", {"sysctls": {"net.core.somaxconn": "1024"}}),
        ("--entrypoint /bin/sh", {"entrypoint": ["/bin/sh"]}),
        ("--entrypoint ''", {"entrypoint": [""]}),
        ("--add-host db:10.0.0.1 --add-host six=[::1]",
         {"extra_hosts": ["db:10.0.0.1", "six:::1"]}),
        ("--dns 1.1.1.1 --dns-search a.b --dns-option ndots:1",
         {"dns": ["1.1.1.1"], "dns_search": ["a.b"], "dns_options": ["ndots:1"]}),
        ("--cap-add NET_ADMIN --cap-drop ALL", {"cap_add": ["NET_ADMIN"], "cap_drop": ["ALL"]}),
        ("--privileged --read-only --init", {"privileged": True, "read_only": True, "init": True}),
        ("--security-opt no-new-privileges", {"no_new_privileges": True}),
        ("--security-opt no-new-privileges:true", {"no_new_privileges": True}),
        ("--security-opt seccomp=unconfined", {"seccomp": "unconfined"}),
        ("--security-opt seccomp=seccomp.json", {"seccomp": FILES["seccomp.json"]}),
        ("--security-opt apparmor:mine --security-opt label=disable",
         {"apparmor": "mine", "selinux": ["disable"]}),
        ("--storage-opt size=1g", {"storage_size_bytes": 1 << 30}),
        ("--security-opt label=type:x=y_t", {"selinux": ["type:x=y_t"]}),
        ("--device-read-bps /dev/a:1m --device-write-iops /dev/b:c:7",
         {"io_limits": [{"kind": "read_bps", "device": "/dev/a", "value": 1 << 20},
                        {"kind": "write_iops", "device": "/dev/b:c", "value": 7}]}),
        ("--device /dev/fuse --group-add 44", {"devices": ["/dev/fuse"], "groups": ["44"]}),
        ("--stop-signal INT --stop-timeout 3", {"stop_signal": "INT", "stop_timeout_s": 3}),
        ("--platform linux/arm64", {"platform": "linux/arm64"}),
        ("--tmpfs /t", {"mounts": [{"type": "tmpfs", "target": "/t"}]}),
        ("-v d:/a --mount src=e,dst=/b",
         {"mounts": [{"type": "volume", "source": "d", "target": "/a"},
                     {"type": "volume", "source": "e", "target": "/b"}]}),
        ("--pull never --quiet --cidfile x", {}),
    ],
)  # fmt: skip
def test_flags(line, wanted):
    assert _build(f"{line} busybox") == {"image": "busybox", **wanted}


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("", {}),
        ("--network demo", {"network_mode": "demo"}),
        ("--network host", {"network_mode": "host"}),
        (
            "--pid container:a --ipc none --uts host --cgroupns private --domainname d",
            {
                "pid_mode": "container:a", "ipc_mode": "none", "uts_mode": "host",
                "cgroupns_mode": "private", "domainname": "d",
            },
        ),
        ("--security-opt systempaths=unconfined", {"system_paths": "unconfined"}),
        ("--network default", {"network_mode": "bridge"}),
        ("--network container:web", {"network_mode": "container:web"}),
        ("--network a --network b", {"network_mode": "a", "networks": {"b": {}}}),
        ("--network a --network-alias db --network-alias pg --ip 10.0.0.5 --ip6 fd00::5",
         {"network_mode": "a",
          "networks": {"a": {"ip": "10.0.0.5", "ip6": "fd00::5", "aliases": ["db", "pg"]}}}),
        ("--mac-address 92:d0:c6:0a:29:33",
         {"networks": {"bridge": {"mac_address": "92:d0:c6:0a:29:33"}}}),
        ("--network name=a,alias=x,alias=y,ip=10.0.0.6"
         " --network name=b,mac-address=02:00:00:00:00:01",
         {"network_mode": "a",
          "networks": {"a": {"ip": "10.0.0.6", "aliases": ["x", "y"]},
                       "b": {"mac_address": "02:00:00:00:00:01"}}}),
        ("--network name=a,gw-priority=-1 --network name=b,gw-priority=10",
         {"network_mode": "a",
          "networks": {"a": {"gateway_priority": -1}, "b": {"gateway_priority": 10}}}),
    ],
)  # fmt: skip
def test_networks(line, wanted):
    assert _build(f"{line} busybox") == {"image": "busybox", **wanted}


def test_the_command_is_passed_as_it_is():
    wanted = {"image": "busybox", "cmd": ["httpd", "-f", "--name", "x", "--"], "name": "web"}
    assert _build("--name web busybox httpd -f --name x --") == wanted


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("--memory lots", "--memory"),
        ("--cpus many", "--cpus"),
        ("--restart sometimes", "--restart"),
        ("--restart always:3", "--restart"),
        ("--restart always --rm", "--restart"),
        ("--ulimit nofile", "--ulimit"),
        ("--ulimit nofile=20:10", "--ulimit"),
        ("--network alias=x", "--network"),
        ("--network name=a,frob=x", "--network"),
        ("--network name=a,gw-priority=high", "--network: gw-priority=high"),
        ("--network a --network a", "--network"),
        ("-v a:/x -v b:/x/", "--volume"),
        ("--security-opt frob", "--security-opt"),
        ("--storage-opt inodes=5", "--storage-opt"),
        ("--device-read-bps /x:1m", "--device-read-bps"),
        ("--add-host db", "--add-host"),
        ("-e =x", "--env"),
        ("-l =x", "--label"),
        ("-p x", "--publish"),
        ("--health-interval 5", "--health-interval"),
        ("--health-cmd a --no-healthcheck", "--no-healthcheck"),
        ("--on-unhealthy frob", "--on-unhealthy"),
    ],
)
def test_mistakes_name_the_flag(line, named):
    with pytest.raises(UsageError, match=rf"^{named}"):
        _build(f"{line} busybox")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("--network name=a,gw-priority=", ""), ("--memory ", "g"), ("--memory-swap ", "p"),
        ("--shm-size ", ""), ("--cpus ", ""), ("--pids-limit ", ""), ("--pids-limit -", ""),
        ("--cpu-shares ", ""), ("--stop-timeout ", ""), ("--health-retries ", ""),
        ("--oom-score-adj ", ""), ("--restart on-failure:", ""), ("--ulimit nofile=", ""),
        ("--ulimit nofile=1:", ""), ("--mount type=tmpfs,dst=/x,tmpfs-size=", ""),
        ("--mount type=tmpfs,dst=/x,tmpfs-mode=", ""),
    ],
)  # fmt: skip
def test_numbers_beyond_64_bits_name_the_flag_and_the_range(before, after):
    flag = before.split()[0]
    with pytest.raises(UsageError, match=rf"^{flag}\b.* -{2**63} to {2**63 - 1} "):
        _build(f"{before}{'7' * 400}{after} busybox")


def test_a_health_check():
    line = (
        "--health-cmd 'a || b' --health-interval 1m30s --health-timeout 2s --health-retries 5"
        " --health-start-period 1s --health-start-interval 500ms --on-unhealthy stop busybox"
    )
    assert _build(line)["health"] == {
        "test": ["CMD-SHELL", "a || b"], "interval_s": 90.0, "timeout_s": 2.0, "retries": 5,
        "start_period_s": 1.0, "start_interval_s": 0.5, "on_unhealthy": "stop",
    }  # fmt: skip
    assert _build("--no-healthcheck busybox")["health"] == {"test": ["NONE"]}
    assert "health" not in _build("--on-unhealthy none busybox")


def test_each_flag_has_help():
    assert all(flag.help for flag in CREATE_FLAGS)
    assert len({flag.name for flag in CREATE_FLAGS}) == len(CREATE_FLAGS)
