"""The Open Quantum Materials Database, by OPTIMADE."""

from __future__ import annotations

import math
from typing import Any

import pyarrow as pa

from infra.pull.http import Http
from infra.settings import Settings
from infra.settings import settings as current_settings
from infra.sources.optimade import UNIT_ROWS, Optimade
from infra.sources.oqmd_rows import CITATION, COLUMNS, LICENCE, PAGE, entry_reasons
from irnet_core import schema


class OqmdOptimade(Optimade):
    """OQMD by ``/optimade``: coordinates of six digits, energies of three or four.

    Parameters
    ----------
    filter : str, optional
        In OPTIMADE's syntax, such as ``elements HAS "O" AND _oqmd_stability<0.1``.
    unit_rows, page_size : int
        Rows that are pulled in one part, and rows to ask for at once, at most.
    settings : Settings, optional
        Address and release; from the environment by default.
    """

    name = "oqmd"
    what = "Formation energies of the Open Quantum Materials Database, by OPTIMADE."
    licence, citation = LICENCE, CITATION
    columns = tuple(column for column in COLUMNS if column != schema.DUPLICATE_OF)
    identity = "_oqmd_entry_id"

    def __init__(
        self,
        filter: str | None = None,
        *,
        unit_rows: int = UNIT_ROWS,
        page_size: int = 500,
        settings: Settings | None = None,
    ) -> None:
        settings = settings or current_settings()
        url = f"{settings.oqmd_url.rstrip('/')}/optimade"
        super().__init__(
            filter, url=url, unit_rows=unit_rows, page_size=page_size, settings=settings
        )

    def version(self, http: Http) -> dict[str, Any]:
        """The server's count of rows, and the release that the settings name."""
        return {**super().version(http), "release": self._settings.oqmd_release}

    def parse(self, rows: list[dict[str, Any]]) -> pa.Table:
        """Entries as the server sends them, to a table, sorted by the ids of OQMD's entries."""
        return super().parse(sorted(rows, key=_optimade_order))

    def _ids(self, rows: list[dict[str, Any]], attributes: list[dict[str, Any]]) -> list[Any]:
        return [entry.get("_oqmd_entry_id") for entry in attributes]

    def _pages(self, rows: list[dict[str, Any]], ids: pa.Array) -> list[str | None]:
        return [None if id_ is None else f"{PAGE}{id_}" for id_ in ids.to_pylist()]

    def _reasons(self, rows: list[dict[str, Any]], ids: pa.Array) -> dict[int, str]:
        return entry_reasons(ids.to_pylist(), [row["id"] for row in rows])


def _optimade_order(row: dict[str, Any]) -> tuple[str, float, str]:
    attributes = row.get("attributes")
    attributes = attributes if isinstance(attributes, dict) else {}
    energy = attributes.get("_oqmd_delta_e")
    energy = float(energy) if isinstance(energy, (int, float)) else math.inf
    return str(attributes.get("_oqmd_entry_id")), energy, str(row["id"])
