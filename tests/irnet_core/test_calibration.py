import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from irnet_core.calibration import LEVELS, MIN_ROWS, Calibration, honest_coverage
from irnet_core.errors import ModelError
from irnet_core.references import TargetScaler

UNBOUNDED = TargetScaler.identity()


def rows(n, seed=0):
    """Truth, prediction and spread of rows whose errors are heavy-tailed and skewed."""
    rng = np.random.default_rng(seed)
    mean, spread = rng.normal(size=n), rng.lognormal(size=n)
    return mean + spread * (rng.standard_t(2, n) + 0.3), mean, spread


@pytest.mark.parametrize("given_spread", [True, False])
def test_intervals_cover_new_rows_as_they_say(given_spread):
    truth, mean, spread = rows(40_000)
    half = slice(None, 20_000)
    calibration = Calibration.fit(truth[half], mean[half], spread[half] if given_spread else None)
    m = torch.from_numpy(mean[20_000:])
    s = torch.from_numpy(spread[20_000:]) if given_spread else None
    scale = calibration.scale(m, s)
    for coverage in (0.5, 0.6827, 0.9, 0.99):
        low, high = (end.numpy() for end in calibration.interval(m, scale, coverage))
        covered = ((low <= truth[20_000:]) & (truth[20_000:] <= high)).mean()
        assert covered == pytest.approx(coverage, abs=0.011)


def test_few_rows_cover_at_least_what_they_say():
    # the finite-sample correction: over many draws of 60 rows, new rows are covered 90 % or more
    covered = []
    for seed in range(300):
        truth, mean, spread = rows(160, seed)
        calibration = Calibration.fit(truth[:60], mean[:60], spread[:60])
        m, s = torch.from_numpy(mean[60:]), torch.from_numpy(spread[60:])
        low, high = calibration.interval(m, calibration.scale(m, s), 0.9)
        y = torch.from_numpy(truth[60:])
        covered.append(((low <= y) & (y <= high)).double().mean())
    assert 0.9 <= np.mean(covered) < 0.94


def test_quantiles_are_order_statistics_moved_outwards():
    # 99 rows: the k-th smallest score is the quantile of k / 100, others move to the next one
    error = np.random.default_rng(3).permutation(np.arange(-49.0, 50.0))
    calibration = Calibration.fit(error, np.zeros(99), None)
    floor = np.median(np.abs(error))
    assert calibration.floor == floor
    assert calibration.quantile(0.05) == pytest.approx(-45 / floor)
    assert calibration.quantile(0.95) == pytest.approx(45 / floor)
    assert calibration.quantile(0.055) == pytest.approx(-45 / floor)
    assert calibration.quantile(0.945) == pytest.approx(45 / floor)
    assert calibration.scores[0] == -49 / floor
    assert calibration.scores[-1] == 49 / floor


@pytest.mark.parametrize("unit", [1e-29, 1e25])
def test_units_of_physics(unit):
    truth, mean, spread = rows(500)
    for given_spread in (None, spread):
        one = Calibration.fit(truth, mean, given_spread)
        small = None if given_spread is None else given_spread * unit
        other = Calibration.fit(truth * unit, mean * unit, small)
        np.testing.assert_allclose(other.scores, one.scores, rtol=1e-6, atol=1e-8)
        assert other.floor == pytest.approx(one.floor * unit)


@given(unit=st.floats(1e-3, 1e3), shift=st.floats(-100, 100))
def test_the_unit_of_the_target_does_not_matter(unit, shift):
    truth, mean, spread = rows(500)
    one = Calibration.fit(truth, mean, spread)
    other = Calibration.fit(truth * unit + shift, mean * unit + shift, spread * unit)
    np.testing.assert_allclose(other.scores, one.scores, rtol=1e-6, atol=1e-8)
    assert other.floor == pytest.approx(one.floor * unit)


