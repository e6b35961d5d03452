"""What the deployments need of a Prefect server: that it is ready, and has their work pools.

``python -m flows.server`` sees to both, before a worker starts, and :mod:`flows.deployments` before
deployments are registered. Run again, it changes nothing.
"""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
from prefect.settings import PREFECT_API_URL, PREFECT_CLOUD_API_URL

from infra.pull.answers import shown_url
from irnet_core.errors import IRNetError

DEPLOYMENTS = Path("prefect.yaml")


def wait_until_ready(url: str, seconds: float) -> None:
    """Return as soon as a Prefect server answers and has its database.

    Parameters
    ----------
    url : str
        Address of its API, such as ``http://127.0.0.1:4200/api``.
    seconds : float
        How long to go on asking; 0 asks once.

    Raises
    ------
    IRNetError
        If it is not ready by then, or something else answers.
    """
    end = time.monotonic() + seconds
    while True:
        try:
            answer = httpx.get(f"{url}/ready", timeout=10.0)
        except httpx.TransportError:  # it is not up yet, or not there
            pass
        except httpx.InvalidURL as error:
            raise IRNetError(
                f"PREFECT_API_URL is {shown_url(url)!r}, no address: {error}"
            ) from error
        else:
            if _is_ready(answer, url):
                return
        if time.monotonic() >= end:
            raise IRNetError(
                f"no Prefect server answers at {shown_url(url)}: start one with make server, or "
                "unset PREFECT_API_URL to do without"
            )
        time.sleep(0.5)


def _is_ready(answer: httpx.Response, url: str) -> bool:
    """Whether a server has its database; raises IRNetError where it is no API of Prefect."""
    if answer.status_code in (401, 403) or url.startswith(PREFECT_CLOUD_API_URL.value()):
        return True  # asks for credentials, which Prefect's own client has
    if answer.status_code >= 500:
        return False
    kind = answer.headers.get("content-type", "")
    if answer.status_code != 200 or not kind.startswith("application/json"):
        raise IRNetError(
            f"what answers at {shown_url(url)} is no API of Prefect: let PREFECT_API_URL end in "
            "/api, as in http://127.0.0.1:4200/api"
        )
    return True


def read_deployments(file: Path = DEPLOYMENTS) -> list[dict[str, Any]]:
    """Deployments of a file, as they stand there.

    Raises
    ------
    IRNetError
        If there is no such file.
    """
    import yaml

    if not file.is_file():
        raise IRNetError(f"there is no {file} here: run this in the clone")
    found: list[dict[str, Any]] = yaml.safe_load(file.read_text(encoding="utf-8"))["deployments"]
    return found


def create_work_pools() -> list[str]:
    """Create the work pools that the deployments name, where they are not there yet.

    Returns
    -------
    list of str
        Names of the pools, sorted. They run flows as processes on the worker's machine.

    Raises
    ------
    IRNetError
        If there is no such file.
    """
    # heavy, and the command line imports this module to see whether the server answers
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    names = sorted({deployment["work_pool"]["name"] for deployment in read_deployments()})
    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client:
        for name in names:
            pool = WorkPoolCreate(name=name, type=ProcessWorker.type, base_job_template=template)
            with suppress(ObjectAlreadyExists):
                client.create_work_pool(pool)
    return names


if __name__ == "__main__":
    api = PREFECT_API_URL.value()
    try:
        if not api:
            raise IRNetError("set PREFECT_API_URL, for example to http://127.0.0.1:4200/api")
        wait_until_ready(api, seconds=300)
        sys.stdout.write(f"work pools at {shown_url(api)}: {', '.join(create_work_pools())}\n")
    except IRNetError as error:
        sys.exit(f"error: {error}")
