"""What a screen looks for: objectives, constraints and the attitude to risk, made into one score.

An objective or a constraint is a short text over the properties that are predicted::

    minimise energy_above_hull           smaller is better
    maximise bulk_modulus_gpa per 50     larger is better, counted in steps of 50 GPa
    band_gap_ev in 1.1..1.7              best inside, worse with the distance outside
    energy_above_hull <= 0.05            best at or below

Scores are costs: the smallest is best. With several objectives each is counted in its own step, so
that the sum does not depend on units.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

import torch
from torch import Tensor

from irnet_core.errors import ScreenError
from irnet_core.screening.estimates import Estimate

Risk = Literal["mean", "bound", "probability"]
"""How uncertainty counts: ``"mean"`` takes predictions as they are, ``"bound"`` the worse end of
each 90 % interval, ``"probability"`` the chance that all objectives are met."""

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_PER = rf"(?:\s+per\s+({_NUMBER}))?"
_NAME = r"(\S(?:.*?\S)??)"  # of a column, which may have blanks
_DIRECTED = re.compile(rf"(minimise|minimize|maximise|maximize)\s+{_NAME}{_PER}")
_RANGE = re.compile(rf"{_NAME}\s+in\s+({_NUMBER})?\s*\.\.\s*({_NUMBER})?{_PER}")
_BOUND = re.compile(rf"([^\s<>=](?:[^<>=]*?[^\s<>=])??)\s*(<=|>=)\s*({_NUMBER}){_PER}")
_MOST_LIKELY = 1e-300  # of a probability of 0 no logarithm can be taken


@dataclass(frozen=True)
class Objective:
    """One aim.

    Attributes
    ----------
    column : str
        Property.
    direction : int
        1 to minimise, -1 to maximise, 0 to be within `low` and `high`.
    low, high : float
        Interval of an objective of direction 0, infinite where there is no bound.
    step : float, optional
        Difference that counts as 1 beside other objectives, in the property's unit.
    """

    column: str
    direction: int
    low: float = -math.inf
    high: float = math.inf
    step: float | None = None

    def __str__(self) -> str:
        per = "" if self.step is None else f" per {_exact(self.step)}"
        if self.direction:
            return f"{'minimise' if self.direction > 0 else 'maximise'} {self.column}{per}"
        low = "" if math.isinf(self.low) else _exact(self.low)
        high = "" if math.isinf(self.high) else _exact(self.high)
        return f"{self.column} in {low}..{high}{per}"

    def cost(self, value: Estimate, risk: Risk) -> Tensor:
        """Cost (n,) of each candidate, in the property's unit; a logarithm of probabilities."""
        if risk == "probability":
            return -torch.log(value.within(self.low, self.high).clamp_min(_MOST_LIKELY))
        lower = upper = value.mean
        if risk == "bound":
            lower, upper = _bounds(self.column, value)
        if self.direction:
            return upper if self.direction > 0 else -lower
        # the clamp would lose a prediction that is no number
        outside = torch.maximum(self.low - value.bounded(lower), value.bounded(upper) - self.high)
        return torch.where(torch.isnan(outside), outside, outside.clamp_min(0.0))

    def met(self, value: Estimate, risk: Risk) -> Tensor:
        """Whether each candidate is within the interval; with probability: more likely than not."""
        if risk == "probability":
            return value.within(self.low, self.high) >= 0.5
        return self.cost(value, risk) <= 0


def _exact(number: float) -> str:
    """A number as short as it can be told: the text stands for it in digests."""
    short = f"{number:g}"
    return short if float(short) == number else repr(number)


def objective(text: str) -> Objective:
    """Read an objective or a constraint.

    Raises
    ------
    ScreenError
        If the text cannot be read, or its interval is empty.

    Examples
    --------
    >>> str(objective("band_gap_ev in 1.1..1.7")), objective("energy_above_hull <= 0.05").high
    ('band_gap_ev in 1.1..1.7', 0.05)
    """
    text = text.strip()
    if found := _DIRECTED.fullmatch(text):
        word, column, step = found.groups()
        made = Objective(column, 1 if word.startswith("min") else -1, step=_step(text, step))
    elif found := _RANGE.fullmatch(text):
        column, low, high, step = found.groups()
        made = Objective(
            column,
            0,
            -math.inf if low is None else float(low),
            math.inf if high is None else float(high),
            _step(text, step),
        )
    elif found := _BOUND.fullmatch(text):
        column, sign, value, step = found.groups()
        bounds = (-math.inf, float(value)) if sign == "<=" else (float(value), math.inf)
        made = Objective(column, 0, *bounds, _step(text, step))
    else:
        raise ScreenError(
            f"{text!r} is no objective: write, for example, 'minimise energy_above_hull', "
            "'band_gap_ev in 1.1..1.7', 'bulk_modulus_gpa >= 100'"
        )
    if not made.direction and made.low > made.high:
        raise ScreenError(f"{text!r} leaves no value: give it a lower and a higher bound")
    if made == Objective(made.column, 0, step=made.step):
        raise ScreenError(f"{text!r} leaves every value: give it a bound")
    return made


