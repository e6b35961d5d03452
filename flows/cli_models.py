"""The commands ``irnet train``, ``irnet join`` and ``irnet predict``."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from flows.output import decimals, made, one_sentence, out, rejected
from infra.settings import settings
from irnet_core.schema import FORMULA

Model = Annotated[
    str,
    typer.Option(
        help="Name or id of a model, the folder of a bundle, or oqmd-formation-enthalpy, which "
        "comes with the package."
    ),
]
FormulaColumn = Annotated[str, typer.Option(help="Column that holds the formulas.")]
Network = Annotated[
    str | None,
    typer.Option(
        help="irnet-elements (vectors of the elements beside the attributes), irnet-N, "
        "srnet-N or plain-N with N of 10, 17, 24, 48, or a raw notation. By default what "
        "--from names has, irnet-elements, or for --recipe paper irnet-17."
    ),
]
Recipe = Annotated[str, typer.Option(help="modern, or paper for the published recipe.")]
Epochs = Annotated[int | None, typer.Option(min=1, help="Instead of the recipe's own number.")]
Seed = Annotated[
    int, typer.Option(min=0, max=2**63 - 1, help="Seed of weights, order of rows and split.")
]


Name = Annotated[str, typer.Option(help="Name under which the model is found.")]


class Weights(StrEnum):
    """Type the weights are stored in."""

    FP32 = "fp32"
    BF16 = "bf16"

    @property
    def stored(self) -> str:
        """Its name in a model's card."""
        return {Weights.FP32: "float32", Weights.BF16: "bfloat16"}[self]


WeightsType = Annotated[Weights, typer.Option(help="bf16 halves the size of the model's file.")]


def train(
    data: Annotated[str, typer.Option(help="CSV or Parquet table, or id or name of a snapshot.")],
    target: Annotated[str, typer.Option(help="Column to learn.")],
    split_column: Annotated[
        str | None,
        typer.Option(
            help="Column with train, val and test (never read), or a rule: random:0.2, "
            "folds:COLUMN/0, element:Fe, system:Fe-O, cluster:10/3, time:year<2010. Without it, a "
            "random tenth of the compositions validates."
        ),
    ] = None,
    formula_column: FormulaColumn = FORMULA.name,
    network: Network = None,
    recipe: Recipe = "modern",
    epochs: Epochs = None,
    seed: Seed = 0,
    name: Name = "default",
    members: Annotated[
        int, typer.Option(min=1, help="Networks of an ensemble, with seeds from --seed on.")
    ] = 1,
    weights: WeightsType = Weights.FP32,
    parent: Annotated[
        str | None,
        typer.Option(
            "--from",
            help="Name, id or folder of a model, of this target or another, to continue from: its "
            "layers are taken over, and its output if the target is the same; the learning rate is "
            "lower.",
        ),
    ] = None,
    database: Annotated[
        str | None,
        typer.Option(
            help="Database that a file's values are from, aflow, jarvis, mp or oqmd: convex hulls "
            "of its snapshots then fit the model."
        ),
    ] = None,
    hold_out: Annotated[
        str | None,
        typer.Option(
            help="A rule like those of --split-column, such as cluster:5/2, whose validation rows "
            "are left out altogether, to judge the model on with irnet evaluate --rows."
        ),
    ] = None,
) -> None:
    """Train a model: `irnet train --data table.csv --target band_gap_ev --name gaps`.

    Intervals and the domain are calibrated on the validation rows; the model's card says what they
    cover. A run that was killed goes on where it stopped.
    """
    from flows.stage import run
    from flows.train import train as flow

    with one_sentence():
        id_ = run(
            flow,
            data=data,
            target=target,
            split_column=split_column,
            formula_column=formula_column,
            network=network,
            recipe=recipe,
            epochs=epochs,
            seed=seed,
            name=name,
            members=members,
            weights=weights.stored,
            parent=parent,
            hold_out=hold_out,
            database=database,
        )
        made("models", id_)
        _metrics(id_)


def join(
    model: Annotated[
        list[str],
        typer.Option(help="Name or id of a model, or the folder of a bundle; give two or more."),
    ],
    name: Name = "default",
    weights: WeightsType = Weights.FP32,
) -> None:
    """Join models to one ensemble: `irnet join --model a --model b --name both`.

    They were trained on the same rows, by any seeds and recipes. Intervals and the domain are
    calibrated anew on the validation rows.
    """
    from flows.join import join as work

    with one_sentence():
        id_ = work(model, name, weights.stored)
        made("models", id_)
        _metrics(id_)


def predict(
    model: Model,
    input: Annotated[str, typer.Option(help="CSV or Parquet table with formulas.")],
    output: Annotated[str, typer.Option(help="File to write, .csv or .parquet.")],
    formula_column: FormulaColumn = FORMULA.name,
) -> None:
    """Add a model's predictions to a table of formulas.

    The columns are `prediction` and, where the model was calibrated for them, `prediction_std`,
    `lower_90`, `upper_90` and `domain_percentile`.

    For example `irnet predict --model gaps --input table.csv --output predicted.csv`.
    """
    from flows.predict import predict as work

    with one_sentence():
        predicted, rejected = work(model, input, output, formula_column)
    out.print(f"{predicted:,} rows predicted -> {output}", soft_wrap=True)
    if rejected:
        out.print(f"{rejected:,} rows have none, the column 'reason' says why")


def _metrics(id_: str) -> None:
    """Say which rows a model could not learn from, and how well it learned the others."""
    from flows.models import open_model
    from infra.store import Store
    from irnet_core.bounds import OPEN
    from irnet_core.calibration import MIN_ROWS
    from irnet_core.hold_out import HOLD_OUT

    store = Store(settings().store)
    bundle, _ = open_model(id_, store)
    card = bundle.card
    for kind, used in (("snapshots", "snapshot"), ("features", "features")):
        rejected(store.open(card.data[used], kind))
    found = card.metrics["validation"]
    out.print(
        f"validation: MAE {found['mae']:.4f}, RMSE {found['rmse']:.4f}, R2 {decimals(found['r2'])} "
        f"over {found['rows']:,} rows, unit {card.unit} (always their median: MAE "
        f"{found['mae_of_median']:.4f}); best epoch {card.best_epoch} of {card.epochs}",
        soft_wrap=True,
    )
    if bundle.target.bounds is not None:
        low, high = bundle.target.bounds.tolist()
        parts = [f"{low:g} or above"] * (low > -OPEN) + [f"{high:g} or below"] * (high < OPEN)
        out.print(f"predictions are kept at {' and '.join(parts)}, where many training rows are")
    if coverage := card.metrics.get("coverage"):
        out.print(
            f"90 % intervals: {100 * coverage['coverage_90']:.1f} % of {coverage['rows']:,} rows "
            f"that did not calibrate them are covered, mean width "
            f"{coverage['mean_width_90']:.4f} {card.unit}",
            soft_wrap=True,
        )
    if not card.calibration:
        out.print(f"no intervals: {found['rows']:,} rows validate, {MIN_ROWS} can calibrate some")
    if held := card.split.get(HOLD_OUT):
        out.print(
            f"held out: {held['rows']:,} rows; judge the model on them with irnet evaluate --rows",
            soft_wrap=True,
        )
