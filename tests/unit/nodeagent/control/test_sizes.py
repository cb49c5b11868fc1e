"""Sizes of containers that come and go while they are measured."""

import dataclasses

import msgspec
import pytest

from runtime.errors import Missing, Refused
from tests.fakes.control import IMAGE, Control
from tests.fakes.records import container

ID = "a" * 64


@pytest.fixture
async def control(tmp_path, nursery):
    control = Control(tmp_path, nursery)
    await control.inventory.put(container())
    control.images.images = [dataclasses.replace(IMAGE, size_bytes=1000)]
    return control


def rows(control):
    return control.containers.ls(everything=True, filters={})


async def test_own_writes_and_all_there_is_to_see(control):
    control.roots.sizes = {ID: 24}
    (row,) = await control.sizes.fill(rows(control))
    assert (row.size_rw, row.size_root_fs) == (24, 1024)


async def test_a_row_of_what_is_gone_meanwhile_takes_nothing(control):
    before = rows(control)
    await control.inventory.delete(control.inventory.container(ID))

    async def gone(container_id):
        raise Missing("measure root", id=container_id)

    control.roots.used_bytes = gone
    (row,) = await control.sizes.fill(before)
    assert (row.size_rw, row.size_root_fs) == (0, 0)


async def test_what_cannot_be_measured_is_an_error(control):
    async def broken(container_id):
        raise Refused("measure root", id=container_id)

    control.roots.used_bytes = broken
    with pytest.raises(Refused):
        await control.sizes.fill(rows(control))


async def test_what_nobody_measured_is_not_shown(control):
    (row,) = rows(control)
    assert not {"SizeRw", "SizeRootFs"} & msgspec.to_builtins(row).keys()