def _step(text: str, step: str | None) -> float | None:
    if step is None:
        return None
    if not float(step) > 0:
        raise ScreenError(f"{text!r} counts in steps of {step}: give a step above 0")
    return float(step)


@dataclass(frozen=True)
class Aims:
    """Objectives, constraints and attitude to risk of a screen; make them with :func:`aims`.

    Attributes
    ----------
    objectives, constraints : tuple of Objective
        Constraints all have an interval.
    risk : {"mean", "bound", "probability"}
        See :data:`Risk`.
    """

    objectives: tuple[Objective, ...]
    constraints: tuple[Objective, ...] = ()
    risk: Risk = "mean"

    def check(self, calibrated: Mapping[str, bool]) -> None:
        """Make sure, before any work, that the properties allow these aims.

        Parameters
        ----------
        calibrated : mapping of str to bool
            Properties that will be predicted, and whether with a calibrated uncertainty.

        Raises
        ------
        ScreenError
            Naming the property that is missing, or not calibrated.
        """
        for aim in (*self.objectives, *self.constraints):
            if aim.column not in calibrated:
                raise ScreenError(
                    f"'{aim}' asks for {aim.column}, which is not predicted: there are "
                    f"{', '.join(calibrated)}; name one of these or add a model with --model"
                )
            if self.risk != "mean" and not calibrated[aim.column]:
                raise ScreenError(
                    f"the model of {aim.column} has no calibrated uncertainty, so risk cannot be "
                    f"{self.risk!r}: train it anew, or take --risk mean"
                )

    def costs(self, values: Mapping[str, Estimate]) -> Tensor:
        """Cost of each objective (n, n_objectives), in its own step where it has one."""
        columns = []
        for aim in self.objectives:
            cost = aim.cost(values[aim.column], self.risk)
            if self.risk != "probability" and len(self.objectives) > 1:
                cost = cost / (aim.step or 1.0)
            columns.append(cost)
        return torch.stack(columns, dim=1)

    def allowed(self, values: Mapping[str, Estimate]) -> Tensor | None:
        """Which candidates (n,) meet all constraints; None if there are none."""
        met = [aim.met(values[aim.column], self.risk) for aim in self.constraints]
        return torch.stack(met).all(0) if met else None

    def describe(self) -> dict[str, object]:
        """For a manifest."""
        return {
            "objectives": [str(aim) for aim in self.objectives],
            "constraints": [str(aim) for aim in self.constraints],
            "risk": self.risk,
        }


def aims(
    objectives: Sequence[str | Objective], constraints: Sequence[str] = (), risk: str = "mean"
) -> Aims:
    """Read what a screen looks for.

    Parameters
    ----------
    objectives, constraints : sequence of str
        See the head of this module; at least one objective. Objectives may be made already.
    risk : str
        One of :data:`Risk`.

    Raises
    ------
    ScreenError
        If a text cannot be read, or they contradict each other.
    """
    if risk not in get_args(Risk):
        choices = ", ".join(get_args(Risk))
        raise ScreenError(f"there is no attitude to risk {risk!r}: choose among {choices}")
    wanted = tuple(one if isinstance(one, Objective) else objective(one) for one in objectives)
    limits = tuple(objective(text) for text in constraints)
    if not wanted:
        raise ScreenError("a ranking needs at least one objective")
    if directed := [limit for limit in limits if limit.direction]:
        raise ScreenError(
            f"'{directed[0]}' is no constraint: give a bound, such as "
            f"'{directed[0].column} <= 0.1', or make it an objective"
        )
    if len(names := [aim.column for aim in wanted]) > len(set(names)):
        raise ScreenError(f"{', '.join(names)}: give each property one objective")
    for limit in limits:
        for other in limits:
            if limit.column == other.column and limit.low > other.high:
                raise ScreenError(f"'{limit}' and '{other}' contradict each other: drop one")
    if risk == "probability":
        if directed := [aim for aim in wanted if aim.direction]:
            raise ScreenError(
                f"'{directed[0]}' has no bound, so there is no probability of meeting it: write, "
                f"for example, '{directed[0].column} <= 0.05'"
            )
    elif len(wanted) > 1 and (bare := [aim for aim in wanted if aim.step is None]):
        raise ScreenError(
            f"'{bare[0]}' stands beside other objectives: say what difference counts as one, for "
            f"example '{bare[0]} per 0.1'"
        )
    return Aims(wanted, limits, cast(Risk, risk))


def _bounds(column: str, value: Estimate) -> tuple[Tensor, Tensor]:
    if value.lower is None or value.upper is None:
        raise ScreenError(f"{column} has no calibrated interval: take --risk mean")
    return value.lower, value.upper
