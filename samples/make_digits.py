"""Train the sample network on scikit-learn's handwritten digits and write it as ONNX, Caffe and darknet.

    pip install . torch scikit-learn
    python -m samples.make_digits

1,797 real 8x8 pictures; a quarter of them, the same share of every digit, is held out and lies beside the
models. Seeded and on one thread, so the same versions on the same kind of machine write the same bytes.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch.nn import functional as F

from .network import (
    EPSILON,
    INPUT,
    NETWORK,
    SLOPE,
    Conv,
    Dense,
    MaxPool,
    Parameters,
    Shortcut,
    normalised,
    shapes,
)
from .write_caffe import FRACTION, caffe_files
from .write_darknet import darknet_files
from .write_onnx import onnx_bytes

HERE = Path(__file__).parent
SEED, EPOCHS, BATCH, RATE, DECAY = 7, 60, 32, 0.05, 5e-4
Tensors = dict[str, torch.Tensor]


def main() -> None:
    torch.manual_seed(SEED)
    torch.set_num_threads(1)
    pictures, digits = load_digits(return_X_y=True)
    pictures = (pictures.reshape(-1, 1, 8, 8) / 16).astype(np.float32)
    split = train_test_split(pictures, digits, test_size=0.25, stratify=digits, random_state=SEED)
    train, held_out, train_digits, held_out_digits = split
    parameters, seen = trained(torch.from_numpy(train), torch.from_numpy(train_digits))
    guesses = forward(parameters, torch.from_numpy(held_out), training=False).argmax(1).numpy()
    print(f"{np.sum(guesses == held_out_digits)} of {len(held_out)} held-out digits right")
    write({name: tensor.detach().numpy() for name, tensor in parameters.items()}, seen)
    np.savez_compressed(HERE / "digits_inputs.npz", **{INPUT: held_out})
    np.save(HERE / "digits_labels.npy", held_out_digits.astype(np.int64))


def write(parameters: Parameters, seen: int) -> None:
    """The three twins."""
    (HERE / "digits.onnx").write_bytes(onnx_bytes(parameters))
    prototxt, caffemodel = caffe_files(parameters)
    (HERE / "digits.prototxt").write_text(prototxt)
    (HERE / "digits.caffemodel").write_bytes(caffemodel)
    cfg, weights = darknet_files(parameters, seen)
    (HERE / "digits.cfg").write_text(cfg)
    (HERE / "digits.weights").write_bytes(weights)


def trained(pictures: torch.Tensor, digits: torch.Tensor) -> tuple[Tensors, int]:
    """Parameters after training, and how many pictures were seen. Stochastic gradient descent on pictures
    moved by up to one pixel."""
    parameters = initial()
    height, width = pictures.shape[2:]
    learned = [tensor for name, tensor in parameters.items() if not name.endswith(("/mean", "/variance"))]
    optimiser = torch.optim.SGD(learned, lr=RATE, momentum=0.9, weight_decay=DECAY, nesterov=True)
    steps = EPOCHS * (len(pictures) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, RATE, total_steps=steps)
    for _ in range(EPOCHS):
        for batch in torch.randperm(len(pictures))[: len(pictures) // BATCH * BATCH].split(BATCH):
            down, right = torch.randint(0, 3, (2,)).tolist()
            moved = F.pad(pictures[batch], (1, 1, 1, 1))[:, :, down : down + height, right : right + width]
            logits = forward(parameters, moved, training=True)
            optimiser.zero_grad()
            F.cross_entropy(logits, digits[batch]).backward()
            optimiser.step()
            schedule.step()
    return parameters, steps * BATCH


def initial() -> Tensors:
    """He's initialisation; batch norms begin as the identity on standard data."""
    parameters: Tensors = {}
    for name, shape in shapes().items():
        what = name.rpartition("/")[2]
        if what == "weight":
            fan_in = int(np.prod(shape[1:]))
            parameters[name] = torch.randn(shape) * (2 / fan_in) ** 0.5
        else:
            parameters[name] = torch.ones(shape) if what in ("gamma", "variance") else torch.zeros(shape)
        parameters[name].requires_grad_(what not in ("mean", "variance"))
    return parameters


def forward(parameters: Tensors, x: torch.Tensor, training: bool) -> torch.Tensor:
    """The logits. While training, batch norms use the batch's statistics and move their own."""
    results: Tensors = {}
    for layer in NETWORK:
        weight = parameters.get(f"{layer.name}/weight")
        if isinstance(layer, Conv):
            x = F.conv2d(x, weight, stride=layer.stride, padding=layer.size // 2, groups=layer.groups)
        elif isinstance(layer, Dense):
            x = F.linear(x.flatten(1), weight, parameters.get(f"{layer.name}/bias"))
        elif isinstance(layer, Shortcut):
            x = x + results[layer.source]
        elif isinstance(layer, MaxPool):
            x = F.max_pool2d(x, layer.size)
        if normalised(layer):
            mean, variance, gamma, beta = (
                parameters[f"{layer.name}/{what}"] for what in ("mean", "variance", "gamma", "beta")
            )
            x = F.batch_norm(x, mean, variance, gamma, beta, training, momentum=1 - FRACTION, eps=EPSILON)
        if (slope := SLOPE.get(getattr(layer, "activation", "linear"))) is not None:
            x = F.leaky_relu(x, slope)
        results[layer.name] = x
    return x


if __name__ == "__main__":
    main()
