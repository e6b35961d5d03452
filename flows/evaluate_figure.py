"""The figure of ``irnet evaluate``: the error along the domain, and what intervals really cover."""

from __future__ import annotations

from typing import Any

from infra.drawing import finish, panels, png


def figure(found: dict[str, Any]) -> bytes:
    """PNG of what :func:`flows.evaluate.evaluate` found.

    Parameters
    ----------
    found : dict
        Models without a domain or without intervals are missing in the panel concerned. Where
        faulty rows were named (``--below``), all is drawn without them.
    """
    drawn, (domain, intervals) = panels(2)
    for one in found["models"]:
        judged = one["below"] or one["all"]
        if judged["domain"]:
            middle = [(entry["from"] + entry["to"]) / 2 for entry in judged["domain"]]
            domain.plot(
                middle, [entry["mae"] for entry in judged["domain"]], "o-", label=one["label"]
            )
        if judged["coverage"]:
            promised = [100 * entry["level"] for entry in judged["coverage"]]
            covered = [100 * entry["covered"] for entry in judged["coverage"]]
            intervals.plot(promised, covered, "o-", label=one["label"])
    intervals.plot([40, 100], [40, 100], ":", color="#444444", label="as promised")
    domain.set_ylim(bottom=0)
    rows = f"{found['counts']['judged']:,} rows"
    if found["below"] is not None:
        rows += f", without those beyond {found['below']:g}"
    rule = f", {found['rule']}" if found["rule"] else ""
    finish(domain, f"{rows}{rule}", "percentile of the training rows' distance", _error(found))
    finish(intervals, "intervals", "promised, %", "covered, %")
    return png(drawn)


def _error(found: dict[str, Any]) -> str:
    return f"MAE of {found['target']}, {found['unit']}"
