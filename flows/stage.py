"""Stages: one Prefect task each inside a flow run, plain functions elsewhere.

With a Prefect server (``PREFECT_API_URL`` or an active profile), flows and their stages are
recorded there. Without one the same functions simply run: nothing has to be started for it, and
nothing is left behind when a run is killed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

import httpx
from prefect import Flow, get_run_logger, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL

from flows.output import headline, left_out
from flows.server import wait_until_ready
from infra.manifest import utc_now
from infra.pull.answers import shown_url
from infra.settings import settings
from infra.store import Store
from irnet_core.errors import IRNetError

P = ParamSpec("P")
R = TypeVar("R")


def stage(name: str, makes: str | None = None) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a stage.

    A stage takes and returns ids, paths and parameters, never frames; what it makes lies in the
    store, which also caches it, so Prefect is told not to hash inputs.

    Parameters
    ----------
    name : str
    makes : str, optional
        Kind of what it returns the id of; the log of the run then says what that is.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        as_task: Any = task(name=name, cache_policy=NO_CACHE)(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            if FlowRunContext.get() is None:
                return function(*args, **kwargs)
            begun = utc_now()
            result: R = as_task(*args, **kwargs)
            if makes is not None:
                _log(makes, str(result), begun)
            return result

        return call

    return wrap


def _log(kind: str, id_: str, begun: str) -> None:
    """Tell the log of a run what a stage has made, or found made: it has no terminal to read."""
    artifact = Store(settings().store).open(id_, kind)
    manifest, log = artifact.manifest, get_run_logger()
    error = manifest.counts.get("validation_mae")
    mae = "" if error is None else f", validation MAE {error:.4g}"
    since = "" if manifest.finished >= begun else f"; nothing is new since {manifest.finished}"
    log.info("%s%s%s", headline(artifact), mae, since)
    if said := left_out(artifact):
        log.info("%s", said)


def run(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow through the Prefect server if there is one, else as a plain function.

    Raises
    ------
    IRNetError
        If ``PREFECT_API_URL`` names a server that does not answer, or no longer.
    """
    url = PREFECT_API_URL.value()
    if not url:
        return flow.fn(*args, **kwargs)
    wait_until_ready(url, seconds=0)
    try:
        return flow(*args, **kwargs)
    except httpx.TransportError as error:  # those of pulls are errors of their sources
        raise IRNetError(
            f"the Prefect server at {shown_url(url)} was lost on the way: start it and run this "
            "again, what was finished is in the store"
        ) from error
