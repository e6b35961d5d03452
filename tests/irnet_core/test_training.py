from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from irnet_core import checkpoint
from irnet_core.batches import forward
from irnet_core.checkpoint import CHECKPOINT, Prefixed
from irnet_core.errors import TrainingError
from irnet_core.networks import Network
from irnet_core.recipes import recipe
from irnet_core.splits import given_split
from irnet_core.training import ScaledData, Start, TrainingData, fit
from irnet_core.training_run import Run

NETWORK = "16BARx2-8BARx1-1"
PAPER = replace(recipe("paper"), max_epochs=6)
MODERN = recipe("modern").with_epochs(6)


def make(n=200, n_validation=40, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n + n_validation, 5)).astype(np.float32) * [1, 2, 3, 1, 1]
    x = x.astype(np.float32)
    y = np.tanh(x[:, 0]) + 0.3 * x[:, 1] + 2
    return TrainingData(x[:n], y[:n], x[n:], y[n:])


DATA = make()


class Memory:
    """A folder in memory that notes what is written and can fail afterwards."""

    def __init__(self, files=(), fail_after=None):
        self.files, self.fail_after = dict(files), fail_after
        self.written = []

    def has(self, name):
        return name in self.files

    def read_bytes(self, name):
        return self.files[name]

    def write_bytes(self, name, data):
        self.files[name] = data
        self.written.append(data)
        if len(self.written) == self.fail_after:
            raise KeyboardInterrupt

    def state(self, index):
        groups, progress = checkpoint.load(Memory({CHECKPOINT: self.written[index]}))
        flat = {f"{group}.{k}": v for group, state in groups.items() for k, v in state.items()}
        return flat, progress


def train(data=DATA, chosen=MODERN, notation=NETWORK, **options):
    return fit(data, notation, chosen, seconds_between_checkpoints=-1.0, **options)


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[k], other[k]) for k in one)


def equal(one, other):
    """Whether two trained networks are the same bit by bit, and came about in the same way."""
    return (
        same(one.network.state_dict(), other.network.state_dict())
        and one.progress == other.progress
        and torch.equal(one.inputs.center, other.inputs.center)
        and torch.equal(one.target.scale, other.target.scale)
    )


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def orders(monkeypatch):
    """The order of rows in each epoch."""
    found, real = [], torch.randperm

    def spy(*arguments, **options):
        found.append(real(*arguments, **options))
        return found[-1]

    monkeypatch.setattr(torch, "randperm", spy)
    return found


def test_it_learns():
    fitted = fit(make(1500, 300), NETWORK, recipe("modern").with_epochs(20))
    mae_of_median = np.abs(DATA.validation_y - np.median(DATA.validation_y)).mean()
    assert fitted.progress.best_mae < 0.25 * mae_of_median


# resuming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [PAPER, MODERN], ids=lambda r: r.name)
@pytest.mark.parametrize("epoch", [1, 3, 6])
def test_interrupted_and_resumed_equals_uninterrupted(chosen, epoch):
    whole = train(chosen=chosen)
    folder = Memory(fail_after=epoch)
    with pytest.raises(KeyboardInterrupt):
        train(chosen=chosen, folder=folder)
    torch.manual_seed(99)  # another process has another state
    resumed = train(chosen=chosen, folder=Memory(folder.files))
    assert (whole.resumed_at, resumed.resumed_at) == (0, epoch)
    assert resumed.progress.epoch == 6
    assert equal(resumed, whole)


def test_interrupted_at_every_epoch():
    whole, files = train(), {}
    for epoch in range(1, 7):
        folder = Memory(files, fail_after=1)
        with pytest.raises(KeyboardInterrupt):
            train(folder=folder)
        files = folder.files
        assert folder.state(0)[1].epoch == epoch
    assert equal(train(folder=Memory(files)), whole)


