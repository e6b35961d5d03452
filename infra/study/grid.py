"""The grid of a study: data sets x inputs x learners x depths x sizes, each cell with a budget.

It is a TOML, YAML or JSON file::

    seed = 0

    [[data]]                                  # one or more tables
    name = "oqmd-formation-enthalpy"
    table = "oqmd/formation_enthalpy.parquet" # below --data; or source = "pymatgen-expt"
    target = "delta_e_ev_atom"
    split = "given:split"                     # see irnet_core.split_texts

    [[run]]                                   # one or more products, done in this order
    data = ["oqmd-formation-enthalpy"]
    learners = ["plain", "irnet", "forest"]
    depths = [10, 17]
    sizes = [1000, "all"]
    epochs = 20
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from itertools import product
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from infra.study.classical import CLASSICAL
from irnet_core.card import MAX_MEMBERS
from irnet_core.errors import DataError
from irnet_core.notation import FAMILIES, NAMED, PLAIN
from irnet_core.recipes import RECIPES
from irnet_core.schema import FORMULA
from irnet_core.split_texts import parse_split

Inputs = Literal["composition", "structure", "both"]
BUILT_IN = ("depth", "paper", "peers", "small")


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class DataSet(_Strict):
    """A table and what is learned from it.

    Attributes
    ----------
    name : str
        Short name for tables and figures.
    table : str, optional
        Path below the folder of tables; without it ``source``.
    source : {"pymatgen-expt"}, optional
        The set that needs no download; a snapshot of a database goes by its file, as a table.
    target, formula_column : str
    split : str
        See :func:`irnet_core.split_texts.parse_split`.
    where : dict
        Rows to keep: values of a column that a row may have.
    below : float, optional
        Largest absolute value of the target in a row that is kept.
    validation_rows : int
        Most rows that validate, drawn by the seed.
    drop_shared : bool
        Leave out training rows whose composition validates too, where such a table of given roles
        would be refused.
    published : dict
        Mean absolute errors that others reached on this table, by the name of their model.
    """

    name: str = Field(pattern=r"[a-z0-9-]{1,60}")
    table: str | None = None
    source: Literal["pymatgen-expt"] | None = None
    target: str
    formula_column: str = FORMULA.name
    split: str = "random:0.1"
    where: dict[str, list[str]] = {}
    below: float | None = Field(default=None, gt=0)
    validation_rows: int = Field(default=1_000_000, ge=1)
    drop_shared: bool = False
    published: dict[str, Annotated[float, Field(gt=0)]] = {}

    @model_validator(mode="after")
    def _one_origin(self) -> DataSet:
        if (self.table is None) == (self.source is None):
            raise ValueError("a data set has either a table or a source")
        parse_split(self.split)
        return self


class Run(_Strict):
    """A product of choices with the budget of each of its cells.

    Attributes
    ----------
    data, inputs, learners, depths, sizes
        The choices. Depths concern the paper's families of networks alone; a size is a number of
        training rows or "all".
    recipe : str
        Of the networks.
    members : list of int
        Networks in an ensemble: 1 is a single one.
    epochs : int, optional
        Budget of a network; none leaves it to the recipe.
    rows : int, optional
        Budget of training rows for every learner.
    tuning_rows : int
        Training rows on which hyper-parameters of classical learners are chosen.
    """

    data: list[str] = Field(min_length=1)
    inputs: list[Inputs] = ["composition"]
    learners: list[str] = Field(min_length=1)
    depths: list[int] = [17]
    sizes: list[Annotated[int, Field(ge=2, strict=True)] | Literal["all"]] = ["all"]
    recipe: str = "modern"
    members: list[Annotated[int, Field(ge=1, le=MAX_MEMBERS)]] = [1]
    epochs: int | None = Field(default=None, ge=1)
    rows: int | None = Field(default=None, ge=2)
    tuning_rows: int = Field(default=5_000, ge=20)

    @field_validator("learners")
    @classmethod
    def _known_learners(cls, learners: list[str]) -> list[str]:
        known = (*FAMILIES, *NAMED, *CLASSICAL)
        every = [
            name
            for learner in learners
            for name in (
                CLASSICAL
                if learner == "classical"
                else FAMILIES
                if learner == "nets"
                else [learner]
            )
        ]
        if unknown := [name for name in every if name not in known]:
            raise ValueError(f"{unknown[0]!r} is no learner: choose among {', '.join(known)}")
        return every

    @field_validator("depths")
    @classmethod
    def _known_depths(cls, depths: list[int]) -> list[int]:
        if unknown := [depth for depth in depths if depth not in PLAIN]:
            raise ValueError(f"no network has {unknown[0]} layers: choose among {list(PLAIN)}")
        return depths

    @field_validator("recipe")
    @classmethod
    def _known_recipe(cls, recipe: str) -> str:
        if recipe not in RECIPES:
            raise ValueError(f"{recipe!r} is no recipe: choose among {', '.join(RECIPES)}")
        return recipe


@dataclass(frozen=True)
class Cell:
    """One learner on one data set: what is done, and within which budget.

    Attributes
    ----------
    size : int, optional
        Training rows; none is all there are.
    depth, recipe, epochs
        Of networks, none for classical learners; no epochs are the recipe's own. Networks with a
        name of their own have no depth.
    tuning_rows : int, optional
        Of classical learners.
    members : int
        Networks whose mean is taken.
    """

    data: str
    inputs: Inputs
    learner: str
    depth: int | None
    recipe: str | None
    size: int | None
    epochs: int | None
    tuning_rows: int | None
    seed: int
    members: int = 1

    @property
    def network(self) -> str:
        """Name of the network, such as irnet-17."""
        return self.learner if self.depth is None else f"{self.learner}-{self.depth}"

    @property
    def name(self) -> str:
        """Name of the learner with its depth and, of an ensemble, its members: irnet-17 (4x)."""
        return self.network if self.members == 1 else f"{self.network} ({self.members}x)"


class Grid(_Strict):
    """A whole study.

    Attributes
    ----------
    seed : int
        Of splits, samples and weights.
    minutes : float, optional
        No cell is begun after this long, unless the user says otherwise.
    data, run : list
    """

    title: str = "Study"
    seed: int = Field(default=0, ge=0)
    minutes: float | None = Field(default=None, ge=0)
    data: list[DataSet] = Field(min_length=1)
    run: list[Run] = Field(min_length=1)

    @model_validator(mode="after")
    def _known_data(self) -> Grid:
        names = [data.name for data in self.data]
        if len(set(names)) < len(names):
            raise ValueError("two data sets have one name")
        for name in (name for run in self.run for name in run.data):
            if name not in names:
                raise ValueError(f"a run names the data set {name!r}, which is not declared")
        return self

    def cells(self) -> list[Cell]:
        """All cells in the order of the file, each once."""
        return list(dict.fromkeys(cell for run in self.run for cell in self._of(run)))

    def _of(self, run: Run) -> Iterator[Cell]:
        for data, inputs, size in product(run.data, run.inputs, run.sizes):
            rows = None if size == "all" else size
            if run.rows is not None:
                rows = run.rows if rows is None else min(rows, run.rows)
            for learner in run.learners:
                if learner in CLASSICAL:
                    yield Cell(
                        data, inputs, learner, None, None, rows, None, run.tuning_rows, self.seed
                    )
                    continue
                depths = run.depths if learner in FAMILIES else (None,)
                for depth, members in product(depths, run.members):
                    yield Cell(
                        data,
                        inputs,
                        learner,
                        depth,
                        run.recipe,
                        rows,
                        run.epochs,
                        None,
                        self.seed,
                        members,
                    )

    def data_set(self, name: str) -> DataSet:
        """The data set of a name."""
        return next(data for data in self.data if data.name == name)


def read_grid(path: str) -> Grid:
    """Read a grid from a TOML, YAML or JSON file, or one of :data:`BUILT_IN` by name.

    Raises
    ------
    DataError
        If there is no such file, or it describes no grid.
    """
    if path in BUILT_IN:
        text, kind = (resources.files(__package__) / f"{path}.toml").read_text("utf-8"), ".toml"
    else:
        kind = Path(path).suffix.lower()
        try:
            text = Path(path).read_text("utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"the grid cannot be read ({error}): name a file or one of {', '.join(BUILT_IN)}",
                source=path,
            ) from error
    readers = {".toml": tomllib.loads, ".json": json.loads}
    readers |= dict.fromkeys((".yaml", ".yml"), yaml.safe_load)
    if kind not in readers:
        raise DataError("a grid is a .toml, .yaml or .json file", source=path)
    try:
        return Grid.model_validate(readers[kind](text))
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "the whole"
        raise DataError(f"{where}: {first['msg']}; correct the grid", source=path) from error
    except (ValueError, yaml.YAMLError) as error:
        why = " ".join(str(error).split())
        raise DataError(f"the grid is not well-formed: {why}", source=path) from error
