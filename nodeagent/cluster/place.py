"""What an agent keeps of its membership on disk: who it is, and with which key."""

import os
import shutil
import ssl
from pathlib import Path
from typing import Final

import msgspec

from nodeagent.cluster import ca
from nodeagent.errors import Refused
from nodeagent.model.cluster import ClusterSelf

KEY_MODE: Final = 0o600


class ClusterPlace:
    """``ROOT/cluster``. Calls block for some local writes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self) -> ClusterSelf | None:
        """Who this agent is; None outside a cluster.

        Raises:
            Refused: it is damaged.
        """
        try:
            raw = (self.folder / "self.json").read_bytes()
        except FileNotFoundError:
            return None
        try:
            return msgspec.json.decode(raw, type=ClusterSelf)
        except msgspec.DecodeError as exc:
            raise Refused(
                "who this agent is in its cluster cannot be read: bring the file back, or remove "
                "its folder and join again",
                path=self.folder / "self.json",
                reason=str(exc),
            ) from exc

    def is_there(self) -> bool:
        """Whether this agent is of a cluster, even if that cannot be read now."""
        return (self.folder / "self.json").exists()

    def write(self, own: ClusterSelf) -> None:
        """Durable when it returns."""
        self._write("self.json", msgspec.json.encode(own))

    def write_identity(self, authority: bytes, pair: ca.Pair) -> None:
        """Authorities that are trusted, and the certificate of this node."""
        self._write("ca.crt", authority)
        self._write("node.key", pair.key)
        self._write("node.crt", pair.certificate)

    def write_authority(self, bundle: bytes) -> None:
        """Trust these from now on; who connects then is looked at so."""
        self._write("ca.crt", bundle)

    def write_store_authority(self) -> None:
        """The store's member trusts the same, once it is started anew."""
        self._write("store-ca.crt", self.authority())

    def has_store_trust(self) -> bool:
        """Whether it was ever said whom the store's member trusts."""
        return (self.folder / "store-ca.crt").exists()

    def has_store_authority(self) -> bool:
        """Whether the store's member was started with what is trusted now."""
        try:
            return (self.folder / "store-ca.crt").read_bytes() == self.authority()
        except FileNotFoundError:
            return False

    def write_certificate(self, certificate: bytes) -> None:
        """Another certificate for the key that is there (SSLError: it is not for it)."""
        self._write("node.crt.try", certificate)
        trial = self.folder / "node.crt.try"
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(trial, self.folder / "node.key")
        except ssl.SSLError:
            trial.unlink()
            raise
        trial.replace(self.folder / "node.crt")

    def write_peer(self, pair: ca.Pair) -> None:
        """What this node's member of the store shows to the other members."""
        self._write("peer.pem", pair.certificate + pair.key)

    def has_peer(self) -> bool:
        """Whether it has that."""
        return (self.folder / "peer.pem").exists()

    def forget_member(self) -> None:
        """Remove what this node's member of the store knew, and showed."""
        shutil.rmtree(self.folder / "data", ignore_errors=True)
        (self.folder / "peer.pem").unlink(missing_ok=True)

    def key(self) -> bytes:
        """This node's, PEM: a secret."""
        return (self.folder / "node.key").read_bytes()

    def write_founding(self, authority: ca.Pair) -> None:
        """Keep the authority until it is in the store."""
        self._write("founding.crt", authority.certificate)
        self._write("founding.key", authority.key)

    def read_founding(self) -> ca.Pair | None:
        """The authority that is not yet known to be in the store."""
        try:
            return ca.Pair(
                certificate=(self.folder / "founding.crt").read_bytes(),
                key=(self.folder / "founding.key").read_bytes(),
            )
        except FileNotFoundError:
            return None

    def write_backup(self, data: bytes) -> None:
        """Keep a backup until its rows are in the store."""
        self._write("founding.backup", data)

    def read_backup(self) -> bytes | None:
        """The backup that the store begins with."""
        try:
            return (self.folder / "founding.backup").read_bytes()
        except FileNotFoundError:
            return None

    def forget_founding(self) -> None:
        """The store has it now."""
        for name in ("founding.key", "founding.crt", "founding.backup"):
            (self.folder / name).unlink(missing_ok=True)

    def certificate(self) -> bytes:
        """This node's, PEM."""
        return (self.folder / "node.crt").read_bytes()

    def authority(self) -> bytes:
        """Authorities that are trusted, PEM."""
        return (self.folder / "ca.crt").read_bytes()

    def forget(self) -> None:
        """Remove all of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _write(self, name: str, data: bytes) -> None:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        new = self.folder / f"{name}.new"
        new.unlink(missing_ok=True)
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, KEY_MODE)
        with os.fdopen(fd, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self.folder / name)
        folder = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)  # a name is durable with its folder
        finally:
            os.close(folder)

    # --- TLS -----------------------------------------------------------------------------------

    def client_context(self) -> ssl.SSLContext:
        """For this node as a client of the cluster's stores and agents."""
        context = ssl.create_default_context(cadata=self.authority().decode())
        context.minimum_version = ssl.TLSVersion.TLSv1_2  # etcd 3.4 of Debian has 1.3, too
        context.load_cert_chain(self.folder / "node.crt", self.folder / "node.key")
        return context

    def store_context(self) -> ssl.SSLContext:
        """The same, for HTTP/2."""
        context = self.client_context()
        context.set_alpn_protocols(["h2"])
        return context

    def server_context(self) -> ssl.SSLContext:
        """For clients of this agent. One without a certificate may do no more than ask to join."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_3
        context.load_verify_locations(cadata=self.authority().decode())
        context.load_cert_chain(self.folder / "node.crt", self.folder / "node.key")
        context.verify_mode = ssl.CERT_OPTIONAL
        context.num_tickets = 0  # a blocking client would wait behind one for what is not sent
        return context


def joiner_context() -> ssl.SSLContext:
    """For a host that knows no authority yet: the caller checks the pin of its token.

    Nothing is sent before that check.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context
