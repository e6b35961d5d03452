"""Flow ``demo``: the whole pipeline on the embedded snapshot, in minutes on two cores."""

from __future__ import annotations

from prefect import flow

from flows.retrain import retrain
from flows.screen import screen_stage
from flows.screen_request import Request

NAME = "demo"
EPOCHS = 40
MAX_ATOMS = 8


@flow(name="demo")
def demo() -> str:
    """Snapshot, featurize, train and screen; returns the id of the screen."""
    model = retrain.fn(epochs=EPOCHS, name=NAME)
    return screen_stage(Request(model=model, max_atoms=MAX_ATOMS))
