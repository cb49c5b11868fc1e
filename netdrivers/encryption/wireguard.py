"""The host's one WireGuard device, kept as it should be; the kernel's, else wireguard-go's."""

import logging
import os
from base64 import b64encode
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NoReturn, TypeVar

import trio

from netdrivers.contract.encryption import Backend, EncryptionStatus, PeerSpec, Proof, Tunnel
from netdrivers.contract.specs import IPAddress
from netdrivers.encryption import uapi
from netdrivers.encryption.canary import Canary, judge, sealed_bytes
from netdrivers.encryption.child import Child
from netdrivers.encryption.device import Device, Seen, Steps, build_peers, build_specs, diff
from netdrivers.encryption.kernelwg import build_requests, build_seen
from netdrivers.encryption.keys import PREFIX, address_of, create_key, parse_key, public_key
from netdrivers.encryption.witness import Witness
from netdrivers.errors import NetDriverError, Refused
from netdrivers.kernel.netns import Namespaces
from netdrivers.kernel.sealed import Sealed

log = logging.getLogger(__name__)
T = TypeVar("T")

DEFAULT_PORT: Final = 51820
LOOK_S: Final = 5.0  # between two looks at what nobody tells of, or two tries
AGAIN_S: Final = 0.2  # until a child that died is started again
PROVE_S: Final = 20.0  # between two proofs
PROOF_S: Final = 1.0  # for a known packet to leave, and to be answered
PIN: Final = "sealed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Whose device it is."""

    key_file: Path
    run: Path
    agent_id: str
    port: int = DEFAULT_PORT
    kernel: bool = True  # the kernel's WireGuard may be used


