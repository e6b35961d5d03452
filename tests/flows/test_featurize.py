"""Structures, both, and matminer's featurizers through real Dask workers; what fails, and how."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matminer.featurizers.composition import BandCenter
from matminer.featurizers.structure import DensityFeatures, GlobalSymmetryFeatures
from pymatgen.core import Composition, Structure
from standins.rows import MURDEROUS, dying_rows

from featurizers.composition import FEATURE_NAMES, featurize
from featurizers.structure import FEATURE_NAMES_STRUCTURE, featurize_structures
from flows.part import featurize_part
from flows.partition import Part, Work, plan
from infra.folder import Folder
from infra.snapshots.snapshot import build_snapshot
from infra.sources import TableFile
from infra.store import Store

CSCL = (np.eye(3) * 4.12, [55, 17], [[0, 0, 0], [0.5, 0.5, 0.5]])
GOOD = [
    ("CsCl", *CSCL),
    ("Cu", np.eye(3) * 3.61, [29] * 4, [[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]),
    ("NaNbN2", [[3.2, 0, 0], [1.6, 2.8, 0], [0, 0, 5.9]], [11, 41, 7, 7], np.eye(4, 3) * 0.5),
]
BAD = {
    "overlap": ("Cu2", np.eye(3) * 3.6, [29, 29], [[0, 0, 0], [0.001, 0, 0]]),
    "flat": ("Cu", [[3, 0, 0], [0, 3, 0], [3, 3, 0]], [29], [[0, 0, 0]]),
    "nan": ("Cu", np.eye(3) * 3.6, [29], [[0, float("nan"), 0]]),
    "species": ("Cu", np.eye(3) * 3.6, [0], [[0, 0, 0]]),
    "no data": ("Og", np.eye(3) * 3.6, [118], [[0, 0, 0]]),
    "short": ("Cu", [[3, 0, 0], [0, 3, 0]], [29], [[0, 0, 0]]),
    "none": ("Cu", None, None, None),
}
REASONS = {
    "overlap": ("tessellation", "atoms overlap: two are 0.004 Å apart"),
    "flat": ("structure", "the cell has no volume"),
    "nan": ("structure", "a coordinate is not finite"),
    "species": ("structure", "unknown species: atomic number 0"),
    "no data": ("structure", "no Magpie data for element 'Og'"),
    "short": ("structure", "the lattice has shape (6,), not (3, 3)"),
    "none": ("structure", "the lattice has shape (0,), not (3, 3)"),
}


def cluster(n, seed=0):
    """Atoms in one corner of an empty box: cells reach far, the tessellation takes seconds."""
    rng = np.random.default_rng(seed)
    k = int(np.ceil(n ** (1 / 3)))
    grid = np.stack(np.meshgrid(*[np.arange(k)] * 3), -1).reshape(-1, 3)[:n] / k
    return ("Cu", np.eye(3) * 2.8 * k * 4, [29] * n, (grid + rng.normal(0, 0.01, (n, 3))) / 4)


@pytest.fixture
def snapshot(store, tmp_path):
    """Makes a snapshot of structures, some with identifiers; returns its artifact."""

    def make(rows, ids=None, row_group=50_000):
        def flat(values):
            return None if values is None else np.ravel(values).tolist()

        table = {
            "formula": [row[0] for row in rows],
            "lattice": pa.array([flat(row[1]) for row in rows], pa.list_(pa.float32())),
            "numbers": pa.array([row[2] for row in rows], pa.list_(pa.uint8())),
            "frac_coords": pa.array([flat(row[3]) for row in rows], pa.list_(pa.float64())),
        }
        if ids:
            table["source_id"] = pa.array(ids, pa.string())
        pq.write_table(pa.table(table), tmp_path / "structures.parquet")
        opened = Store(store)
        return opened.open(build_snapshot(TableFile(tmp_path / "structures.parquet"), opened).id)

    return make


@pytest.fixture
def made(cli, store):
    """Runs ``irnet featurize``; returns the features."""

    def run(*arguments):
        result = cli("featurize", *arguments)
        assert result.exit_code == 0, result.output
        return Store(store).open("features/latest")

    return run


def values(artifact, names):
    table = artifact.dataset().to_table(columns=list(names))
    return np.column_stack([column.to_numpy() for column in table.columns])


def test_both(snapshot, made):
    snapshot(GOOD)
    features = made("--features", "both")
    table = features.dataset().to_table()
    assert table.column("row").to_pylist() == [0, 1, 2]
    assert table.column("composition").to_pylist() == ["ClCs", "Cu", "N2NaNb"]
    _, lattices, numbers, coords = zip(*GOOD, strict=True)
    # the table holds lattices in single precision
    lattices = [np.asarray(lattice, np.float32) for lattice in lattices]
    expected = featurize_structures(lattices, numbers, coords).values
    np.testing.assert_allclose(values(features, FEATURE_NAMES_STRUCTURE), expected, rtol=1e-6)
    expected = featurize([row[0] for row in GOOD])
    np.testing.assert_array_equal(values(features, FEATURE_NAMES), expected)
    blocks = features.manifest.parameters["blocks"]
    hashes = {
        table.schema.field(n).metadata[b"feature_schema"].decode()
        for n in (FEATURE_NAMES[0], "fraction H", FEATURE_NAMES_STRUCTURE[0])
    }
    assert hashes == set(blocks.values())
    assert list(blocks) == ["fractions", "magpie", "ward2017"]


def test_bad_structures_fail_with_stage_and_reason(snapshot, made):
    rows = [GOOD[0], *BAD.values(), GOOD[1]]
    ids = ["good-0", *BAD, None]
    snapshot(rows, ids)
    features = made("--features", "structure")
    failed = features.read_table("failed.parquet")
    assert failed.column_names == ["id", "row", "formula", "stage", "reason"]
    found = {r["id"]: (r["stage"], r["reason"]) for r in failed.to_pylist()}
    assert found == REASONS
    assert failed.column("row").to_pylist() == list(range(1, len(BAD) + 1))
    assert features.dataset().to_table(columns=["row"])["row"].to_pylist() == [0, len(BAD) + 1]
    counts = features.manifest.counts
    assert counts["failed"] == len(BAD)
    assert counts["stages"] == {"structure": 6, "tessellation": 1}
    assert counts["reasons"]["the cell has no volume"] == 1
    assert features.manifest.rows == 2


def test_rows_without_an_identifier_of_their_own_have_their_number(snapshot, made):
    snapshot([BAD["flat"], GOOD[0]])
    assert made("--features", "structure").read_table("failed.parquet")["id"].to_pylist() == ["0"]


@pytest.mark.timeout(600)  # the store comes from many processes, on a busy machine
def test_no_structures(fails, made, pipeline, filled):
    assert fails("featurize", "latest", "--features", "structure") == (
        "pymatgen-expt, column 'lattice': there are no structures (columns lattice, numbers, "
        "frac_coords): take composition features"
    )


def test_all_fail(snapshot, fails):
    snapshot([BAD["flat"]])
    message = fails("featurize", "latest", "--features", "structure")
    assert message.endswith(
        "column 'formula', row 0: no row has features, the first because: the cell has no volume; "
        "take a table with other structures"
    )


def test_a_structure_that_takes_too_long(snapshot, made, monkeypatch):
    snapshot([GOOD[0], cluster(1000), GOOD[1]])
    monkeypatch.setenv("IRNET_ROW_LIMIT_S", "0.5")
    features = made("--features", "structure")
    (failed,) = features.read_table("failed.parquet").to_pylist()
    assert (failed["row"], failed["stage"]) == (1, "time limit")
    assert failed["reason"] == "it took longer than 0.5 s"
    # another limit is another request: the row is tried again
    monkeypatch.setenv("IRNET_ROW_LIMIT_S", "60")
    assert made("--features", "structure").manifest.rows == 3


def test_a_structure_that_kills_its_process(snapshot, tmp_path, monkeypatch):
    monkeypatch.setattr("flows.part.structure_rows", dying_rows)
    rows = [GOOD[0], ("Cu", np.eye(3) * 3.6, [MURDEROUS], [[0, 0, 0]]), GOOD[1]]
    artifact = snapshot(rows)
    work = Work(structures=True)
    (part,) = plan(artifact.folder, "x", work)
    assert featurize_part(part, artifact.url, str(tmp_path / "made"), work) == (3, 1)
    made = Folder(tmp_path / "made")
    assert made.read_table(part.failed).to_pylist() == [
        {
            "id": "1",
            "row": 1,
            "formula": "Cu",
            "stage": "worker",
            "reason": "it ended its process (SIGKILL)",
        }
    ]
    assert made.read_table(part.features, ["row"])["row"].to_pylist() == [0, 2]


def test_matminer(snapshot, made):
    snapshot([*GOOD, BAD["flat"]])
    features = made(
        *("--matminer", "composition:BandCenter"),
        *("--matminer", "structure:DensityFeatures"),
        *("--matminer", "structure:GlobalSymmetryFeatures"),
    )
    table = features.dataset().to_table()
    assert table.num_rows == 3
    for row, (formula, lattice, numbers, coords) in zip(table.to_pylist(), GOOD, strict=True):
        structure = Structure(np.asarray(lattice, np.float32), numbers, coords)
        for featurizer, of in (
            (BandCenter(), Composition(formula)),
            (DensityFeatures(), structure),
            (GlobalSymmetryFeatures(), structure),
        ):
            expected = dict(zip(featurizer.feature_labels(), featurizer.featurize(of), strict=True))
            for name, value in expected.items():
                same = value if isinstance(value, str) else pytest.approx(float(value))
                assert row[name] == same
    (failed,) = features.read_table("failed.parquet").to_pylist()
    assert failed["stage"] == "structure:DensityFeatures"
    again = made("--matminer", "composition:BandCenter", "--features", "composition")
    assert "band center" in again.dataset().schema.names
    assert FEATURE_NAMES[0] in again.dataset().schema.names


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--features", "all"], "there are no 'all' features: choose among composition, structure"),
        (["--missing", "zero"], "there is no policy 'zero': choose among matminer, nan, reject"),
        (["--matminer", "BandCenter"], "'BandCenter' names no featurizer of matminer: write"),
        (["--matminer", "composition:Band"], "matminer has no composition featurizer 'Band': "),
        (["--matminer", "composition:ElementProperty"], "ElementProperty needs arguments: name a"),
        (["--matminer", "structure:BagofBonds"], "no columns before it is fitted"),
        (["--matminer", "structure:PartialRadialDistributionFunction"], "before it is fitted"),
        (["--matminer", "structure:SiteStatsFingerprint:SOAP_formation_energy"], "cannot make"),
        (
            ["--matminer", "composition:OxidationStates"],
            "Oxidation states have not been determined; take another featurizer, or a table that",
        ),
        (
            ["--features", "composition", "--matminer", "composition:Stoichiometry"],
            "column '0-norm': two features have this name, leave one out",
        ),
    ],
)
def test_what_cannot_be_computed(filled, fails, arguments, sentence):
    assert sentence in fails("featurize", "latest", *arguments)


COLUMNS = {"lattice": np.eye(3).ravel().tolist(), "numbers": [29], "frac_coords": [0.0] * 3}


def table_of(folder, **columns):
    """Path of a table of structures with some columns of another kind."""
    path = folder / "odd.parquet"
    arrays = {name: columns.get(name, pa.array([value] * 2)) for name, value in COLUMNS.items()}
    pq.write_table(pa.table({"formula": ["Cu", "Cu"], **arrays}), path)
    return path


@pytest.mark.parametrize(
    "column",
    [
        {"lattice": pa.array(["[1, 0, 0, 0, 1, 0, 0, 0, 1]"] * 2)},
        {"numbers": pa.array([29, 29])},
        {"numbers": pa.array([["Cu"], ["Cu"]])},
        {"frac_coords": pa.nulls(2)},
    ],
)
def test_columns_that_are_no_lists_of_numbers(cli, fails, tmp_path, column):
    assert cli("snapshot", table_of(tmp_path, **column)).exit_code == 0
    message = fails("featurize", "latest", "--features", "structure")
    assert f"odd.parquet, column '{next(iter(column))}': it holds " in message
    assert "not a list of numbers in each row" in message


def test_lists_of_other_types(store, tmp_path):
    lines = [np.eye(3).tolist()] * 2
    broken = [[1.0, 0.0, 0.0], [1.0]]  # lines of different lengths
    columns = {
        "lattice": pa.array([lines[0], broken], pa.list_(pa.list_(pa.float32()))),
        "numbers": pa.array([[29]] * 2, pa.list_(pa.int64(), 1)),
        "frac_coords": pa.array([[0.0] * 3] * 2, pa.large_list(pa.float64())),
    }
    opened = Store(store)
    source = TableFile(table_of(tmp_path, **columns))
    artifact = opened.open(build_snapshot(source, opened).id)
    work = Work(structures=True)
    (part,) = plan(artifact.folder, "x", work)
    assert featurize_part(part, artifact.url, str(tmp_path / "made"), work) == (2, 1)
    (failed,) = Folder(tmp_path / "made").read_table(part.failed).to_pylist()
    assert (failed["row"], failed["reason"]) == (1, "the lattice has shape (0,), not (3, 3)")


def test_partitions_are_packed_by_cost(snapshot, monkeypatch):
    monkeypatch.setattr("infra.snapshots.snapshot.ROW_GROUP", 4)
    monkeypatch.setattr("flows.partition.STRUCTURE_SITES", (50, 10))
    rows = [GOOD[0], GOOD[1], cluster(100), GOOD[0], GOOD[0], GOOD[1], GOOD[2]]
    folder = snapshot(rows).folder
    # costs 12, 14, 110, 12 | 12, 14, 14
    assert plan(folder, "x", Work(structures=True)) == [
        Part(0, 0, 2, 0),
        Part(0, 2, 3, 2),
        Part(0, 3, 4, 3),
        Part(1, 0, 3, 4),
    ]
    assert plan(folder, "x", Work(blocks=("magpie",))) == [Part(0, 0, 4, 0), Part(1, 0, 3, 4)]


@pytest.fixture
def elsewhere(monkeypatch, tmp_path):
    """A scheduler and a worker of the user's own, as processes; yields how to start them."""
    processes = {}
    environment = {**os.environ, "DASK_DISTRIBUTED__WORKER__DAEMON": "False"}
    address = tmp_path / "scheduler.json"

    def quiet(command):
        return subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)

    def start():
        address.unlink(missing_ok=True)
        command = [sys.executable, "-m", "distributed.cli.dask_scheduler", "--no-dashboard"]
        command += ["--port", "0", "--scheduler-file", str(address)]
        processes["scheduler"] = subprocess.Popen(
            command, env=environment, stderr=subprocess.DEVNULL
        )
        while not (address.exists() and address.read_text()):  # it is there before it is written
            time.sleep(0.05)
        command = [sys.executable, "-m", "distributed.cli.dask_worker", "--no-dashboard"]
        command += ["--scheduler-file", str(address), "--nthreads", "1"]
        command += ["--local-directory", str(tmp_path), "--death-timeout", "20"]
        processes["worker"] = quiet(command)
        return json.loads(address.read_text())["address"]

    yield start, processes
    for process in processes.values():
        process.kill()
        process.wait()


