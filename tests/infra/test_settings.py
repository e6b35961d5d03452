import pytest

from infra.settings import Settings, settings
from irnet_core.errors import IRNetError


def test_defaults(monkeypatch):
    for name in Settings.model_fields:
        monkeypatch.delenv(f"IRNET_{name.upper()}", raising=False)
    found = settings()
    assert found.store == "./data"
    assert found.dask_address is None
    assert found.dask_memory_limit == 2**31
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


KEY = "0123456789abcdef0123456789abcdef"


def test_key_and_endpoint_have_the_names_of_the_client(monkeypatch):
    monkeypatch.setenv("MP_API_KEY", KEY)
    monkeypatch.setenv("MP_API_ENDPOINT", "http://127.0.0.1:1/")
    found = settings()
    assert found.mp_api_key.get_secret_value() == KEY
    assert found.mp_api_endpoint == "http://127.0.0.1:1/"
    assert KEY not in f"{found!r} {found} {found.model_dump()} {found.model_dump_json()}"
    monkeypatch.delenv("MP_API_KEY")
    assert settings().mp_api_key is None


def test_settings_by_name(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    assert Settings(mp_api_key=KEY, oqmd_url="http://x").mp_api_key.get_secret_value() == KEY
    assert Settings(mp_api_endpoint="http://y").mp_api_endpoint == "http://y"


def test_gaps_of_single_sources(monkeypatch):
    monkeypatch.setenv("IRNET_REQUEST_GAPS_S", '{"aflow": 1.5}')
    assert settings().request_gaps_s == {"aflow": 1.5}
    monkeypatch.setenv("IRNET_REQUEST_GAPS_S", "aflow=1.5")
    with pytest.raises(IRNetError, match=r"^IRNET_REQUEST_GAPS_S is 'aflow=1.5', no JSON: .*aflow"):
        settings()
    monkeypatch.setenv("IRNET_REQUEST_GAPS_S", '{"aflow": "often"}')
    with pytest.raises(IRNetError, match="^IRNET_REQUEST_GAPS_S is 'often': "):
        settings()
    monkeypatch.setenv("IRNET_REQUEST_GAPS_S", '{"aflow": -1}')
    with pytest.raises(IRNetError, match="^IRNET_REQUEST_GAPS_S is -1: "):
        settings()


def test_options_that_are_no_json(monkeypatch):
    monkeypatch.setenv("IRNET_DASK_CLUSTER_OPTIONS", "cores=4")
    with pytest.raises(IRNetError, match=r"^IRNET_DASK_CLUSTER_OPTIONS is 'cores=4', .*\"cores\""):
        settings()


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("STOER", "STORE"), ("DASK_WORKER", "DASK_WORKERS"), ("DASK_ADRESS", "DASK_ADDRESS")],
)
def test_nearly_the_name_of_a_setting(monkeypatch, wrong, right):
    monkeypatch.setenv(f"IRNET_{wrong}", "4")
    with pytest.raises(IRNetError, match=f"^IRNET_{wrong} is no setting, IRNET_{right} is: "):
        settings()
    monkeypatch.setenv(f"IRNET_{wrong}", "")
    settings()


def test_other_names_are_nobodys_business(monkeypatch):
    monkeypatch.setenv("IRNET_HOME", "/somewhere")
    monkeypatch.setenv("IRNET_THOROUGH", "1")
    monkeypatch.setenv("IRNET_STORE", "memory://one")
    assert settings().store == "memory://one"


@pytest.mark.parametrize(
    ("name", "value"),
    [("HTTP_TIMEOUT_S", "0"), ("HTTP_ATTEMPTS", "none"), ("MOST_SKIPPED_ROWS", "-1")],
)
def test_wrong_limits(monkeypatch, name, value):
    monkeypatch.setenv(f"IRNET_{name}", value)
    with pytest.raises(IRNetError, match=f"^IRNET_{name} is '{value}': .*; correct or unset it$"):
        settings()


@pytest.mark.parametrize("limit", ["auto", "much", "-1GiB", "0", "0.5", "100MB"])
def test_memory_that_is_no_size_or_too_little(monkeypatch, limit):
    monkeypatch.setenv("IRNET_DASK_MEMORY_LIMIT", limit)
    with pytest.raises(IRNetError, match=r"^IRNET_DASK_MEMORY_LIMIT is .*; correct or unset it$"):
        settings()


@pytest.mark.parametrize(("limit", "size"), [("4GiB", 4 << 30), ("4 GB", 4 * 10**9)])
def test_memory_as_dask_writes_it(monkeypatch, limit, size):
    monkeypatch.setenv("IRNET_DASK_MEMORY_LIMIT", limit)
    assert settings().dask_memory_limit == size
