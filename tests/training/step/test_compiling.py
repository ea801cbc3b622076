"""That `trainer.compile=true` compiles by torch's own default, and what is compiled anew."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from cifarlab.job.job import Job
from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.training.step import compiling


@pytest.fixture
def compilations(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[dict[str, Any]]]:
    """The settings of each compilation. Its graph then runs as it was traced: to make code takes half a minute."""
    made: list[dict[str, Any]] = []
    compile_by_torch = torch.compile

    def noted(function: Callable[..., Any], **settings: Any) -> Callable[..., Any]:
        def backend(graph: torch.fx.GraphModule, inputs: list[Tensor]) -> Callable[..., Any]:
            made.append(settings)
            return graph.forward

        return compile_by_torch(function, **settings, backend=backend)

    monkeypatch.setattr(torch, "compile", noted)
    compiling._compiled_call.cache_clear()
    torch._dynamo.reset()
    yield made
    compiling._compiled_call.cache_clear()
    torch._dynamo.reset()


def call(net: nn.Module, batch_size: int = 4) -> None:
    compiling.compiled(net, torch.zeros(batch_size, 3, 32, 32)).sum().backward()


def test_a_run_compiles_its_net_with_torchs_own_backend(
    tiny_job: Callable[..., Job], tmp_path: Any, compilations: list[dict[str, Any]]
) -> None:
    assert tiny_job("++trainer.compile=true").execute(tmp_path / "compiled").compiled is True
    assert compilations == [
        {"dynamic": False}
    ]  # one net, one shape; no backend is asked for: torch's default, Inductor
    assert tiny_job("++trainer.compile=auto").execute(tmp_path / "plain").compiled is False  # it is not recorded
    assert len(compilations) == 1


def test_a_net_of_the_same_layers_finds_the_code_of_one_before(compilations: list[dict[str, Any]]) -> None:
    counts = []
    for net in (
        TinyVGG(10, width=4),
        TinyVGG(10, width=4),
        TinyVGG(10, width=8),
        TinyVGG(100, width=4),
        TinyVGG(10, width=4),
    ):
        call(net)
        counts.append(len(compilations))
    assert counts == [1, 1, 2, 3, 3]
