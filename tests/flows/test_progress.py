import flows.progress
from flows.progress import progress


def test_lines_where_there_is_no_terminal(monkeypatch, capsys):
    monkeypatch.setattr(flows.progress, "SECONDS_BETWEEN_LINES", 0.0)
    with progress("study", 2) as update:
        update(0, "begun")
        update(0.75, "epoch 3/4")
    first, second, last = capsys.readouterr().err.splitlines()
    assert first == "study: 0 of 2, unknown time left  begun"
    assert second == "study: 0 of 2, 0 s left  epoch 3/4"
    assert last.startswith("study: done in ")


def test_what_an_earlier_run_has_done_takes_no_time(monkeypatch, capsys):
    monkeypatch.setattr(flows.progress, "SECONDS_BETWEEN_LINES", 0.0)
    now = iter([0.0, 10.0, 20.0, 30.0])
    monkeypatch.setattr(flows.progress.time, "monotonic", lambda: next(now))
    with progress("train", 1000) as update:
        update(500, "resumed")
        update(600, "on")
    _, second, _ = capsys.readouterr().err.splitlines()
    assert second == "train: 600 of 1,000, 40 s left  on"
