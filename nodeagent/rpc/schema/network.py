"""RPC methods of networks and published ports: parameters, results, stream items. Pure."""

from nodeagent.model.containerrequest import ContainerCreate
from nodeagent.model.drift import AuditResult, DriftResult, PlanResult
from nodeagent.model.explain import Explain, ExplainView
from nodeagent.model.network import (
    NetworkConnect,
    NetworkCreate,
    NetworkDisconnect,
    NetworkPrune,
    NetworkRemove,
    NetworkRow,
    NetworkView,
)
from nodeagent.model.port import PortRow
from nodeagent.model.volume import Pruned
from nodeagent.rpc.schema.shapes import (
    Done,
    Id,
    ListParams,
    Nothing,
    Params,
    Ref,
    Refs,
    change,
    read,
)


class NetworkPlan(Params, frozen=True):
    """One change, with the parameters of its own method; none = what a repair would do."""

    create: NetworkCreate | None = None
    rm: Ref | None = None
    connect: NetworkConnect | None = None
    disconnect: NetworkDisconnect | None = None
    run: ContainerCreate | None = None


class OnNetwork(Params, frozen=True):
    """Everything, or what one network depends on."""

    network: str = ""  # name, id or unique id prefix; "": all


METHODS = (
    change("network.create", "Make a network.", NetworkCreate, Id),
    change("network.rm", "Remove a network without endpoints.", NetworkRemove, Done),
    change("network.connect", "Attach a container to a network.", NetworkConnect, Done),
    change("network.disconnect", "Detach a container from a network.", NetworkDisconnect, Done),
    change("network.prune", "Remove networks without endpoints.", NetworkPrune, Pruned),
    read("network.ls", "List networks.", ListParams, list[NetworkRow]),
    read("network.inspect", "All about networks.", Refs, list[NetworkView]),
    read(
        "network.plan",
        "What a change would do to the kernel, or without one a repair.",
        NetworkPlan,
        PlanResult,
    ),
    read("network.explain", "At which hop a packet dies, and why.", Explain, ExplainView),
    read(
        "network.check",
        "What in the kernel is not as wanted; nothing is done.",
        OnNetwork,
        DriftResult,
    ),
    change(
        "network.repair", "Make the kernel agree with what is wanted, now.", OnNetwork, DriftResult
    ),
    read("network.audit", "What is ours and nobody's.", Nothing, AuditResult),
    read("port.ls", "List published ports, with who can reach them.", ListParams, list[PortRow]),
)
