"""What the output layer is given, and two planes of it against scikit-learn and linear algebra."""

import numpy as np
import pytest
import torch
from sklearn.metrics import silhouette_score
from torch import nn

from cifarlab.probes.embedding import penultimate, planes


def test_features_are_what_the_output_layer_is_given():
    net = nn.Sequential(nn.Flatten(), nn.Linear(12, 7), nn.ReLU(), nn.Linear(7, 3))
    batches = [(torch.randn(size, 3, 2, 2), torch.arange(size) % 3) for size in (5, 4)]
    found = penultimate(net, net[3], batches)
    images = torch.cat([images for images, _ in batches])
    with torch.no_grad():
        wanted = net[:3](images)
        assert found.predicted.tolist() == net(images).argmax(1).tolist()
    assert np.array_equal(found.features, wanted.numpy())
    assert found.labels.tolist() == [0, 1, 2, 0, 1, 0, 1, 2, 0]
    assert not net[3]._forward_pre_hooks


def clouds(count=25):
    generator = np.random.default_rng(0)
    centres = generator.normal(size=(3, 8)) * 6
    labels = np.repeat(np.arange(3), count)
    return (centres[labels] + generator.normal(size=(len(labels), 8))).astype(np.float32), labels


def test_planes_are_the_largest_variance_and_keep_neighbours():
    features, labels = clouds()
    found = planes(features, seed=0)
    centred = features - features.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)
    wanted = centred @ vectors[:, ::-1][:, :2]
    assert np.abs(found.pca) == pytest.approx(np.abs(wanted), abs=1e-3)
    assert found.explained == pytest.approx(values[-2:].sum() / values.sum(), abs=1e-5)
    assert silhouette_score(found.tsne, labels) > 0.5
    assert found.perplexity == pytest.approx(74 / 3)
    assert np.array_equal(found.tsne, planes(features, seed=0).tsne)


def test_too_few_pictures_are_refused():
    with pytest.raises(ValueError, match="4 pictures of 8 features: allowed are 5 of 2, or more"):
        planes(clouds()[0][:4], seed=0)
