"""A machine for classic BPF: filters of packet sockets are run as the kernel runs them."""

from netdrivers.kernel.packetfilter import (
    AND,
    INSTRUCTION,
    JA,
    JEQ,
    JSET,
    LDB,
    LDH,
    LDH_X,
    LDW,
    LDW_X,
    LDXMSH,
    PROTOCOL_AT,
    RET,
    RSH,
)

SIZES = {LDB: 1, LDH: 2, LDW: 4, LDH_X: 2, LDW_X: 4}
INDEXED = {LDH_X, LDW_X}
COMPUTE = {AND: lambda a, k: a & k, RSH: lambda a, k: a >> k}
JUMP = {JEQ: lambda a, k: a == k, JSET: lambda a, k: bool(a & k), JA: lambda _a, _k: True}


def passes(program: bytes, packet: bytes, protocol: int) -> bool:
    """Whether a packet of that ethernet protocol passes; a load behind its end rejects."""
    steps = list(INSTRUCTION.iter_unpack(program))
    at = accumulator = index = 0
    while True:
        code, then, otherwise, k = steps[at]
        at += 1
        if code == RET:
            return k != 0
        if code in JUMP:
            yes = k if code == JA else then
            at += yes if JUMP[code](accumulator, k) else otherwise
        elif code in COMPUTE:
            accumulator = COMPUTE[code](accumulator, k)
        elif code == LDXMSH:
            index = 4 * (packet[k] & 15)
        elif k == PROTOCOL_AT:
            accumulator = protocol
        else:
            start = k + (index if code in INDEXED else 0)
            raw = packet[start : start + SIZES[code]]
            if len(raw) < SIZES[code]:
                return False
            accumulator = int.from_bytes(raw, "big")
