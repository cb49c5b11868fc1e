"""Address leases: nobody gets an address twice, also while choices are in flight."""

from contextlib import AsyncExitStack
from ipaddress import ip_address

import pytest

from netdrivers.errors import Exhausted
from nodeagent.control.addresses import Addresses
from nodeagent.control.inventory import Inventory
from nodeagent.errors import Conflict, Invalid
from nodeagent.model.containerrequest import EndpointRequest
from nodeagent.model.network import SharedNetwork, SubnetRequest
from nodeagent.state.sqlite import open_store
from tests.fakes.records import container, endpoint, network

ANY = EndpointRequest()
OWNER = "c" * 64


@pytest.fixture
async def inventory(tmp_path):
    async with open_store(tmp_path / "state.db") as store:
        found = Inventory(store)
        await found.put(network(), container(endpoints={"n" * 64: endpoint()}))
        yield found


async def test_leases_in_flight_count(inventory):
    addresses = Addresses(inventory)
    async with (
        addresses.lease(network(), ANY, OWNER) as one,
        addresses.lease(network(), ANY, OWNER) as two,
    ):
        assert one == ["172.20.0.3/24"]
        assert two == ["172.20.0.4/24"]
    assert ip_address("172.20.0.3") not in addresses.used(network())


async def test_a_freed_address_is_not_given_again_at_once(inventory):
    addresses = Addresses(inventory)
    async with addresses.lease(network(), ANY, OWNER) as one:
        pass
    async with addresses.lease(network(), ANY, OWNER) as two:
        assert one != two


async def test_wanted_addresses_are_checked(inventory):
    addresses = Addresses(inventory)
    async with addresses.lease(network(), EndpointRequest(ip="172.20.0.77"), OWNER) as lease:
        assert lease == ["172.20.0.77/24"]
    for wanted, error in (
        ("172.20.0.2", Conflict),
        ("172.20.0.1", Conflict),
        ("172.20.0.255", Invalid),
        ("172.20.0.0", Invalid),
        ("fd00::2", Invalid),
        ("10.0.0.1", Invalid),
        ("x", Invalid),
    ):
        with pytest.raises(error, match="field=ip"):
            async with addresses.lease(network(), EndpointRequest(ip=wanted), OWNER):
                pass


async def test_a_mac_address_is_one_containers_on_a_network(inventory):
    addresses, mac = Addresses(inventory), "02:00:00:00:00:09"
    for taken, holder in (("02:42:ac:14:00:02", "by=web"), (mac, "being made")):
        with (
            addresses.hold_mac(network(), mac),
            pytest.raises(Conflict, match=f"field=mac_address value={taken} .*{holder}"),
            addresses.hold_mac(network(), taken),
        ):
            pass
    with addresses.hold_mac(network("m" * 64), mac), addresses.hold_mac(network(), mac):
        pass  # elsewhere, and when let go, it is free


async def test_excluded_addresses_and_ranges_are_kept(inventory):
    subnet = SubnetRequest(
        subnet="172.20.0.0/24",
        gateway="172.20.0.1",
        ip_range="172.20.0.128/30",
        aux_addresses={"router": "172.20.0.128"},
    )
    narrow = network(subnets=[subnet])
    addresses = Addresses(inventory)
    async with addresses.lease(narrow, ANY, OWNER) as one:
        assert one == ["172.20.0.129/24"]
        assert addresses.count(narrow, subnet) == (4, 250)


async def test_two_addresses_are_one_for_the_gateway_and_one_for_a_container(inventory):
    for subnet, gateway, address in (
        ("10.1.0.0/31", "10.1.0.0", "10.1.0.1/31"),
        ("fd00::/127", "fd00::", "fd00::1/127"),
    ):
        small = network("m" * 64, subnet=subnet, gateway=gateway)
        addresses = Addresses(inventory)
        async with addresses.lease(small, ANY, OWNER) as one:
            assert one == [address]
            with pytest.raises(Exhausted):
                async with addresses.lease(small, ANY, OWNER):
                    pass


