"""Predictions, mistakes and confusion, against a net whose answers are known."""

import numpy as np
import torch
from torch import nn

from cifarlab.probes.predictions import Predictions, predict

# The net is the identity, so that these are both the "pictures" and the logits.
LOGITS = torch.tensor([[2.0, 0, 0], [0, 1.0, 0], [0, 0, 3.0], [0.5, 0, 0], [0, 4.0, 0], [0, 1.0, 0]])
LABELS = torch.tensor([0, 2, 1, 1, 0, 0])


def test_predict_gives_argmax_and_its_softmax_over_all_batches():
    found = predict(nn.Identity(), [(LOGITS[:4], LABELS[:4]), (LOGITS[4:], LABELS[4:])])
    assert found.labels.tolist() == LABELS.tolist()
    assert found.predicted.tolist() == [0, 1, 2, 0, 1, 1]
    top = np.exp(LOGITS.max(dim=1).values.numpy())
    np.testing.assert_allclose(found.confidence, top / (top + 2), rtol=1e-6)


def test_mistakes_are_wrong_and_come_surest_first():
    found = predict(nn.Identity(), [(LOGITS, LABELS)])
    assert found.mistakes().tolist() == [4, 2, 1, 5, 3]
    assert found.confidence[found.mistakes()].tolist() == sorted(found.confidence[found.mistakes()], reverse=True)


def test_predict_turns_dropout_off():
    net = nn.Sequential(nn.Dropout(0.9)).train()
    assert np.array_equal(predict(net, [(LOGITS, LABELS)]).predicted, LOGITS.argmax(dim=1).numpy())


def test_confusion_counts_true_classes_in_rows():
    found = Predictions(np.array([0, 0, 1, 2]), np.array([0, 2, 1, 1]), np.ones(4, dtype=np.float32))
    assert found.confusion(3).tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