def test_checkpoints_change_nothing_and_wait():
    folder = Memory()
    assert equal(fit(DATA, NETWORK, MODERN, folder=folder), train())
    assert folder.written == []  # it took less than the least time between two checkpoints


def test_checkpoint_of_another_network():
    folder = Memory()
    train(folder=folder)
    with pytest.raises(
        TrainingError, match="belongs to another network: delete the run's folder in"
    ):
        train(notation="8BARx1-1", folder=folder)


@pytest.mark.parametrize("part", ["best", "average", "optimizer 3"])
def test_checkpoint_that_lacks_a_part(part):
    folder = Memory()
    train(folder=folder)
    groups, progress = checkpoint.load(folder)
    del groups[part]
    checkpoint.save(folder, groups, progress)
    with pytest.raises(TrainingError, match="belongs to another network"):
        train(folder=folder)


# determinism --------------------------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [PAPER, MODERN], ids=lambda r: r.name)
def test_equal_seeds_give_equal_weights(chosen):
    torch.manual_seed(1)
    one = train(chosen=chosen, seed=7)
    torch.manual_seed(2)
    other = train(chosen=chosen, seed=7)
    assert equal(one, other)
    assert not equal(one, train(chosen=chosen, seed=8))


def test_rows_are_reshuffled_every_epoch(orders):
    train()
    assert len(orders) == 6
    for order in orders:
        assert sorted(order.tolist()) == list(range(200))
    assert len({tuple(order.tolist()) for order in orders}) == 6
    orders.clear()
    train(seed=1)
    train()
    first, again = orders[:6], orders[6:]
    assert not any(torch.equal(a, b) for a in first for b in again)


# what may influence the weights -------------------------------------------------------------------


@pytest.mark.parametrize("chosen", [PAPER, MODERN], ids=lambda r: r.name)
def test_validation_rows_never_influence_the_weights(chosen):
    one, other = Memory(), Memory()
    train(chosen=chosen, folder=one)
    swapped = replace(DATA, validation_y=DATA.validation_y[::-1].copy() * 3)
    train(swapped, chosen, folder=other)
    assert len(one.written) == len(other.written) == 6
    for epoch in range(6):
        (mine, progress), (theirs, other_progress) = one.state(epoch), other.state(epoch)
        weights = {k for k in mine if not k.startswith("best.")}
        assert same({k: mine[k] for k in weights}, {k: theirs[k] for k in weights})
        assert progress.history[-1].train_loss == other_progress.history[-1].train_loss
        assert progress.history[-1].validation_mae != other_progress.history[-1].validation_mae


def test_test_rows_are_left_out():
    x = np.concatenate([DATA.train_x, DATA.validation_x, np.full((9, 5), np.nan, np.float32)])
    y = np.concatenate([DATA.train_y, DATA.validation_y, np.full(9, np.nan)])
    labels = np.array(["train"] * 200 + ["val"] * 40 + ["test"] * 9, dtype=object)
    shuffled = np.random.default_rng(0).permutation(249)
    shuffled = np.concatenate([np.sort(shuffled[:100]), np.sort(shuffled[100:])])
    split = given_split(labels, column="role")
    data = TrainingData(x[split.train], y[split.train], x[split.validation], y[split.validation])
    assert equal(train(data), train())
    split = given_split(labels[shuffled], column="role")
    assert np.isfinite(x[shuffled][split.train]).all()
    assert np.isfinite(y[shuffled][split.validation]).all()


def test_scaling_is_fitted_on_the_training_rows():
    far = replace(DATA, validation_x=DATA.validation_x + 100, validation_y=DATA.validation_y - 50)
    one, other = train(), train(far)
    assert torch.equal(one.inputs.center, other.inputs.center)
    assert torch.equal(one.target.scale, other.target.scale)
    torch.testing.assert_close(one.inputs.center, torch.tensor(DATA.train_x.mean(0)))


# recipes ------------------------------------------------------------------------------------------


