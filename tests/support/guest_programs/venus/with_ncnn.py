# SPDX-License-Identifier: Apache-2.0
"""A small neural network by ncnn on the guest's Vulkan: as on the driver itself, and as by the processor."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import ncnn
import numpy as np

from tests.support.guest_programs.venus.cases import Outcome, run

# Type, name, inputs and outputs, parameters by number: ncnn's text format.
LAYERS = (
    "Input data 0 1 data 0=48 1=48 2=3",
    "Convolution conv1 1 1 data conv1 0=16 1=3 4=1 5=1 6=432 9=1",
    "Pooling pool1 1 1 conv1 pool1 0=0 1=2 2=2",
    "Split split 1 2 pool1 left right",
    "ConvolutionDepthWise depth 1 1 left depth 0=16 1=3 4=1 5=1 6=144 7=16",
    "BinaryOp add 2 1 depth right add 0=0",
    "Convolution conv2 1 1 add conv2 0=32 1=3 3=2 4=1 5=1 6=4608 9=1",
    "Pooling pool2 1 1 conv2 pool2 0=1 4=1",
    "InnerProduct full 1 1 pool2 full 0=10 1=1 2=320",
    "Softmax result 1 1 full result 0=0 1=1",
)
WEIGHTS = ((432, 16), (144, 16), (4608, 32), (320, 10))  # and biases of each layer that has some


def _network(folder: Path) -> tuple[Path, Path]:
    """Write the network with weights by chance."""
    blobs = 11
    param, weights = folder / "net.param", folder / "net.bin"
    param.write_text(f"7767517\n{len(LAYERS)} {blobs}\n" + "\n".join(LAYERS) + "\n", encoding="utf-8")
    chance = np.random.default_rng(11)
    with weights.open("wb") as file:
        for count, biases in WEIGHTS:
            file.write(bytes(4))  # "these are floats"
            file.write(chance.normal(0, 0.2, count).astype(np.float32).tobytes())
            file.write(chance.normal(0, 0.1, biases).astype(np.float32).tobytes())
    return param, weights


def _infer(folder: Path, *, vulkan: bool) -> np.ndarray:
    net = ncnn.Net()
    net.opt.use_vulkan_compute = vulkan
    for name in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{name}", False)
    net.opt.num_threads = 1
    param, weights = _network(folder)
    assert net.load_param(str(param)) == 0 and net.load_model(str(weights)) == 0
    image = np.random.default_rng(2).normal(0, 1, (3, 48, 48)).astype(np.float32)
    with net.create_extractor() as extractor:
        assert extractor.input("data", ncnn.Mat(image).clone()) == 0
        code, result = extractor.extract("result")
        assert code == 0
        found = np.array(result).copy()
        del result
    net.clear()
    return found


def inference() -> Outcome:
    assert ncnn.get_gpu_count() > 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        by_processor = _infer(folder, vulkan=False)
        results = [_infer(folder, vulkan=True) for _ in range(2)]
    assert np.isclose(by_processor.sum(), 1, atol=1e-4)
    for result in results:
        np.testing.assert_allclose(result, by_processor, atol=2e-3)
    return Outcome(raw={"result": results[0].tobytes()})


if __name__ == "__main__":
    ncnn.create_gpu_instance()
    _code = run({"inference": inference})
    ncnn.destroy_gpu_instance()
    sys.exit(_code)
