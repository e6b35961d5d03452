"""What ``prefect.yaml`` says, held against the flows and against what the server has.

``python -m flows.deployments`` goes before ``prefect deploy --all``; ``make deploy`` runs both.
Prefect alone registers parameters that no flow has, of which every run would crash, and leaves
schedules alone that the file no longer has.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from pathlib import Path
from typing import Any

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.settings import PREFECT_API_URL

from flows.server import DEPLOYMENTS, create_work_pools, read_deployments, wait_until_ready
from infra.pull.answers import shown_url
from irnet_core.errors import IRNetError


def listed(file: Path = DEPLOYMENTS) -> list[dict[str, Any]]:
    """Deployments of a file whose flows and parameters are there.

    Raises
    ------
    IRNetError
        If there is no such file, or an entrypoint or a parameter in it that no flow has.
    """
    found = read_deployments(file)
    for deployment in found:
        where = f"{file}, deployment {deployment['name']!r}"
        module, _, name = str(deployment["entrypoint"]).rpartition(".")
        try:
            flow = getattr(importlib.import_module(module), name).fn
        except (ImportError, AttributeError, ValueError) as error:
            raise IRNetError(f"{where}: there is no flow {module}.{name}; correct it") from error
        known = list(inspect.signature(flow).parameters)
        for parameter in deployment.get("parameters") or {}:
            if parameter not in known:
                raise IRNetError(
                    f"{where}: its flow has no parameter {parameter!r}; choose among "
                    + ", ".join(known)
                )
    return found


def remove_schedules(deployments: list[dict[str, Any]], client: SyncPrefectClient) -> list[str]:
    """Remove the schedules of listed deployments that the file no longer has; returns their names.

    Schedules without a slug are not from the file, where each has one.
    """
    slugs = {
        (d["entrypoint"], d["name"]): {s.get("slug") for s in d.get("schedules") or ()}
        for d in deployments
    }
    removed = []
    for there in client.read_deployments(limit=200):
        for schedule in there.schedules:
            kept = slugs.get((there.entrypoint, there.name))
            if kept is not None and schedule.slug and schedule.slug not in kept:
                client.delete_deployment_schedule(there.id, schedule.id)
                removed.append(f"{there.name}: {schedule.slug}")
    return sorted(removed)


def unlisted(deployments: list[dict[str, Any]], client: SyncPrefectClient) -> list[str]:
    """Deployments of these flows that the server has and the file has not, as ``flow/name``."""
    names = {(d["entrypoint"], d["name"]) for d in deployments}
    ours = {d["entrypoint"].partition(".")[0] for d in deployments}
    return sorted(
        f"{client.read_flow(there.flow_id).name}/{there.name}"
        for there in client.read_deployments(limit=200)
        if (there.entrypoint or "").partition(".")[0] in ours
        and (there.entrypoint, there.name) not in names
    )


def main() -> None:
    """Check the file, wait for the server, and make it ready for what the file says."""
    url = PREFECT_API_URL.value()
    if not url:
        raise IRNetError("set PREFECT_API_URL, for example to http://127.0.0.1:4200/api")
    deployments = listed()
    wait_until_ready(url, seconds=300)
    sys.stdout.write(f"work pools at {shown_url(url)}: {', '.join(create_work_pools())}\n")
    with get_client(sync_client=True) as client:
        for name in remove_schedules(deployments, client):
            sys.stdout.write(f"removed the schedule {name}, which {DEPLOYMENTS} no longer has\n")
        for name in unlisted(deployments, client):
            sys.stdout.write(
                f"{name} is on the server but not in {DEPLOYMENTS}, and goes on by its schedule: "
                f"prefect deployment delete {name}\n"
            )


if __name__ == "__main__":
    try:
        main()
    except IRNetError as error:
        sys.exit(f"error: {error}")
