import pytest

from infra.settings import Settings, settings
from irnet_core.errors import IRNetError


def test_defaults(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"IRNET_{name.upper()}", raising=False)
    found = settings()
    assert found.store == "./data"
    assert found.dask_address is None
    assert found.dask_memory_limit == "2GiB"
    assert found.device == "auto"


def test_environment_is_read_each_time(monkeypatch):
    monkeypatch.setenv("IRNET_STORE", "memory://one")
    monkeypatch.setenv("IRNET_DASK_WORKERS", "3")
    assert (settings().store, settings().dask_workers) == ("memory://one", 3)
    monkeypatch.setenv("IRNET_STORE", "memory://two")
    assert settings().store == "memory://two"


def test_empty_variable_is_no_setting(monkeypatch):
    monkeypatch.setenv("IRNET_THREADS", "")
    assert settings().threads is None


def test_dotenv_is_not_read(monkeypatch, tmp_path):
    monkeypatch.delenv("IRNET_STORE", raising=False)
    (tmp_path / ".env").write_text("IRNET_STORE=elsewhere\n")
    monkeypatch.chdir(tmp_path)
    assert settings().store == "./data"


def test_wrong_type_is_refused(monkeypatch):
    monkeypatch.setenv("IRNET_DASK_WORKERS", "0")
    with pytest.raises(IRNetError, match=r"^IRNET_DASK_WORKERS is '0': .*; correct or unset it$"):
        settings()