def test_paper_recipe_is_plain_adam_on_unscaled_rows(orders):
    folder = Memory()
    fitted = train(chosen=PAPER, folder=folder)
    assert fitted.inputs.center.tolist() == [0.0] * 5
    assert fitted.inputs.scale.tolist() == [1.0] * 5
    assert (fitted.target.center.item(), fitted.target.scale.item()) == (0.0, 1.0)
    # the same by hand: Adam at 1e-4, batches of 32, mean absolute error
    torch.manual_seed(0)
    network = Network(NETWORK, 5)
    adam = torch.optim.Adam(network.parameters(), lr=1e-4)
    x, y = torch.from_numpy(DATA.train_x), torch.from_numpy(DATA.train_y).float()[:, None]
    for epoch, order in enumerate(orders[:6]):
        for rows in order.split(32):
            if len(rows) == 32:
                adam.zero_grad()
                nn.functional.l1_loss(network(x[rows]), y[rows]).backward()
                adam.step()
        tensors, progress = folder.state(epoch)
        assert progress.step == (epoch + 1) * 6
        for name, value in network.state_dict().items():
            # batch norm takes these away again: their gradients are rounding errors
            if not name.endswith(("linear.bias", "running_mean")):
                torch.testing.assert_close(tensors[f"network.{name}"], value, rtol=1e-4, atol=1e-5)


def test_modern_recipe_scales_to_unit_spread():
    fitted = train()
    scaled = fitted.inputs.forward(torch.from_numpy(DATA.train_x))
    torch.testing.assert_close(scaled.mean(0), torch.zeros(5), rtol=0, atol=1e-5)
    torch.testing.assert_close(scaled.std(0, correction=0), torch.ones(5), rtol=0, atol=1e-4)
    target = fitted.target.scaled(torch.from_numpy(DATA.train_y).float())
    assert target.abs().mean().item() == pytest.approx(1.0, abs=1e-5)


def test_best_weights_are_returned():
    folder = Memory()
    fitted = train(chosen=PAPER, folder=folder)
    maes = {e.epoch: e.validation_mae for e in fitted.progress.history}
    assert list(maes) == [1, 2, 3, 4, 5, 6]
    assert fitted.progress.best_mae == min(maes.values()) == maes[fitted.progress.best_epoch]
    at_best, _ = folder.state(fitted.progress.best_epoch - 1)
    for name, value in fitted.network.state_dict().items():
        assert torch.equal(value, at_best[f"network.{name}"])
    scaled = forward(fitted.network, torch.from_numpy(DATA.validation_x), "fp32")
    mae = np.abs(scaled[:, 0].double().numpy() - DATA.validation_y).mean()
    assert mae == pytest.approx(fitted.progress.best_mae, rel=1e-6)
    assert not fitted.network.training


def test_without_a_choice_the_last_weights_are_returned():
    folder = Memory()
    noise = replace(DATA, validation_y=np.random.default_rng(1).normal(size=40) * 100)
    fitted = train(noise, replace(PAPER, patience=2), folder=folder, choose=False)
    assert fitted.progress.best_epoch == fitted.progress.epoch == 6
    assert fitted.progress.best_mae == fitted.progress.history[-1].validation_mae
    at_last, _ = folder.state(5)
    for name, value in fitted.network.state_dict().items():
        assert torch.equal(value, at_last[f"network.{name}"])


def test_early_stopping_by_patience():
    rng = np.random.default_rng(1)
    noise = replace(DATA, validation_y=rng.normal(size=40) * 100)  # nothing can be learnt
    chosen = replace(PAPER, max_epochs=200, patience=4)
    fitted = train(noise, chosen)
    waited = [e for e in fitted.progress.history if e.epoch > fitted.progress.best_epoch]
    assert len(waited) == 4
    assert fitted.progress.epoch == fitted.progress.best_epoch + 4 < 200
    assert fitted.epochs == 200


