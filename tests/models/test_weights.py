"""Weights from files: what is opened, what is refused, and how a part fits a net."""

import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from cifarlab.models.tiny_vgg import TinyVGG
from cifarlab.models.weights import by_part, put_in, read_weights
from cifarlab.training.records.checkpoints import save_weights


def small():
    return nn.Sequential(nn.Conv2d(3, 2, 3), nn.BatchNorm2d(2))


@pytest.mark.parametrize("form", ["bare", "checkpoint", "safetensors", "npz"])
def test_reads_every_form(tmp_path, form):
    net, path = small(), tmp_path / f"weights.{form}"
    if form == "bare":
        torch.save(net.state_dict(), path)
    elif form == "checkpoint":
        save_weights(path, net, epoch=3)
    elif form == "safetensors":
        save_file(net.state_dict(), path)
    else:
        np.savez(path, **{name: value.numpy() for name, value in net.state_dict().items()})
    held = read_weights(path)
    assert set(held) == set(net.state_dict())
    assert torch.equal(held["0.weight"], net[0].weight)


class Intruder:
    """What a pickle can do when it is opened carelessly."""

    def __reduce__(self):
        return print, ("ran",)


def test_a_file_that_holds_code_is_refused_and_not_run(tmp_path, capsys):
    path = tmp_path / "evil.pth"
    torch.save({"state_dict": Intruder()}, path)
    with pytest.raises(ValueError, match=r"evil\.pth: damaged, or holds more than tensors") as caught:
        read_weights(path)
    assert "weights_only" not in str(caught.value)
    path.write_bytes(pickle.dumps(Intruder()))
    with pytest.raises(ValueError, match="more than tensors"):
        read_weights(path)
    assert "ran" not in capsys.readouterr().out


def test_files_without_weights_are_refused(tmp_path):
    with pytest.raises(ValueError, match="there is no such file"):
        read_weights(tmp_path / "nowhere.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds no tensors by name"):
        read_weights(tmp_path / "empty.pth")
    np.savez(tmp_path / "objects.npz", a=np.array([Intruder()], dtype=object))
    for name in ("text.pth", "text.safetensors", "text.npz", "objects.npz"):
        if name.startswith("text"):
            (tmp_path / name).write_text("no weights")
        with pytest.raises(ValueError, match="damaged"):
            read_weights(tmp_path / name)


def test_a_part_goes_in_and_the_rest_is_named():
    source, net = TinyVGG(7, width=4, blocks=1), TinyVGG(10, width=4, blocks=1)
    before = net.head.weight.clone()
    weights = {name: value for name, value in source.state_dict().items() if not name.startswith("dense")}
    fit = put_in(weights | {"fc.bias": torch.zeros(3)}, net)
    assert torch.equal(net.blocks[0].weight, source.blocks[0].weight)
    assert torch.equal(net.head.weight, before)
    assert fit.missing == ("dense.0.weight", "dense.0.bias")
    assert fit.misshapen == {"head.weight": ((7, 128), (10, 128)), "head.bias": ((7,), (10,))}
    assert fit.unused == ("fc.bias",)
    assert fit.untouched == ("dense.0.weight", "dense.0.bias", "head.weight", "head.bias")


def test_counters_of_batch_norm_are_not_missed():
    net = small()
    weights = {name: value for name, value in net.state_dict().items() if "num_batches" not in name}
    assert put_in(weights, net).untouched == ()


def test_names_are_counted_by_part():
    assert by_part(["bn1.weight", "bn1.bias", "layer1.0.conv1.weight", "layer1.0.bn1.bias", "gain"]) == (
        "bn1 (2), layer1.0 (2), gain (1)"
    )
