"""Screening of compositions in bounded memory: generate, filter, look up, rank."""

from irnet_core.screening.candidates import Candidates, Enumeration, stoichiometries
from irnet_core.screening.known import KnownCompositions, composition_keys
from irnet_core.screening.ranking import TopK
from irnet_core.screening.rules import RULES, ElementRules, neutral_assignments

__all__ = [
    "RULES",
    "Candidates",
    "ElementRules",
    "Enumeration",
    "KnownCompositions",
    "TopK",
    "composition_keys",
    "neutral_assignments",
    "stoichiometries",
]
