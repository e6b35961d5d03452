"""Hulls of a snapshot are built once, kept under what they were made from, and read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import infra.hulls as hulls
from infra.artifact import DATA
from infra.hulls import FACETS, KnownPhases, snapshot_facets
from infra.manifest import request_digest
from infra.snapshots.split import Splitter
from infra.store import Artifact, Store
from irnet_core.errors import DataError, StoreError
from irnet_core.schema import FORMATION_ENERGY
from irnet_core.screening.hull import Hull

SYSTEMS = [[12, 8, 0], [3, 8, 12]]
MGO = [[8, 12]], [[1, 1]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.fixture
def snapshot(store: Store) -> Artifact:
    rows = pa.table(
        {
            "formula": ["Xx", "MgO", "Li2O", "Mg2O2", "O2", "Mg3O"],
            FORMATION_ENERGY.name: [0.0, -3.0, -2.0, -3.1, None, float("nan")],
            "split": ["train", "train", "train", "val", "train", "train"],
        }
    )
    data, _ = Splitter(rows.schema, "here").split(rows)
    request = request_digest("snapshots", {}, {"here": 1})
    with store.staging("snapshots", request) as staging:
        staging.write_table(DATA, data)
        manifest = store.publish(staging, [DATA], what="Oxides.")
    return store.open(manifest.id)


def test_phases_are_the_rows_with_an_energy(snapshot: Artifact) -> None:
    phases = KnownPhases().read(snapshot)
    compounds = phases.rows >= 0
    # rows of the snapshot's table, in which the first formula is missing
    assert dict(zip(phases.rows[compounds].tolist(), phases.energies[compounds], strict=True)) == {
        1: -2.0,
        2: -3.1,
    }
    assert (~compounds).sum() == 118
    train = KnownPhases(roles=("train",)).read(snapshot)
    assert sorted(train.rows[train.rows >= 0].tolist()) == [0, 1]


def test_what_was_built_is_read_again(
    store: Store, snapshot: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = snapshot_facets(store, snapshot, SYSTEMS)
    monkeypatch.setattr(hulls, "build_facets", lambda *_: pytest.fail("built again"))
    again = snapshot_facets(store, snapshot, [*SYSTEMS[::-1], [8, 12, 0]])
    for name in ("systems", "keys", "offsets", "potentials"):
        np.testing.assert_array_equal(getattr(built, name), getattr(again, name))
    assert Hull(again).above(*MGO, [-3.0]).item() == pytest.approx(0.1)
    (digest,) = store.folder.child(hulls.HULLS).folders()
    metadata = store.folder.child(hulls.HULLS, digest).read_table(FACETS).schema.metadata
    assert metadata[b"snapshot"].decode() == snapshot.id


def test_other_phases_are_other_hulls(store: Store, snapshot: Artifact) -> None:
    snapshot_facets(store, snapshot, SYSTEMS)
    train = snapshot_facets(store, snapshot, SYSTEMS, KnownPhases(roles=("train",)))
    assert Hull(train).above(*MGO, [-3.0]).item() == pytest.approx(0.0)
    snapshot_facets(store, snapshot, SYSTEMS[:1])
    assert len(store.folder.child(hulls.HULLS).folders()) == 3


def test_a_damaged_file_is_named(store: Store, snapshot: Artifact) -> None:
    snapshot_facets(store, snapshot, SYSTEMS)
    (digest,) = store.folder.child(hulls.HULLS).folders()
    Path(store.root, hulls.HULLS, digest, FACETS).write_bytes(b"not Parquet")
    with pytest.raises(StoreError, match=FACETS):
        snapshot_facets(store, snapshot, SYSTEMS)


def test_a_snapshot_without_phases_is_named(store: Store, snapshot: Artifact) -> None:
    with pytest.raises(DataError, match=r"snapshots/.*no row has an energy"):
        snapshot_facets(store, snapshot, SYSTEMS, KnownPhases(roles=("test",)))
    with pytest.raises(DataError, match="there is no such column"):
        snapshot_facets(store, snapshot, SYSTEMS, KnownPhases(column="enthalpy"))
