"""Limits on candidates by element: which are allowed, which must occur, price, abundance."""

from __future__ import annotations

import hashlib
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from irnet_core.errors import DataError, ScreenError
from irnet_core.screening.candidates import N_ATOMIC_NUMBERS


@dataclass(frozen=True, eq=False)
class ElementFacts:
    """Facts of the elements that limits are set on, by atomic number; NaN where unknown.

    Attributes
    ----------
    weight : numpy.ndarray of float64, shape (119,)
        Atomic weight in u.
    price_usd_kg : numpy.ndarray of float64, shape (119,)
        Price of the element in USD/kg.
    abundance_ppm : numpy.ndarray of float64, shape (119,)
        Abundance in the Earth's crust in mg/kg.
    toxic : numpy.ndarray of bool, shape (119,)
        Whether the element is toxic in most of its compounds.

    Raises
    ------
    DataError
        If an array has another shape.
    """

    weight: NDArray[np.float64]
    price_usd_kg: NDArray[np.float64]
    abundance_ppm: NDArray[np.float64]
    toxic: NDArray[np.bool_]

    def __post_init__(self) -> None:
        for name in ("weight", "price_usd_kg", "abundance_ppm", "toxic"):
            if getattr(self, name).shape != (N_ATOMIC_NUMBERS,):
                raise DataError("give one value per atomic number, 0 to 118", column=name)

    @classmethod
    def unknown(cls) -> ElementFacts:
        """Facts of which nothing is known, for limits that need none."""
        gap = np.full(N_ATOMIC_NUMBERS, np.nan)
        return cls(gap, gap, gap, np.zeros(N_ATOMIC_NUMBERS, np.bool_))

    def digest(self) -> str:
        """SHA-256 of the facts, for manifests."""
        values = (self.weight, self.price_usd_kg, self.abundance_ppm, self.toxic)
        return hashlib.sha256(repr([v.tolist() for v in values]).encode()).hexdigest()


def composition_price(
    numbers: NDArray[np.uint8], amounts: NDArray[np.uint8], facts: ElementFacts
) -> NDArray[np.float64]:
    """Price of the elements that one kilogram of each composition is made of.

    Parameters
    ----------
    numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        Atomic numbers, zero for padding, and atoms of each.
    facts : ElementFacts

    Returns
    -------
    numpy.ndarray of float64, shape (n,)
        USD/kg; NaN where an element has no price or no weight.
    """
    weight = facts.weight.copy()
    price = weight * facts.price_usd_kg  # of a mole of atoms, in thousandths of a dollar
    weight[0] = price[0] = 0.0
    mass, cost = np.zeros(len(numbers)), np.zeros(len(numbers))
    for number, amount in zip(numbers.T, amounts.T, strict=True):
        mass += weight[number] * amount
        cost += price[number] * amount
    with np.errstate(invalid="ignore"):  # a row without elements has no price
        return cost / mass


@dataclass(frozen=True)
class ElementLimits:
    """Which elements and prices a candidate may have; the default sets no limit.

    Attributes
    ----------
    include : tuple of int or None
        Atomic numbers allowed; None for all.
    exclude : tuple of int
        Atomic numbers not allowed.
    must_contain : tuple of int
        Atomic numbers that each candidate must have.
    max_price : float or None
        Highest price of a composition's elements in USD/kg.
    min_abundance : float or None
        Least abundance of each element in the Earth's crust in mg/kg.
    no_toxic : bool
        Whether toxic elements are left out.

    Raises
    ------
    ScreenError
        If limits contradict each other or cannot be met.
    """

    include: tuple[int, ...] | None = None
    exclude: tuple[int, ...] = ()
    must_contain: tuple[int, ...] = ()
    max_price: float | None = None
    min_abundance: float | None = None
    no_toxic: bool = False

    def __post_init__(self) -> None:
        named = (*(self.include or ()), *self.exclude, *self.must_contain)
        for number in named:
            if not 1 <= number < N_ATOMIC_NUMBERS:
                raise ScreenError(f"{number} is not an atomic number; give 1 to 118")
        if self.include is not None and not self.include:
            raise ScreenError("no element is included; name some, or leave the limit out")
        if both := set(self.include or ()) & set(self.exclude):
            raise ScreenError(f"elements {sorted(both)} are included and excluded; choose one")
        if both := set(self.must_contain) & set(self.exclude):
            raise ScreenError(f"elements {sorted(both)} must occur but are excluded; choose one")
        if self.include is not None and (rest := set(self.must_contain) - set(self.include)):
            raise ScreenError(f"elements {sorted(rest)} must occur but are not included; add them")
        for name in ("max_price", "min_abundance"):
            value = getattr(self, name)
            if value is not None and not (np.isfinite(value) and value >= 0):
                raise ScreenError(f"{name} is {value}; give a finite number of at least 0")

    def allowed(self, facts: ElementFacts) -> NDArray[np.bool_]:
        """Elements that a candidate may have, shape (119,); number 0, padding, is allowed.

        Raises
        ------
        ScreenError
            If an element that must occur is not allowed, or none is left.
        """
        allowed = np.ones(N_ATOMIC_NUMBERS, np.bool_)
        for step in self._element_steps(facts).values():
            allowed &= step
        if lost := [z for z in self.must_contain if not allowed[z]]:
            raise ScreenError(
                f"elements {lost} must occur but are toxic or too rare; relax one of the limits"
            )
        if not allowed[1:].any():
            raise ScreenError("the limits leave no element; relax one of them")
        return allowed

    def masks(
        self, numbers: NDArray[np.uint8], amounts: NDArray[np.uint8], facts: ElementFacts
    ) -> dict[str, NDArray[np.bool_]]:
        """Which rows meet each limit that is set, by name, in the order of a funnel.

        Parameters
        ----------
        numbers, amounts : numpy.ndarray of uint8, shape (n, k)
        facts : ElementFacts

        Returns
        -------
        dict of str to numpy.ndarray of bool, shape (n,)
        """
        masks = {
            name: _all(allowed, numbers) for name, allowed in self._element_steps(facts).items()
        }
        if self.must_contain:
            present = np.ones(len(numbers), np.bool_)
            for wanted in self.must_contain:
                has = np.zeros(len(numbers), np.bool_)
                for column in numbers.T:
                    has |= column == wanted
                present &= has
            masks["must_contain"] = present
        if self.max_price is not None:
            # without a price nothing is known to be cheap: NaN fails
            masks["max_price"] = composition_price(numbers, amounts, facts) <= self.max_price
        return masks

    def describe(self) -> dict[str, Any]:
        """The limits that are set, for manifests."""
        return {
            name: value for name, value in asdict(self).items() if value not in (None, (), False)
        }

    def _element_steps(self, facts: ElementFacts) -> dict[str, NDArray[np.bool_]]:
        steps: dict[str, NDArray[np.bool_]] = {}
        if self.include is not None or self.exclude:
            every = np.arange(N_ATOMIC_NUMBERS)
            steps["elements"] = ~np.isin(every, self.exclude)
            if self.include is not None:
                steps["elements"] &= np.isin(every, self.include)
        if self.no_toxic:
            steps["no_toxic"] = ~facts.toxic
        if self.min_abundance is not None:
            steps["min_abundance"] = facts.abundance_ppm >= self.min_abundance
        for allowed in steps.values():
            allowed[0] = True
        return steps


def _all(allowed: NDArray[np.bool_], numbers: NDArray[np.uint8]) -> NDArray[np.bool_]:
    passes = np.ones(len(numbers), np.bool_)
    for column in numbers.T:
        passes &= allowed[column]
    return passes
