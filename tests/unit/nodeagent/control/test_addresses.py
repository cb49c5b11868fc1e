"""Address leases: nobody gets an address twice, also while choices are in flight."""

from ipaddress import ip_address

import pytest

from nodeagent.control.addresses import Addresses
from nodeagent.control.inventory import Inventory
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.container import EndpointRequest
from nodeagent.model.network import SubnetRequest
from nodeagent.state.sqlite import open_store
from tests.fakes.records import container, endpoint, network

ANY = EndpointRequest()


@pytest.fixture
async def inventory(tmp_path):
    async with open_store(tmp_path / "state.db") as store:
        found = Inventory(store)
        await found.put(network(), container(endpoints={"n" * 64: endpoint()}))
        yield found


async def test_leases_in_flight_count(inventory):
    addresses = Addresses(inventory)
    with addresses.lease(network(), ANY) as one, addresses.lease(network(), ANY) as two:
        assert one == ["172.20.0.3/24"]
        assert two == ["172.20.0.4/24"]
    assert ip_address("172.20.0.3") not in addresses.used(network())


async def test_a_freed_address_is_not_given_again_at_once(inventory):
    addresses = Addresses(inventory)
    with addresses.lease(network(), ANY) as one:
        pass
    with addresses.lease(network(), ANY) as two:
        assert one != two


async def test_wanted_addresses_are_checked(inventory):
    addresses = Addresses(inventory)
    with addresses.lease(network(), EndpointRequest(ip="172.20.0.77")) as lease:
        assert lease == ["172.20.0.77/24"]
    for wanted, error in (
        ("172.20.0.2", Conflict),
        ("172.20.0.1", Conflict),
        ("172.20.0.255", Conflict),
        ("10.0.0.1", Invalid),
        ("x", Invalid),
    ):
        with (
            pytest.raises(error, match="field=ip"),
            addresses.lease(network(), EndpointRequest(ip=wanted)),
        ):
            pass


async def test_excluded_addresses_and_ranges_are_kept(inventory):
    subnet = SubnetRequest(
        subnet="172.20.0.0/24",
        gateway="172.20.0.1",
        ip_range="172.20.0.128/30",
        aux_addresses={"router": "172.20.0.128"},
    )
    narrow = network(subnets=[subnet])
    addresses = Addresses(inventory)
    with addresses.lease(narrow, ANY) as one:
        assert one == ["172.20.0.129/24"]
        assert addresses.count(narrow, subnet) == (4, 250)
