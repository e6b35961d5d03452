"""Train the members of an ensemble: equal networks that differ in their seed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextvars import copy_context
from functools import partial
from threading import Event

import torch

from irnet_core.checkpoint import Folder, Prefixed
from irnet_core.errors import TrainingError
from irnet_core.recipes import Recipe
from irnet_core.training import Fitted, ScaledData, Start, Status, TrainingData, fit


def fit_members(
    data: TrainingData,
    notation: str,
    recipe: Recipe,
    *,
    seed: int,
    members: int,
    device: torch.device,
    folder: Folder | None,
    starts: tuple[Start, ...] = (),
    keep: bool = False,
    choose: bool = True,
    report: Callable[[int, Status], None],
) -> list[Fitted]:
    """Train members with seeds from `seed` on, each from its own checkpoint.

    On a CPU they train side by side, a share of the threads each: a second thread speeds up the
    products of one network less than a second network uses it. As with a single network, the same
    number of threads gives the same weights.

    Parameters
    ----------
    data, notation, recipe, device
        As for :func:`irnet_core.training.fit`.
    seed, members : int
    folder : Folder, optional
        Where checkpoints go. A member that has finished is not trained again.
    starts : tuple of Start
        Networks of one model to continue from, in turn: they have the same scalers.
    keep : bool
        Keep the last checkpoint of a single network too.
    choose : bool
        As for :func:`irnet_core.training.fit`.
    report : callable
        Called with a member's number and its :class:`Status`, one call at a time or not.

    Returns
    -------
    list of Fitted
        In the order of their seeds.

    Raises
    ------
    TrainingError
        If a member cannot be trained; the others then stop.
    """
    threads = torch.get_num_threads()
    at_once = min(members, threads) if device.type == "cpu" else 1
    stopped = Event()
    scaled = ScaledData(data, recipe, device, starts[0] if starts else None)

    def heard(member: int, status: Status) -> None:
        if stopped.is_set():
            raise TrainingError("another member of the ensemble could not be trained")
        report(member, status)

    def one(member: int) -> Fitted:
        own = folder
        if folder is not None and members > 1:
            own = Prefixed(folder, f"member-{member}-")
        return fit(
            scaled,
            notation,
            recipe,
            seed=seed + member,
            folder=own,
            start=starts[member % len(starts)] if starts else None,
            keep=members > 1 or keep,
            choose=choose,
            report=partial(heard, member),
        )

    if at_once == 1:
        return [one(member) for member in range(members)]
    share = (threads // at_once,)
    with ThreadPoolExecutor(at_once, "member", torch.set_num_threads, share) as pool:
        try:
            # each its own copy of the context, which knows where the caller's log goes
            jobs = [pool.submit(copy_context().run, one, member) for member in range(members)]
            for job in as_completed(jobs):
                job.result()  # the first error, not that of the first member
            return [job.result() for job in jobs]
        finally:
            stopped.set()
            pool.shutdown(cancel_futures=True)
            torch.set_num_threads(threads)
