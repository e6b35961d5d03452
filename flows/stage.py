"""Stages: one Prefect task each inside a flow run, plain functions elsewhere.

With a Prefect server (``PREFECT_API_URL`` or an active profile), flows and their stages are
recorded there. Without one the same functions simply run: nothing has to be started for it, and
nothing is left behind when a run is killed.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Flow, task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext
from prefect.settings import PREFECT_API_URL

from flows.server import wait_until_ready

P = ParamSpec("P")
R = TypeVar("R")


def stage(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function a stage.

    A stage takes and returns ids, paths and parameters, never frames; what it makes lies in the
    store, which also caches it, so Prefect is told not to hash inputs.
    """

    def wrap(function: Callable[P, R]) -> Callable[P, R]:
        as_task: Any = task(name=name, cache_policy=NO_CACHE)(function)

        @functools.wraps(function)
        def call(*args: P.args, **kwargs: P.kwargs) -> R:
            result: R = (as_task if FlowRunContext.get() else function)(*args, **kwargs)
            return result

        return call

    return wrap


def run(flow: Flow[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a flow through the Prefect server if there is one, else as a plain function.

    Raises
    ------
    IRNetError
        If ``PREFECT_API_URL`` names a server that does not answer.
    """
    url = PREFECT_API_URL.value()
    if url:
        wait_until_ready(url, seconds=0)
    result: R = (flow if url else flow.fn)(*args, **kwargs)
    return result