@dataclass(slots=True)
class WireGuard:
    """``contract.encryption.Encryption``."""

    place: Place
    on_change: Callable[[str], None] = lambda _: None  # told in words what was mended
    mtu_bytes: int = 1420
    restarts: int = 0  # of the child, by this object and after its first look
    _peers: Mapping[str, PeerSpec] | None = None  # None: nobody has said who they are
    _has_looked: bool = False
    _private: bytes = b""
    _problem: str = "it was not asked for yet"
    _backend: Backend = ""
    _family: int = 0
    _sealed: Sealed | None = None
    _turn: trio.Lock = field(default_factory=trio.Lock)
    _thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))
    _wanted: trio.Event = field(default_factory=trio.Event)
    _child: Child = field(init=False)
    _witness: Witness = field(default_factory=Witness)
    _proofs: dict[str, Proof] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._child = Child(self.name, self.place.run / "wireguard.log")

    @property
    def name(self) -> str:
        """The device's."""
        return f"wg-{self.place.agent_id}"[:15]

    # --- the key -------------------------------------------------------------------------------

    async def key(self) -> str:
        """The public key; a key is made where there never was one.

        Raises:
            Refused: the file is not a key. It is not replaced: other hosts know it.
        """
        self._find_place()
        if not self._private:
            self._private = await self._off_loop(lambda: load_key(self.place.key_file))
        return public_key(self._private)

    def _find_place(self) -> Sealed:
        if self._sealed is None:
            self._sealed = Sealed(self.place.run / PIN, self.name, PREFIX, Namespaces())
            self._child.home = self._sealed.namespaces.home
        return self._sealed

    async def close(self) -> None:
        """Let go of it: the device works on."""
        self._child.let_go()
        self._witness.close()
        if self._sealed is not None:
            self._sealed.namespaces.close()
            self._sealed = None
            self._private = b""

    # --- what should be ------------------------------------------------------------------------

    async def apply(self, peers: Mapping[str, PeerSpec] | None, *, mtu_bytes: int = 1420) -> None:
        """These are the peers. Raises Unavailable, Refused: it cannot be had, and why."""
        wanted = self._peers if peers is None else peers
        if wanted == self._peers and mtu_bytes == self.mtu_bytes and not self._problem:
            return  # the loop looks after what is as it was
        self._peers, self.mtu_bytes = wanted, mtu_bytes
        self._wanted.set()
        await self.mend()

    async def run(self) -> NoReturn:
        """Look again when the child ends, and every few seconds, once it is wanted."""
        while True:
            await self._wanted.wait()
            try:
                await self.mend()
            except NetDriverError as exc:
                log.warning("encryption cannot be had, so nothing is sent", extra={"why": str(exc)})
            with trio.move_on_after(LOOK_S):
                if self._problem or self._backend != "wireguard-go":
                    await trio.sleep(LOOK_S)
                await self._child.wait_exit()
                await trio.sleep(AGAIN_S)

    # --- what is seen --------------------------------------------------------------------------

    async def look_for(self, hosts: Collection[IPAddress], tunnels: frozenset[Tunnel]) -> None:
        """See the contract."""
        home = self._find_place().namespaces

        def look() -> None:
            with home.inside(home.home):
                self._witness.look_for(hosts, tunnels)

        await self._off_loop(look)
        self._witness.start()

    async def watch(self) -> NoReturn:
        """Count what is clear, and prove again and again that nothing is."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._witness.run)
            while True:
                await self._wanted.wait()
                await self.prove()
                leaked = self._witness.left.total()
                await trio.sleep(PROVE_S)
                if self._witness.left.total() > leaked:
                    self.on_change("packets of an encrypted network were seen to leave in clear")

    async def prove(self) -> None:
        """Send a known packet to each peer, and see how it leaves."""
        peers = dict(self._peers or {})
        self._proofs = {key: proof for key, proof in self._proofs.items() if key in peers}
        for key, peer in peers.items():
            if self._problem:
                return  # nothing can be sent, which is told elsewhere
            try:
                proof = await self._prove(peer)
            except (OSError, NetDriverError) as exc:
                log.info("no proof of encryption", extra={"peer": key, "error": str(exc)})
                continue
            if proof.result == "clear" and self._proofs.get(key, proof).result != "clear":
                self.on_change("a known packet was seen in clear")
            if proof.result or key not in self._proofs:
                self._proofs[key] = proof

    async def _prove(self, peer: PeerSpec) -> Proof:
        sealed, canary = self._find_place(), Canary(self.place.port)

        def open_both() -> None:
            with sealed.namespaces.inside(sealed.namespaces.home):
                canary.listen()
            sealed.enter(lambda: canary.send(address_of(peer.key)))

        try:
            await self._off_loop(open_both)
            with trio.move_on_after(PROOF_S):
                await canary.wait_heard()
            seen, answered = canary.seen(), canary.is_answered()
        finally:
            canary.close()
        result = judge(seen, canary.token, peer.host, sealed_bytes(canary.size))
        return Proof(at_s=trio.current_time(), result=result, answered=answered)

    async def mend(self) -> None:
        """Look at it, and set right what is not as it should be. Raises as ``apply``."""
        async with self._turn:
            try:
                await self._ensure()
                self._problem = ""
            except NetDriverError as exc:
                self._problem = str(exc)
                raise

    async def _ensure(self) -> None:
        own = await self.key()
        sealed = self._find_place()
        await self._off_loop(sealed.ensure)
        made = await self._ensure_device(sealed)
        mtu, address = self.mtu_bytes, address_of(own)
        set_ = await self._off_loop(lambda: sealed.set_up(address, mtu))
        seen = await self._read(sealed)
        if self._peers is None:  # an agent before this one knew them, and the store is silent yet
            self._peers = build_specs(seen)
        want = Device(
            private=self._private, port=self.place.port, peers=build_peers(self._peers, own)
        )
        steps = diff(seen, want, own)
        if steps:
            await self._set(sealed, steps)
        self._has_looked = True
        if made or set_:
            self.on_change("device made" if made else "device set right")

    async def _ensure_device(self, sealed: Sealed) -> bool:
        """Whether it had to be made."""
        found = await self._off_loop(sealed.find)
        if found is not None and found.kind == "wireguard":
            self._backend, self._family = "kernel", await self._off_loop(sealed.family)
            return False
        if found is None and self.place.kernel and await self._off_loop(sealed.add_kernel_device):
            self._backend, self._family = "kernel", await self._off_loop(sealed.family)
            return True
        self._backend = "wireguard-go"
        if await self._child.start():
            self.restarts += self._has_looked
            found = None
        elif found is None:  # it runs, and its link is not where it belongs
            await self._child.stop()
            await self._child.start()
        if found is None:
            await self._off_loop(sealed.take_in)
        return found is None

    async def _read(self, sealed: Sealed) -> Seen:
        if self._backend == "kernel":
            return build_seen(await self._off_loop(lambda: sealed.read_kernel(self._family)))
        return uapi.parse_get(await self._child.ask(uapi.GET))

    async def _set(self, sealed: Sealed, steps: Steps) -> None:
        if self._backend == "kernel":
            requests = build_requests(self._family, self.name, steps)
            await self._off_loop(lambda: sealed.ask_kernel(requests))
        else:
            uapi.check_answer(await self._child.ask(uapi.build_set(steps)))

    # --- how it is -----------------------------------------------------------------------------

    async def status(self) -> EncryptionStatus:
        """Never raises: what is wrong is in it."""
        key, status, problem = "", {}, self._problem
        try:
            key = await self.key()
            if not problem and self._sealed is not None:
                async with self._turn:
                    status = dict((await self._read(self._sealed)).status)
        except NetDriverError as exc:
            problem = str(exc)
        return EncryptionStatus(
            backend=self._backend,
            key=key,
            address=address_of(key) if key else None,
            port=self.place.port,
            peers=status,
            problem=problem,
            restarts=self.restarts,
            proofs=dict(self._proofs),
            came_clear=dict(self._witness.came),
            left_clear=dict(self._witness.left),
        )

    async def remove(self) -> None:
        """Take everything away but the key."""
        async with self._turn:
            self._wanted = trio.Event()
            self._problem = "it was taken away"
            self._peers, self._has_looked = None, False
            self._proofs = {}
            sealed = self._find_place()  # a former agent may have made it
            await self._child.stop()
            await self._off_loop(sealed.remove)

    async def _off_loop(self, work: Callable[[], T]) -> T:
        return await trio.to_thread.run_sync(work, limiter=self._thread)


def load_key(path: Path) -> bytes:
    """The private key in a file; one is made and kept where there never was one."""
    known = path.with_suffix(".pub")
    try:
        key = parse_key(path.read_text(encoding="ascii").strip())
    except FileNotFoundError as exc:
        if known.exists():  # with another key this host would be another one to all others
            raise Refused(
                "the key of this host is gone: bring it back, or remove the file of its public key "
                "to go on with a new one",
                path=path,
                public=known,
            ) from exc
        return _make_key(path)
    except (OSError, ValueError, NetDriverError) as exc:
        raise Refused("the key of this host cannot be read", path=path, reason=str(exc)) from exc
    return key


def _make_key(path: Path) -> bytes:
    key = create_key()
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    new = path.with_suffix(".new")
    new.unlink(missing_ok=True)
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(b64encode(key) + b"\n")
        file.flush()
        os.fsync(file.fileno())
    new.replace(path)
    path.with_suffix(".pub").write_text(f"{public_key(key)}\n", encoding="ascii")
    return key
