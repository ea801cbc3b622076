"""Precision, memory and what a net costs."""

from __future__ import annotations

import mmap
import platform
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from cifarlab.models.residual import ResidualCNN
from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.training.hardware import device as hardware
from cifarlab.training.hardware.cost import cost


@pytest.mark.parametrize(("gains", "expected"), [(True, "bf16-mixed"), (False, "32")])
def test_auto_precision_is_bfloat16_only_where_it_gains(
    monkeypatch: pytest.MonkeyPatch, gains: bool, expected: str
) -> None:
    monkeypatch.setattr(hardware, "gains_by_bfloat16", lambda accelerator: gains)
    assert hardware.resolve_precision("auto", "cpu") == expected
    assert hardware.resolve_precision("16-mixed", "cpu") == "16-mixed"


@pytest.mark.parametrize(
    ("vendor", "flags", "gains"),
    [
        ("AuthenticAMD", "fpu avx2 avx512f", False),
        ("AuthenticAMD", "avx512f avx512_bf16", True),
        ("GenuineIntel", "avx512f avx512_bf16", False),
        ("GenuineIntel", "avx512_bf16 amx_bf16 amx_tile", True),
    ],
)
def test_the_cpu_decides(monkeypatch: pytest.MonkeyPatch, vendor: str, flags: str, gains: bool) -> None:
    fields = {"flags": flags, "vendor_id": vendor}
    monkeypatch.setattr(hardware, "_cpu_flags", lambda: frozenset(flags.split()))
    monkeypatch.setattr(hardware, "_cpu_field", lambda name: fields[name])
    assert hardware.gains_by_bfloat16("cpu") is gains


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_peak_memory_rises_with_what_is_written() -> None:
    cpu = torch.device("cpu")
    hardware.reset_peak_memory(cpu)
    before = hardware.peak_memory_bytes(cpu)
    size = 256 * 2**20
    with mmap.mmap(-1, size) as block:  # fresh pages: the quiet allocator would hand out ones that are resident already
        block.write(b"x" * size)
        with_block = hardware.peak_memory_bytes(cpu)
    assert before is not None
    assert with_block is not None
    assert with_block - before > 0.5 * size


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc's mallopt")
def test_the_allocator_can_be_quieted() -> None:
    assert hardware.quiet_allocator() is (platform.libc_ver()[0] == "glibc")


def test_flops_of_a_convolution_and_a_linear_layer_are_the_formula() -> None:
    def net(num_classes: int) -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Flatten(), nn.Linear(8 * 32 * 32, num_classes))

    counted = cost(net, 10, (32, 32))
    assert counted.flops == 2 * 32 * 32 * 8 * 3 * 9 + 2 * 8 * 32 * 32 * 10
    assert counted.parameters == 8 * 27 + 8 + 8 * 1024 * 10 + 10


def test_cost_of_the_residual_cnn_is_counted_without_memory() -> None:
    assert cost(ResidualCNN, 10, (32, 32)).parameters == 1_227_594


def test_a_net_that_does_not_fit_the_pictures_is_refused() -> None:
    with pytest.raises(ValueError, match="4x4"):
        cost(lambda classes: nn.Sequential(nn.Conv2d(3, 1, 7), nn.Flatten(), nn.Linear(1, classes)), 10, (4, 4))
    assert cost(TinyVGG, 10, (32, 32)).flops > 0
