"""Elements and the redirect: what is packed is read back."""

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given
from hypothesis import strategies as st

from netdrivers.kernel import nfcodec
from netdrivers.kernel.codec import parse_attrs
from netdrivers.plan.objects import Element

fields = {
    "i": st.text("abcdefgh0123-", min_size=1, max_size=15),
    "4": st.builds(IPv4Address, st.integers(0, 2**32 - 1)),
    "6": st.builds(IPv6Address, st.integers(0, 2**128 - 1)),
    "p": st.sampled_from(["tcp", "udp", "sctp"]),
    "s": st.integers(0, 65535),
    "f": st.sampled_from(["ipv4", "ipv6"]),
}
elements = st.sampled_from(sorted(nfcodec.LAYOUT)).flatmap(
    lambda name: st.builds(
        Element,
        set=st.just(name),
        match=st.tuples(*(fields[kind] for kind in nfcodec.LAYOUT[name][0])),
        value=st.tuples(*(fields[kind] for kind in nfcodec.LAYOUT[name][1])),
        owner=st.text("abcdef0123456789", max_size=64),
    )
)


@given(elements)
def test_an_element_reads_as_it_was_written(element):
    (request,) = nfcodec.add_elements("t", [element])
    assert list(nfcodec.parse_elements(request.body)) == [element]


@given(elements)
def test_a_request_names_its_table_and_set(element):
    def one(build):
        return lambda table, element: next(build(table, [element]))

    builds = one(nfcodec.add_elements), one(nfcodec.delete_elements), nfcodec.get_element
    for build in builds:
        attrs = parse_attrs(build("nodeagent", element).body, 4)
        assert (attrs[1], attrs[2]) == (b"nodeagent\0", element.set.encode() + b"\0")


def test_a_batch_is_framed():
    first, last = nfcodec.batch([])
    assert (first.type, last.type) == (nfcodec.BATCH_BEGIN, nfcodec.BATCH_END)


def test_many_elements_go_in_few_messages_that_an_attribute_can_hold():
    many = [
        Element(set="publish6", match=(IPv6Address(n), "tcp", 80), value=(IPv6Address(n), 80),
                owner="c" * 64)
        for n in range(1000)
    ]  # fmt: skip
    requests = list(nfcodec.add_elements("t", many))
    assert len(requests) == 4
    assert all(len(request.body) < 1 << 16 for request in requests)
    assert [each for request in requests for each in nfcodec.parse_elements(request.body)] == many