def test_a_few_steps_suffice_to_leave_the_initial_weights():
    data = make(40, 10)
    fitted = train(data, recipe("modern").with_epochs(1))  # a single step
    torch.manual_seed(0)
    initial = Network(NETWORK, 5).state_dict()
    assert not torch.equal(fitted.network.state_dict()["output.weight"], initial["output.weight"])
    assert fitted.progress.step == 1


def test_report():
    found = []
    fitted = train(report=found.append)
    last = found[-1]
    assert (last.epoch, last.epochs) == (6, 6)
    assert last.rows_done == last.rows_total == 6 * 192  # six batches of 32 out of 200 rows
    assert last.best_mae == fitted.progress.best_mae
    assert last.train_loss == fitted.progress.history[-1].train_loss


# what cannot be trained ---------------------------------------------------------------------------


@pytest.mark.parametrize(("n", "n_validation"), [(1, 5), (0, 5), (5, 0)])
def test_too_few_rows(n, n_validation):
    data = make(10, 10)
    data = TrainingData(
        data.train_x[:n],
        data.train_y[:n],
        data.validation_x[:n_validation],
        data.validation_y[:n_validation],
    )
    with pytest.raises(TrainingError, match=f"not {n} and {n_validation}: choose another split"):
        train(data)


def test_fewest_rows():
    assert train(make(2, 1)).progress.epoch == 6


def test_several_outputs():
    with pytest.raises(TrainingError, match="has 2 outputs: one target needs 1"):
        train(notation="8BAR-2")


def test_loss_that_is_not_finite():
    folder = Memory()
    wild = replace(MODERN, learning_rate=1e38, warmup=0.0, gradient_clip=0.0)
    with pytest.raises(
        TrainingError, match="in epoch 1: look for outlandish values .* and target$"
    ):
        train(chosen=wild)
    bad = replace(DATA, train_y=np.append(DATA.train_y[:-1], np.nan))
    with pytest.raises(
        TrainingError, match="the loss is nan in epoch 1: .*, or take the recipe modern"
    ):
        train(bad, PAPER, folder=folder)
    assert folder.written == []


def test_training_stops_at_the_step_that_fails():
    bad = replace(DATA, train_y=np.full(len(DATA.train_y), np.nan))
    run = Run(ScaledData(bad, PAPER, torch.device("cpu"), None), NETWORK, PAPER, 0, None)
    with pytest.raises(TrainingError, match="the loss is nan in epoch 1"):
        next(run.epoch())


@pytest.mark.parametrize("epoch", [1, 3])
def test_weights_that_the_last_step_of_an_epoch_spoils_reach_no_checkpoint(epoch, monkeypatch):
    folder, step, taken = Memory(), Run._step, []

    def spoils(run, x, y):
        loss = step(run, x, y)
        taken.append(loss)
        if len(taken) == 6 * epoch:
            with torch.no_grad():
                run.network.output.weight.fill_(torch.inf)
        return loss

    monkeypatch.setattr(Run, "_step", spoils)
    kept = f"; the checkpoint after epoch {epoch - 1} is kept" if epoch > 1 else "them$"
    with pytest.raises(TrainingError, match=f"weights .* in epoch {epoch}: .*{kept}"):
        train(chosen=PAPER, folder=folder)
    assert len(folder.written) == epoch - 1
    monkeypatch.undo()
    assert train(chosen=PAPER, folder=folder).resumed_at == epoch - 1


@pytest.mark.parametrize("choose", [True, False])
def test_validation_error_that_is_never_finite(choose):
    bad = replace(DATA, validation_x=np.full((40, 5), np.nan, np.float32))
    with pytest.raises(TrainingError, match="no validation error was a finite number: look for"):
        train(bad, choose=choose)


# spread -------------------------------------------------------------------------------------------


