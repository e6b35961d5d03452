"""Flow ``demo``: the whole pipeline on the embedded snapshot, in minutes on two cores."""

from __future__ import annotations

from prefect import flow

from flows.retrain import retrain
from flows.screen import screen_stage

NAME = "demo"
EPOCHS = 40
MAX_ATOMS = 8


@flow(name="demo")
def demo() -> str:
    """Snapshot, featurize, train and screen; returns the id of the screen."""
    model = retrain.fn(epochs=EPOCHS, name=NAME)
    return screen_stage(model, None, "ternaries", None, None, MAX_ATOMS, "strict", 10_000, False)