async def test_one_address_a_family_from_the_first_subnet_with_room(inventory):
    subnets = [
        SubnetRequest(subnet="10.1.0.0/30", gateway="10.1.0.1"),
        SubnetRequest(subnet="10.2.0.0/24", gateway="10.2.0.1"),
        SubnetRequest(subnet="fd00::/64", gateway="fd00::1"),
    ]
    several = network("m" * 64, subnets=subnets)
    addresses = Addresses(inventory)
    async with (
        addresses.lease(several, ANY, OWNER) as one,
        addresses.lease(several, ANY, OWNER) as two,
    ):
        assert one == ["10.1.0.2/30", "fd00::2/64"]
        assert two == ["10.2.0.2/24", "fd00::3/64"]
    async with addresses.lease(several, EndpointRequest(ip="10.2.0.9"), OWNER) as wanted:
        assert wanted[0] == "10.2.0.9/24"


async def test_on_a_wire_the_hosts_addresses_are_never_given(inventory):
    there = [ip_address(each) for each in ("192.0.2.2", "192.0.2.3", "203.0.113.1")]
    addresses = Addresses(inventory, lambda: there)
    wire = network("m" * 64, subnet="192.0.2.0/24", gateway="192.0.2.1", on_wire=True)
    async with addresses.lease(wire, ANY, OWNER) as one:
        assert one == ["192.0.2.4/24"]
    with pytest.raises(Conflict, match="field=ip"):
        async with addresses.lease(wire, EndpointRequest(ip="192.0.2.3"), OWNER):
            pass
    there.append(ip_address("192.0.2.5"))  # while we run
    async with addresses.lease(wire, ANY, OWNER) as two:
        assert two == ["192.0.2.6/24"]


async def test_requests_at_once_get_what_is_there_and_give_all_back(inventory):
    addresses = Addresses(inventory)
    small = network("m" * 64, subnet="10.1.0.0/28", gateway="10.1.0.1")
    async with AsyncExitStack() as held:

        async def lease() -> str:
            return (await held.enter_async_context(addresses.lease(small, ANY, OWNER)))[0]

        given = {await lease() for _ in range(13)}
        assert len(given) == 13
        with pytest.raises(Exhausted, match=r"10.1.0.0/28"):
            await lease()
    async with AsyncExitStack() as held:
        assert {await lease() for _ in given} == given


class TakenElsewhere:
    """Claims of another host: one that is known, and one that comes while we choose."""

    def __init__(self) -> None:
        self.mine: list[str] = []

    async def read(self, _network_id):
        return {ip_address("172.20.0.3")}

    async def take(self, _network_id, address, owner):
        if str(address) == "172.20.0.4":
            return False
        self.mine.append(f"{address} {owner}")
        return True


async def test_on_a_network_of_several_hosts_an_address_is_claimed(inventory):
    addresses = Addresses(inventory)
    addresses.claims = claims = TakenElsewhere()
    shared = network(shared=SharedNetwork(vni=4097, sealed=True))
    async with addresses.lease(shared, ANY, OWNER) as one:
        assert one == ["172.20.0.5/24"]
        assert claims.mine == [f"172.20.0.5 {OWNER}"]
    with pytest.raises(Conflict, match="field=ip"):
        async with addresses.lease(shared, EndpointRequest(ip="172.20.0.3"), OWNER):
            pass
    with pytest.raises(Conflict, match="field=ip"):  # somebody was faster
        async with addresses.lease(shared, EndpointRequest(ip="172.20.0.4"), OWNER):
            pass
    async with addresses.lease(shared, ANY, OWNER, for_plan=True):
        assert len(claims.mine) == 1
    assert addresses.unowned(set()) == []


async def test_a_lease_in_flight_has_an_owner(inventory):
    addresses = Addresses(inventory)
    async with addresses.lease(network(), ANY, OWNER):
        (lease,) = addresses.unowned({"a" * 64})
        assert (lease.owner, str(lease.address)) == (OWNER, "172.20.0.3")
        assert addresses.unowned({OWNER}) == []
    assert addresses.unowned(set()) == []
