"""A container and the conmon that watches it, made by one call."""

from runtime.container import execs, supervisor
from runtime.container.bundle import Places
from runtime.container.conmon import Command
from runtime.container.oci import Oci
from runtime.container.supervisor import Record
from runtime.contract.container import ContainerSpec
from runtime.errors import Refused


async def spawn(conmon: str, runtime: Oci, places: Places, spec: ContainerSpec) -> Record:
    """Start conmon, which has the runtime make the container of its bundle.

    Raises:
        Refused: the runtime said no, in its words.
    """
    process = spec.process
    command = Command(
        conmon=conmon,
        runtime=runtime.argv,
        container_id=spec.id,
        bundle=places.bundle(spec.id),
        live=places.live(spec.id),
        log=places.log(spec.id) if spec.keeps_log else None,
        temporary=places.temporary,
        tty=process.tty,
        stdin=process.stdin,
        keep_stdin=process.tty or not process.stdin_once,
    )
    word = await execs.run_conmon(command)
    if word.data <= 0:
        raise execs.classify(word.message) or Refused(
            "create container", id=spec.id, says=word.message
        )
    pid = supervisor.read_pid(command.conmon_pid_file)
    return Record(
        pid=word.data,
        ticks=supervisor.read_ticks(word.data),
        conmon_pid=pid,
        conmon_ticks=supervisor.read_ticks(pid),
        tty=process.tty,
        stdin=process.stdin,
        runtime=runtime.kind,
    )
