"""Snapshots of volumes whose programs are told before and after."""

from collections.abc import Sequence

import trio

from nodeagent.control.parts import Parts
from nodeagent.control.volumecopies import VolumeCopies
from nodeagent.errors import Refused
from nodeagent.model.container import ContainerRecord
from nodeagent.model.volume import VolumeCopied
from runtime.contract.container import ProcessSpec

COMMAND_S = 60.0  # for one command in one container; a guess
OUTPUT_BYTES = 2048
TIMED_OUT = -1


class Quiescing:
    """Runs a command in every container that writes to a volume, around its snapshot."""

    def __init__(self, parts: Parts, copies: VolumeCopies) -> None:
        self._parts = parts
        self._copies = copies

    async def snapshot(self, name: str, label: str, *, quiesce: str, resume: str) -> VolumeCopied:
        """Keep what the volume is now.

        Args:
            quiesce: for ``sh -c`` in each running container that may write; "" = nothing.
            resume: the same, afterwards, also if the snapshot failed.

        Raises:
            Refused: the command failed, with what it said; then there is no snapshot.
        """
        writers = self._writers(name)

        async def quiet() -> None:
            for record in writers if quiesce else ():
                await self._tell(record, quiesce)

        try:
            return await self._copies.snapshot(name, label, quiet=quiet)
        finally:
            with trio.move_on_after(COMMAND_S, shield=True):
                for record in writers if resume else ():
                    await self._tell(record, resume)

    def _writers(self, name: str) -> Sequence[ContainerRecord]:
        return [
            record
            for record in self._parts.inventory.containers.values()
            if record.phase == "running"
            and any(each.name == name and not each.read_only for each in record.mounts)
        ]

    async def _tell(self, record: ContainerRecord, command: str) -> None:
        said = bytearray()

        def sink(data: bytes) -> None:
            said.extend(data[: OUTPUT_BYTES - len(said)])

        process = ProcessSpec(
            args=("sh", "-c", command),
            env=tuple(record.env),
            cwd=record.working_dir,
            user=record.user,
        )
        code = TIMED_OUT
        with trio.move_on_after(COMMAND_S):
            code = await self._parts.runtime.probe(record.id, process, sink)
        if code:
            raise Refused(
                "the command in the container failed", container=record.name, command=command,
                status=code, says=said.decode(errors="replace").strip(),
            )  # fmt: skip
