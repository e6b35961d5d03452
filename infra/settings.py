"""The settings, read from environment variables that start with ``IRNET_``."""

from __future__ import annotations

import difflib
import os
from typing import Any, Literal

from pydantic import ByteSize, Field, NonNegativeFloat, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict, SettingsError

from irnet_core.errors import IRNetError


class Settings(BaseSettings):
    """Where results go and what the machine may use.

    Each field is set by the variable ``IRNET_`` plus its name in capitals, for example
    ``IRNET_STORE=s3://bucket/irnet``; no ``.env`` file is read. Key and address of the Materials
    Project are read from ``MP_API_KEY`` and ``MP_API_ENDPOINT``, the variables of its own client.

    Examples
    --------
    >>> Settings(store="memory://demo").store
    'memory://demo'
    """

    model_config = SettingsConfigDict(
        env_prefix="IRNET_",
        env_file=None,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
        populate_by_name=True,
    )

    store: str = "./data"
    """Root of the store, a local path or any fsspec URL such as ``s3://bucket/folder``."""

    dask_address: str | None = None
    """Address of a running Dask scheduler, for example ``tcp://host:8786``; none starts the cluster
    that ``dask_cluster`` names."""

    dask_cluster: Literal["local", "htcondor", "kubernetes", "lsf", "pbs", "sge", "slurm"] = "local"
    """Kind of cluster to start: on this machine, through a batch system (dask-jobqueue) or on
    Kubernetes (dask-kubernetes)."""

    dask_cluster_options: dict[str, Any] = {}
    """Arguments of that cluster as JSON, for example ``{"cores": 16, "memory": "64GB", "processes":
    16, "queue": "normal"}``; what is not given comes from Dask's own configuration."""

    dask_workers: int | None = Field(default=None, ge=1)
    """Worker processes of the cluster; none means one per processor core here, one elsewhere.
    Screens on this machine take threads instead of up to four."""

    dask_memory_limit: ByteSize = Field(default=ByteSize(2 << 30), ge=256 << 20)
    """Memory that each worker process of the local cluster may hold, and each process that works on
    structures, for example ``4GiB``; their libraries alone take 200 MB."""

    row_limit_s: float = Field(default=60.0, gt=0)
    """Seconds that one structure, or one row of a matminer featurizer, may take."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that numerical libraries use in the main process; none leaves it to them."""

    device: str = "auto"
    """Torch device for training and prediction; ``auto`` takes a GPU if there is one."""

    # addresses of databases, to be replaced by those of mirrors and tests
    oqmd_url: str = "https://oqmd.org"
    """OQMD; below it are ``/oqmdapi`` and ``/optimade``."""

    oqmd_release: str = "not stated"
    """Release that the server of OQMD runs, such as ``v1_6__112023``; it does not say so itself."""

    aflow_url: str = "https://aflow.org"
    """AFLOW; below it is ``/API/aflux``."""

    jarvis_url: str = "https://ndownloader.figshare.com"
    """Where the archives of JARVIS are downloaded; below it is ``/files``."""

    jarvis_store: str | None = None
    """Folder in which archives of JARVIS are kept; none means that of jarvis-tools itself,
    ``~/.cache/atomgptlab/jarvis_data`` unless ``ATOMGPTLAB_CACHE`` names another."""

    optimade_url: str = "https://oqmd.org/optimade"
    """Any provider of OPTIMADE; below it is ``/structures``, or ``/v1/structures``."""

    mp_api_endpoint: str = Field(
        default="https://api.materialsproject.org/", validation_alias="MP_API_ENDPOINT"
    )
    """REST interface of the Materials Project, variable ``MP_API_ENDPOINT``."""

    mp_api_key: SecretStr | None = Field(default=None, validation_alias="MP_API_KEY")
    """Key of the Materials Project, variable ``MP_API_KEY``; never printed or written."""

    cache: str = "~/.cache/irnet"
    """Folder for what is downloaded as a whole file (matminer, Delta tables of the Materials
    Project) and that a pull that was killed goes on from."""

    matminer_url: str | None = None
    """Where the files of matminer are downloaded instead of the addresses in its own list, each as
    ``<name>.json.gz`` below it."""

    # how servers are asked
    request_gap_s: float = Field(default=0.2, ge=0)
    """Least time between the starts of two requests to a server, in seconds."""

    request_gaps_s: dict[str, NonNegativeFloat] = Field(default_factory=dict)
    """That time for single sources instead: ``IRNET_REQUEST_GAPS_S={"aflow": 1.0, "mp": 0.05}``."""

    http_timeout_s: float = Field(default=90.0, gt=0)
    """How long a server may be silent, in seconds; a whole answer may take ten times as long."""

    http_attempts: int = Field(default=8, ge=1)
    """How often a request is made before it counts as unanswered."""

    http_backoff_s: float = Field(default=1.0, ge=0)
    """Wait before the second attempt, in seconds, less a random part; it doubles with each."""

    http_most_wait_s: float = Field(default=600.0, ge=0)
    """Longest single wait, in seconds; a pull ends if a server asks for more by Retry-After."""

    http_most_bytes: int = Field(default=256 << 20, ge=1)
    """Longest answer that is read into memory, in bytes after decompression."""

    archive_most_bytes: int = Field(default=16 << 30, ge=1)
    """Largest archive of a database, in bytes, packed or unpacked."""

    archive_most_ratio: float = Field(default=200.0, ge=1)
    """Most that an archive may unpack to, as a multiple of its own size; JSON comes to about 10.
    64 MiB are always allowed."""

    most_skipped_rows: int = Field(default=100, ge=0)
    """Rows of a pull that a server may be unable to give before the pull fails."""


#: Where a text is to be JSON.
_EXAMPLES = {
    "dask_cluster_options": '{"cores": 16, "memory": "64GB"}',
    "request_gaps_s": '{"aflow": 1.0}',
}


def settings() -> Settings:
    """Settings as the environment gives them at this moment.

    Raises
    ------
    IRNetError
        If a variable holds a value that cannot be used, or has nearly the name of a setting.
    """
    _refuse_misspelled()
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0])
        value = "set" if name == "MP_API_KEY" else repr(first["input"])
        raise IRNetError(
            f"{_variable(name)} is {value}: {first['msg']}; correct or unset it"
        ) from error
    except SettingsError as error:  # text that is to be JSON and is not
        name = next((name for name in _EXAMPLES if f'"{name}"' in str(error)), "")
        example = _EXAMPLES.get(name, "{}")
        raise IRNetError(
            f"{_variable(name)} is {os.environ.get(_variable(name), '')!r}, no JSON: give it as "
            f"{example}, or unset it"
        ) from error


def _variable(name: str) -> str:
    """Environment variable of a field."""
    return name.upper() if name.upper().startswith("MP_API_") else f"IRNET_{name}".upper()


def _refuse_misspelled() -> None:
    """A store or a limit that is misspelled would be none, without a word."""
    known = [_variable(name) for name in Settings.model_fields]
    for name, value in os.environ.items():
        if not (name.startswith("IRNET_") and value) or name in known:
            continue
        if near := difflib.get_close_matches(name, known, n=1, cutoff=0.88):
            raise IRNetError(f"{name} is no setting, {near[0]} is: correct or unset it")
