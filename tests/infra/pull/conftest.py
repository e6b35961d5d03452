"""Settings under which tests of pulls do not wait."""

from collections.abc import Callable

import pytest

from infra.settings import Settings

QUICK = {
    "http_timeout_s": 0.5,
    "http_attempts": 3,
    "http_backoff_s": 0.01,
    "request_gap_s": 0.0,
}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Makes settings, and sets the environment alike."""

    def make(**changes: object) -> Settings:
        values = {**QUICK, **changes}
        for name, value in values.items():
            monkeypatch.setenv(f"IRNET_{name.upper()}", str(value))
        return Settings()

    return make
