"""Mirrors of Docker's registry: asked first, in their order; the registry does what they cannot."""

import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Final, TypeVar

from runtime import errors
from runtime.image.reference import DEFAULT_DOMAIN, Reference
from runtime.image.registry import Registry, RegistryOptions, open_registry

T = TypeVar("T")
log = logging.getLogger(__name__)
TRIES: Final = 2  # of a mirror: the next one may be well
# What is wrong with whom we asked; a full disk is full for all of them.
THEIRS: Final = (errors.Missing, errors.Refused, errors.Unavailable)


async def ask_nearest(
    ref: Reference, options: RegistryOptions, step: Callable[[Registry], Awaitable[T]]
) -> T:
    """Do a step with the first of mirrors and registry that can.

    A mirror gets no credentials but those for its own name.

    Raises:
        Missing, Refused, Unavailable: the registry's own; ``mirrors`` says what theirs were.
    """
    failed: list[str] = []
    hasty = replace(options, tries=min(TRIES, options.tries))
    for mirror in options.mirrors if ref.domain == DEFAULT_DOMAIN else ():
        try:
            async with open_registry(ref, hasty, mirror=mirror) as registry:
                return await step(registry)
        except THEIRS as exc:
            log.warning("mirror %s of %s is passed over: %s", mirror.url, ref.domain, exc)
            failed.append(f"{mirror.url}: {exc}")
    try:
        async with open_registry(ref, options) as registry:
            return await step(registry)
    except THEIRS as exc:
        if failed:
            exc.fields["mirrors"] = "; ".join(failed)
        raise
