"""Convolution that keeps the spatial size for any kernel, odd or even, and any stride."""

from torch import Tensor, nn
from torch.nn import functional as F


class SameConv2d(nn.Conv2d):
    """``(B, C, H, W) -> (B, channels_out, ceil(H / stride), ceil(W / stride))``, zeros beyond the border, no bias.

    An odd kernel pads both sides alike, inside the convolution. An even one needs one more row below and one more
    column on the right (the rule of TensorFlow and of ``padding="same"``), which costs a padded copy of the input;
    ``padding="same"`` itself refuses strides.
    """

    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int = 1) -> None:
        before, after = (kernel_size - 1) // 2, kernel_size // 2
        even = before != after
        super().__init__(channels_in, channels_out, kernel_size, stride, padding=0 if even else before, bias=False)
        self.border = (before, after, before, after) if even else None

    def forward(self, images: Tensor) -> Tensor:
        if self.border is not None:
            images = F.pad(images, self.border)
        return super().forward(images)