def test_std_of_normal_errors_is_theirs():
    rng = np.random.default_rng(1)
    spread = rng.uniform(1, 2, 50_000)
    truth = 3 * spread * rng.normal(size=50_000)  # spreads three times too small
    calibration = Calibration.fit(truth, np.zeros(50_000), spread)
    std = calibration.scale(torch.zeros(1), torch.tensor([1.5])) * calibration.std_per_scale
    assert float(std) == pytest.approx(4.5, rel=0.05)


# spreads that tell rows apart too little, or too much ---------------------------------------------


def tenths(calibration, truth, mean, spread):
    """Coverage of 90 % intervals by tenths of the spread."""
    m, s = torch.from_numpy(mean), torch.from_numpy(spread)
    low, high = (e.numpy() for e in calibration.interval(m, calibration.scale(m, s), 0.9))
    covered = ((low <= truth) & (truth <= high))[np.argsort(spread)]
    return np.array([part.mean() for part in np.array_split(covered, 10)])


@pytest.mark.parametrize("power", [0.5, 1.5])
def test_the_power_of_spreads_is_found(power):
    truth, mean, spread = rows(40_000)
    wrong = spread ** (1 / power)
    half = slice(None, 20_000)
    found = Calibration.fit(truth[half], mean[half], wrong[half])
    assert found.power == pytest.approx(power, abs=0.15)
    rest = truth[20_000:], mean[20_000:], wrong[20_000:]
    np.testing.assert_allclose(tenths(found, *rest), 0.9, atol=0.06)
    as_before = Calibration(*_scored(truth[half], mean[half], wrong[half], found))
    assert np.ptp(tenths(as_before, *rest)) > 2 * np.ptp(tenths(found, *rest))


def _scored(truth, mean, spread, found):
    """Scores, floor and rows of a calibration without a power."""
    scores = np.quantile((truth - mean) / (spread + found.floor), LEVELS)
    return scores, found.floor, len(truth)


def test_spreads_that_say_nothing_are_not_believed():
    truth, mean, spread = rows(8000)
    assert Calibration.fit(truth, mean, np.random.default_rng(0).permutation(spread)).power < 0.5


@pytest.mark.parametrize("seed", range(5))
def test_where_the_gain_may_be_chance_spreads_are_taken_as_they_are(seed):
    rng = np.random.default_rng(seed)
    spread = rng.lognormal(size=60)
    truth = spread * rng.laplace(size=60)
    assert Calibration.fit(truth, np.zeros(60), spread).power == 1


