import trio

from runtime.container import ending


async def test_everything_in_the_cgroup_ends(box):
    script = "for i in 1 2 3 4 5 6 7 8; do sleep 60 & done; wait"
    container_id = await box.run("sh", "-c", script)
    cgroup = box.rt.cgroup(container_id)
    with trio.fail_after(10):
        while len(cgroup.read_pids()) < 9:  # noqa: ASYNC110  a fork has no event
            await trio.sleep(0.005)
        await box.rt.pause(container_id)
        await ending.clear(cgroup)
    assert cgroup.read_pids() == []
    assert box.cgroups() == []
    await ending.clear(cgroup)


async def test_forking_does_not_save_it(box):
    container_id = await box.run("sh", "-c", "while :; do (sleep 60 &) ; done")
    with trio.fail_after(20):
        await trio.sleep(0.1)
        await ending.clear(box.rt.cgroup(container_id))
    assert box.cgroups() == []
