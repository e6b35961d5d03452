"""The settings, read from environment variables that start with ``IRNET_``."""

from __future__ import annotations

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from irnet_core.errors import IRNetError


class Settings(BaseSettings):
    """Where results go and what the machine may use.

    Each field is set by the variable ``IRNET_`` plus its name in capitals, for example
    ``IRNET_STORE=s3://bucket/irnet``; no ``.env`` file is read.

    Examples
    --------
    >>> Settings(store="memory://demo").store
    'memory://demo'
    """

    model_config = SettingsConfigDict(
        env_prefix="IRNET_", env_file=None, extra="ignore", frozen=True, env_ignore_empty=True
    )

    store: str = "./data"
    """Root of the store, a local path or any fsspec URL such as ``s3://bucket/folder``."""

    dask_address: str | None = None
    """Address of a running Dask scheduler, for example ``tcp://host:8786``; none starts a local
    cluster."""

    dask_workers: int | None = Field(default=None, ge=1)
    """Worker processes of the local cluster; none means one per processor core."""

    dask_memory_limit: str = "2GiB"
    """Memory that each worker process of the local cluster may hold."""

    threads: int | None = Field(default=None, ge=1)
    """Threads that numerical libraries use in the main process; none leaves it to them."""

    device: str = "auto"
    """Torch device for training and prediction; ``auto`` takes a GPU if there is one."""


def settings() -> Settings:
    """Settings as the environment gives them at this moment.

    Raises
    ------
    IRNetError
        If a variable holds a value that cannot be used.
    """
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors()[0]
        variable = f"IRNET_{first['loc'][0]}".upper()
        raise IRNetError(
            f"{variable} is {first['input']!r}: {first['msg']}; correct or unset it"
        ) from error