@pytest.mark.parametrize("n", [60, 200, 500, 20_000])
@pytest.mark.parametrize("seed", range(5))
def test_faulty_rows_do_not_sway_the_power(n, seed):
    rng = np.random.default_rng(seed)
    spread = rng.lognormal(size=n)
    faulty = spread * rng.laplace(size=n)
    faulty[: max(1, n // 2000)] += 1e5
    assert Calibration.fit(faulty, np.zeros(n), spread).power == pytest.approx(1, abs=0.4)


def test_beyond_what_was_seen_the_power_does_not_go_on():
    truth, mean, spread = rows(20_000)
    found = Calibration.fit(truth, mean, spread ** (1 / 1.5))
    sums = torch.tensor([found.low / 1e3, found.low, found.high, 1e3 * found.high]).double()
    scale = found.scale(torch.zeros(4), sums - found.floor)
    assert found.power > 1.3
    torch.testing.assert_close(scale[1] / scale[0], torch.tensor(1e3).double())
    torch.testing.assert_close(scale[3] / scale[2], torch.tensor(1e3).double())
    assert scale[2] / scale[1] > 2 * found.high / found.low


def test_errors_of_zero_leave_the_spread_alone():
    found = Calibration.fit(np.ones(50), np.ones(50), np.linspace(1, 2, 50))
    assert (found.power, np.isfinite(found.scores).all()) == (1.0, True)


# probabilities ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def calibration():
    truth, mean, spread = rows(5000)
    return Calibration.fit(truth, mean, spread)


def test_probabilities_are_the_shares_that_come_true():
    truth, mean, spread = rows(40_000, 5)
    calibration = Calibration.fit(truth[:20_000], mean[:20_000], spread[:20_000])
    m, s = torch.from_numpy(mean[20_000:]), torch.from_numpy(spread[20_000:])
    std = calibration.scale(m, s) * calibration.std_per_scale
    found = calibration.probability_below(m, std, 0.0).numpy()
    true = truth[20_000:] < 0
    for low in np.arange(0, 1, 0.1):
        inside = (low <= found) & (found < low + 0.1)
        assert true[inside].mean() == pytest.approx(found[inside].mean(), abs=0.03)


def test_probability_at_the_ends_of_the_interval(calibration):
    mean = torch.linspace(-2, 2, 9, dtype=torch.float64)
    scale = torch.linspace(0.1, 3, 9, dtype=torch.float64)
    low, high = calibration.interval(mean, scale, 0.9)
    std = scale * calibration.std_per_scale
    for threshold, expected in ((low, 0.05), (high, 0.95)):
        found = calibration.probability_below(mean, std, threshold)
        torch.testing.assert_close(found, torch.full_like(found, expected))


def test_probability_rises_strictly_and_is_never_certain(calibration):
    threshold = torch.cat([-(10 ** torch.linspace(9, -2, 300)), 10 ** torch.linspace(-2, 9, 300)])
    mean, std = torch.zeros(600).double(), torch.ones(600).double()
    found = calibration.probability_below(mean, std, threshold.double())
    assert (found.diff() >= 0).all()
    assert (found[:20].diff() > 0).all()
    assert 0 < found[0] < found[-1] < 1
    outermost = calibration.probability_below(
        mean[:1], std[:1], threshold=calibration.scores[0] / calibration.std_per_scale
    )
    assert float(outermost) == pytest.approx(1 / (calibration.rows + 1))


def test_scores_that_are_all_the_same():
    calibration = Calibration.fit(np.ones(50), np.ones(50), None)
    found = calibration.probability_below(torch.ones(3), torch.ones(3), torch.tensor([0, 1.0, 2]))
    assert found.isfinite().all()
    assert found[0] < found[2]


# too few rows, and the honest measure -------------------------------------------------------------


def test_too_few_rows():
    truth, mean, spread = rows(MIN_ROWS - 1)
    with pytest.raises(ModelError, match=r"^39 validation rows are too few .* takes 40: validate"):
        Calibration.fit(truth, mean, spread)
    assert honest_coverage(*rows(2 * MIN_ROWS - 1), UNBOUNDED, seed=0) == {}


def test_coverage_is_measured_on_the_other_half():
    found = honest_coverage(*rows(40_000), UNBOUNDED, seed=0)
    assert found["rows"] == 20_000
    assert found["coverage_90"] == pytest.approx(0.9, abs=0.02)
    assert found["coverage_68"] == pytest.approx(0.68, abs=0.03)
    assert found["coverage_90_of_smallest_spreads"] == pytest.approx(0.9, abs=0.05)
    assert found["coverage_90_of_largest_spreads"] == pytest.approx(0.9, abs=0.05)
    assert found == honest_coverage(*rows(40_000), UNBOUNDED, seed=0)
    assert found != honest_coverage(*rows(40_000), UNBOUNDED, seed=1)


def test_coverage_shows_that_one_width_does_not_fit_all():
    truth, mean, spread = rows(8000)
    adaptive = honest_coverage(truth, mean, spread, UNBOUNDED, 0)
    assert "coverage_90_of_smallest_spreads" not in honest_coverage(truth, mean, None, UNBOUNDED, 0)
    mixed = np.random.default_rng(0).permutation(spread)
    shuffled = honest_coverage(truth, mean, mixed, UNBOUNDED, 0)
    assert adaptive["mean_width_90"] < shuffled["mean_width_90"]


def test_levels_include_the_ends_of_the_90_percent_interval():
    assert LEVELS[10] == pytest.approx(0.05)
    assert LEVELS[190] == pytest.approx(0.95)
