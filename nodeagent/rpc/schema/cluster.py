"""RPC methods of a cluster and its nodes: parameters, results. Pure."""

from nodeagent.model.cluster import (
    CertRequest,
    CertView,
    ClusterAdmit,
    ClusterAdmitted,
    ClusterEnter,
    ClusterInit,
    ClusterJoin,
    ClusterLeave,
    ClusterSign,
    ClusterView,
    NodeRef,
    NodeRemove,
    NodeUpdate,
    NodeView,
    Secret,
    TokenRequest,
    Warned,
)
from nodeagent.rpc.schema.shapes import Done, Id, ListParams, Nothing, Refs, change, read

METHODS = (
    change("cluster.init", "Begin a cluster with this agent as manager.", ClusterInit, Id),
    change("cluster.join", "Enter a cluster.", ClusterJoin, Id),
    change("cluster.leave", "Leave the cluster.", ClusterLeave, Done),
    read("cluster.info", "This agent's place in a cluster.", Nothing, ClusterView),
    change("cluster.token", "The join token of a role.", TokenRequest, Secret),
    change("cluster.certificate", "A certificate for a program.", CertRequest, CertView),
    read("cluster.authority", "Whom the cluster trusts (PEM).", Nothing, str),
    change("cluster.admit", "Let a host in that has a token.", ClusterAdmit, ClusterAdmitted),
    change("cluster.enter", "Let a node have endpoints on a network.", ClusterEnter, Done),
    change("cluster.renew", "Renew this node's certificate now.", Nothing, Done),
    change("cluster.sign", "Give a node a new certificate.", ClusterSign, str),
    change("cluster.goodbye", "A node leaves.", Nothing, Done),
    read("node.ls", "Nodes of the cluster.", ListParams, list[NodeView]),
    read("node.inspect", "All about nodes.", Refs, list[NodeView]),
    change("node.update", "Change labels or availability.", NodeUpdate, Done),
    change("node.promote", "Make a worker a manager.", NodeRef, Warned),
    change("node.demote", "Make a manager a worker.", NodeRef, Warned),
    change("node.rm", "Remove a node that is down.", NodeRemove, Done),
)