def noisy(n, seed):
    """Rows whose noise grows tenfold with the second input."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(n, 3)).astype(np.float32)
    scale = np.where(x[:, 1] > 0, 1.0, 0.1)
    return x, x[:, 0] + scale * rng.laplace(size=n), scale


def test_the_spread_follows_the_noise():
    x, y, _ = noisy(6000, 0)
    fitted = fit(TrainingData(x, y, x[:200], y[:200]), NETWORK, recipe("modern").with_epochs(15))
    assert fitted.network.notation == "16BARx2-8BARx1-1S"
    new, _, scale = noisy(2000, 1)
    outputs = forward(fitted.network, fitted.inputs.forward(torch.from_numpy(new)), "fp32")
    spread = outputs[:, 1].exp() * fitted.target.scale
    large, small = spread[scale == 1].median(), spread[scale == 0.1].median()
    assert large == pytest.approx(1.0, rel=0.4)
    assert large > 3 * small


def test_the_prediction_is_the_same_as_without():
    one = train()
    other = train(chosen=replace(MODERN, spread=False))
    assert other.network.spread is None
    state = other.network.state_dict()
    assert same({k: v for k, v in one.network.state_dict().items() if k in state}, state)
    assert one.progress == other.progress


def test_recipes_without_spread_have_one_output():
    assert train(chosen=PAPER).network.spread is None


# continuing another model -------------------------------------------------------------------------


def test_a_start_lends_its_body_and_scaler():
    first = train()
    start = Start(first.network, first.inputs, first.target)
    once = replace(MODERN, learning_rate=0.0, weight_decay=0.0, averaging=0.0)
    other = fit(make(seed=5), NETWORK, once, start=start)
    body = first.network.blocks.state_dict()
    found = other.network.blocks.state_dict()
    assert all(
        torch.equal(found[k], body[k]) for k in body if "running" not in k and "num_" not in k
    )
    assert torch.equal(other.inputs.center, first.inputs.center)
    assert not torch.equal(other.network.output.weight, first.network.output.weight)
    assert not torch.equal(other.target.center, first.target.center)


def test_a_start_for_the_same_target_lends_its_output_too():
    first = train()
    start = Start(first.network, first.inputs, first.target, same_target=True)
    shifted = replace(DATA, train_y=3 * DATA.train_y + 2)  # would be scaled in another way
    still = replace(MODERN, learning_rate=0.0, weight_decay=0.0, averaging=0.0, dropout=0.0)
    data = ScaledData(shifted, still, torch.device("cpu"), start)
    before, after = first.network.eval(), Run(data, NETWORK, still, 1, start).network.eval()
    assert torch.equal(after(data.validation_x), before(data.validation_x))
    assert data.target == first.target


def test_a_start_of_another_network():
    first = train()
    message = r"^network '8BARx1-1S' cannot continue '16BARx2-8BARx1-1S' with 5 inputs: leave out"
    with pytest.raises(TrainingError, match=message):
        fit(DATA, "8BARx1-1", MODERN, start=Start(first.network, first.inputs, first.target))


def test_a_kept_checkpoint_makes_a_second_call_return_at_once(orders):
    folder = Memory()
    once = fit(DATA, NETWORK, MODERN, folder=folder, keep=True)
    count, written = len(orders), len(folder.written)
    again = fit(DATA, NETWORK, MODERN, folder=folder, keep=True)
    assert equal(again, once)
    assert (len(orders), len(folder.written)) == (count, written)


def test_prefixes_keep_checkpoints_apart():
    folder = Memory()
    one = fit(DATA, NETWORK, MODERN, folder=Prefixed(folder, "a-"), keep=True)
    other = fit(DATA, NETWORK, MODERN, seed=1, folder=Prefixed(folder, "b-"), keep=True)
    assert set(folder.files) == {f"a-{CHECKPOINT}", f"b-{CHECKPOINT}"}
    assert equal(fit(DATA, NETWORK, MODERN, folder=Prefixed(folder, "a-")), one)
    assert not equal(one, other)
