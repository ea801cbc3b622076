"""What the hardware wants: allocator, precision, memory accounting."""

from __future__ import annotations

import ctypes
import functools
import os
import platform
import sys
from pathlib import Path

import torch

from cifarlab.training.hardware.cores import usable_cores

M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # mallopt(3)


@functools.cache
def quiet_allocator() -> bool:
    """Keep freed activations mapped instead of returning them to the kernel after every step.

    glibc maps each large tensor anew and every page of it faults: 18,000 to 230,000 faults a step, which halved the
    speed of fp32 training on two CPU cores. Changes no number. False where the C library is not glibc.
    """
    if not sys.platform.startswith("linux") or platform.libc_ver()[0] != "glibc":
        return False
    libc = ctypes.CDLL("libc.so.6")
    return bool(
        libc.mallopt(M_MMAP_MAX, 0) and libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1) and libc.mallopt(M_TOP_PAD, 2**28)
    )


def share_threads(processes: int) -> None:
    """Divide the cores among the processes of a run on this machine, unless OMP_NUM_THREADS says how many each has.

    As Lightning does when it starts them, which is after a run has written down how many threads it has.
    """
    if processes > 1 and "OMP_NUM_THREADS" not in os.environ:
        threads = max(1, usable_cores() // processes)
        torch.set_num_threads(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)


def gains_by_bfloat16(accelerator: str) -> bool:
    """Whether bfloat16 products are faster than those of float32 on ``cpu``, ``cuda`` or ``mps``; emulated, they lose.

    An Intel CPU whose AMX is missing or hidden by a hypervisor loses with AVX512-BF16 too: on a Xeon of model 207 one
    thread convolved at 82 to 97 GFLOP/s in bfloat16 and at 106 to 168 in float32, forward and backward, and tiny VGG
    trained on 432 and 731 images/s. AMD's Zen 4 and 5 double their speed by it.
    """
    if accelerator == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if accelerator == "cpu":
        intel = _cpu_field("vendor_id") == "GenuineIntel"
        return "amx_bf16" in _cpu_flags() or ("avx512_bf16" in _cpu_flags() and not intel)
    return False


def resolve_precision(precision: str, accelerator: str) -> str:
    """``auto`` -> ``bf16-mixed`` where the device gains by it, else ``32``; any other value as it is."""
    if precision != "auto":
        return precision
    return "bf16-mixed" if gains_by_bfloat16(accelerator) else "32"


def device_name(device: torch.device) -> str:
    """``NVIDIA H200``, or the CPU's model and its number of threads."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    model = _cpu_field("model name") or platform.processor() or platform.machine()
    return f"{model} ({torch.get_num_threads()} threads)"


def reset_peak_memory(device: torch.device) -> None:
    """Start counting anew, so that a job of a sweep does not inherit the peak of the one before."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    else:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # proc(5): resets VmHWM
        except OSError:
            return


def peak_memory_bytes(device: torch.device) -> int | None:
    """Bytes allocated at the peak on a CUDA device, or the process's largest resident size on Linux."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return None
    sizes = [int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:")]
    return sizes[0] if sizes else None


@functools.cache
def _cpu_flags() -> frozenset[str]:
    return frozenset(_cpu_field("flags").split())


@functools.cache
def _cpu_field(name: str) -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return ""
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(name)), "")