@pytest.mark.slow  # the client waits half a minute for a scheduler to come back
@pytest.mark.timeout(300)
def test_the_scheduler_is_killed(
    snapshot, irnet_process, elsewhere, store, fails, made, monkeypatch
):
    monkeypatch.setattr("infra.snapshots.snapshot.ROW_GROUP", 5)
    snapshot([cluster(300, seed) for seed in range(60)])
    start, processes = elsewhere
    command = ["featurize", "latest", "--features", "structure"]
    process = irnet_process(store, *command, IRNET_DASK_ADDRESS=start())
    staged = store / ".staging" / "features"
    while len(list(staged.glob("*/part-*"))) < 2:
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    processes["scheduler"].send_signal(signal.SIGKILL)
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 1
    # Dask's own threads may say more before it
    assert "error: the Dask scheduler was lost while it featurized" in errors
    kept = {path.name: path.stat().st_mtime_ns for path in staged.glob("*/part-*.parquet")}
    assert 2 <= len(kept) < 12

    monkeypatch.setenv("IRNET_DASK_ADDRESS", start())
    features = made("--features", "structure")
    assert features.manifest.rows == 60
    for name, written in kept.items():
        assert os.stat(features.path(name)).st_mtime_ns == written


@pytest.mark.timeout(300)
def test_a_worker_is_killed(snapshot, irnet_process, store, monkeypatch):
    monkeypatch.setattr("infra.snapshots.snapshot.ROW_GROUP", 5)
    snapshot([cluster(200, seed) for seed in range(30)])
    process = irnet_process(store, "featurize", "latest", "--features", "structure")
    staged = store / ".staging" / "features"
    while not list(staged.glob("*/part-*")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    for worker in psutil.Process(process.pid).children():
        if worker.children():  # the one with an isolated process
            worker.kill()
    _, errors = process.communicate(timeout=200)
    assert process.returncode == 0, errors
    features = Store(store).open("features/latest")
    assert (features.manifest.rows, features.manifest.counts["failed"]) == (30, 0)
