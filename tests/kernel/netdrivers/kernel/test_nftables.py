"""libnftables: text in, text out, in the namespace it was made for."""

import pytest
import trio

from netdrivers.errors import Refused
from netdrivers.kernel.netns import Namespaces
from netdrivers.kernel.nftables import Nftables


@pytest.fixture
def nft(host):
    spaces = Namespaces()
    made = Nftables(spaces)
    yield made
    made.close()
    spaces.close()


def test_all_or_nothing_with_the_librarys_words(nft, host):
    nft.run("add table inet t\nadd chain inet t c\n")
    assert "chain c" in nft.run("list table inet t")
    with pytest.raises(Refused, match="No such file"):
        nft.run("add chain inet t d\nadd rule inet t no-such accept\n")
    assert "chain d" not in host.nft()


async def test_a_thread_of_another_namespace_still_works_at_home(nft, host):
    def elsewhere():
        with host.inside(host.outside):
            nft.run("add table inet here\n")

    await trio.to_thread.run_sync(elsewhere)
    assert "table inet here" in host.nft()
    with host.inside(host.outside):
        assert "table inet here" not in host.nft()
