"""What stands between the store and the world: plain names, and errors that say what to do."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa

from irnet_core.errors import StoreError

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}")
_REMEDIES = {
    errno.ENOSPC: "free some space and run again, finished parts are kept",
    errno.EDQUOT: "free some of your quota and run again, finished parts are kept",
    errno.EROFS: "set IRNET_STORE to a folder that can be written",
    errno.EACCES: "change the permissions or set IRNET_STORE to another folder",
    errno.EPERM: "change the permissions or set IRNET_STORE to another folder",
    errno.ENOTDIR: "a file lies where a folder should be, move it or set IRNET_STORE",
    errno.EEXIST: "a file lies where a folder should be, move it or set IRNET_STORE",
    errno.ENOENT: "check IRNET_STORE, or run the step that makes it",
}


@contextmanager
def store_errors(action: str, where: str) -> Iterator[None]:
    """Turn what operating system, network and Arrow raise into a :class:`StoreError`."""
    try:
        yield
    except pa.ArrowException as error:
        raise StoreError(
            f"cannot {action} {where}: the file is damaged ({error}); remove it and run the step "
            "that makes it again"
        ) from error
    except OSError as error:
        code = error.errno if error.errno is not None else _errno_of(error)
        reason = os.strerror(code) if code else str(error) or type(error).__name__
        remedy = _REMEDIES.get(code or 0, "check that the store can be reached and run again")
        raise StoreError(f"cannot {action} {where}: {reason}; {remedy}") from error


def _errno_of(error: OSError) -> int | None:
    """Code of errors that remote file systems raise by class only."""
    classes = {FileNotFoundError: errno.ENOENT, PermissionError: errno.EACCES}
    return next((code for class_, code in classes.items() if isinstance(error, class_)), None)


def check_name(name: str, what: str = "file name") -> str:
    """Return the name if it is plain, that is, cannot lead out of its folder.

    Raises
    ------
    StoreError
        Unless it consists of letters, digits, ``._-`` and starts with a letter or digit.
    """
    if not NAME.fullmatch(name):
        raise StoreError(
            f"{name!r} is no {what}: use letters, digits, dots, dashes and underscores, "
            "starting with a letter or digit"
        )
    return name
