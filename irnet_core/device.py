"""Where a network runs and how its matrices are multiplied there."""

from __future__ import annotations

from functools import cache

import torch

from irnet_core.errors import ModelError


def pick_device(name: str = "auto") -> torch.device:
    """Device by name; ``auto`` is the GPU if there is one.

    Raises
    ------
    ModelError
        If a GPU is asked for and none can be used.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    unknown = f"device {name!r} is not known: use auto, cpu, cuda or cuda:N"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ModelError(unknown) from error
    if device.type not in ("cpu", "cuda"):
        raise ModelError(unknown)
    if device.type == "cuda":
        there = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if not there:
            raise ModelError(f"device {name!r} is not there: no CUDA device can be used, take cpu")
        if (device.index or 0) >= there:
            raise ModelError(f"device {name!r} is not there: the last is cuda:{there - 1}")
    return device


def has_native_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 matrices faster than float32 ones.

    A GPU must be an Ampere or later, a CPU have matrix units (AMX) or AVX-512 BF16; elsewhere
    bfloat16 is emulated, and hundreds of times slower.
    """
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        capabilities = torch.cpu.get_capabilities()
        return bool(capabilities.get("amx_bf16") or capabilities.get("avx512_bf16"))
    return False


@cache
def has_amx() -> bool:
    """Whether this CPU has matrix units for bfloat16."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def autocast(device: torch.device, precision: str) -> torch.autocast:
    """Context in which matrices are multiplied in the chosen precision.

    With ``auto`` that is bfloat16 where the device has it natively, else float32.
    """
    enabled = precision == "auto" and has_native_bf16(device)
    # the cache of cast weights belongs to the process: networks that train in threads would clear
    # each other's, and gradients would be summed now in one precision, now in the other
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=enabled, cache_enabled=False)
