"""What docs/runtimes.md says of other runtimes, tried with them: a folded model gives the same there, and what they leave of
a batch norm that they cannot fuse is gone."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

import bnfold

ROOT = Path(__file__).resolve().parents[2]
SAMPLE = ROOT / "samples" / "digits.onnx"
# A batch norm behind a Concat, and one before a convolution: neither stands directly behind a convolution.
APART = """
<ir_version: 8, opset_import: ["" : 17]>
g (float[1, 3, 8, 8] x) => (float[1, 4, 8, 8] y) {
  a = Conv(x, w1)
  b = Conv(x, w2)
  r = Relu(b)
  c = Concat<axis=1>(a, r)
  n = BatchNormalization(c, gamma, beta, mean, variance)
  y = Conv(n, w3)
}
"""


@pytest.fixture
def apart(tmp_path: Path) -> Path:
    draw = np.random.default_rng(0)
    proto = onnx.parser.parse_model(APART)
    shapes = {
        "w1": (4, 3, 1, 1),
        "w2": (4, 3, 1, 1),
        "w3": (4, 8, 1, 1),
        "gamma": (8,),
        "beta": (8,),
        "mean": (8,),
    }
    for name, shape in shapes.items():
        array = draw.normal(size=shape).astype(np.float32)
        proto.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    variance = draw.uniform(0.5, 2, 8).astype(np.float32)
    proto.graph.initializer.append(onnx.numpy_helper.from_array(variance, "variance"))
    onnx.save(proto, tmp_path / "apart.onnx")
    return tmp_path / "apart.onnx"


def expected(path: Path, x: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]  # type: ignore[no-any-return]


def near(one: np.ndarray, other: np.ndarray) -> bool:
    return bool(np.abs(one - other).max() <= 1e-4 * max(1.0, np.abs(other).max()))


def test_openvino_computes_the_same(tmp_path: Path, apart: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    core = openvino.Core()
    for source, shape in ((SAMPLE, (1, 1, 8, 8)), (apart, (1, 3, 8, 8))):
        folded = bnfold.fold_file(source, out=tmp_path / "net.onnx").path
        assert folded is not None
        x = np.random.default_rng(1).uniform(size=shape).astype(np.float32)
        precise = {"INFERENCE_PRECISION_HINT": "f32"}  # else some processors compute in bfloat16
        assert near(core.compile_model(folded, "CPU", precise)([x])[0], expected(source, x))


def test_openvino_leaves_what_does_not_stand_behind_a_convolution(tmp_path: Path, apart: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")

    def layers(path: Path) -> Counter[str]:
        compiled = openvino.Core().compile_model(path, "CPU")
        kinds = [op.get_rt_info()["layerType"] for op in compiled.get_runtime_model().get_ops()]
        return Counter(str(getattr(kind, "value", kind)) for kind in kinds)

    folded = bnfold.fold_file(apart, out=tmp_path / "net.onnx").path
    assert folded is not None
    assert sum(layers(folded).values()) < sum(layers(apart).values())


def converted(path: Path, shape: tuple[int, ...], *options: str) -> Path:
    """The `.param` of pnnx, which works in the folder of its input."""
    pnnx = Path(sys.executable).parent / "pnnx"
    sizes = f"inputshape=[{','.join(map(str, shape))}]"
    command = [pnnx, path.name, sizes, *options]
    subprocess.run(command, cwd=path.parent, check=True, capture_output=True, timeout=120)
    return path.with_name(f"{path.stem}.ncnn.param")


def run_in_ncnn(param: Path, x: np.ndarray) -> np.ndarray:
    import ncnn

    with ncnn.Net() as net:
        net.load_param(str(param))
        net.load_model(str(param.with_suffix(".bin")))
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(x[0]).clone())
            return np.array(extractor.extract("out0")[1])


@pytest.mark.parametrize("which", ["sample", "apart"])
def test_ncnn_computes_the_same(tmp_path: Path, apart: Path, which: str) -> None:
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    if not (Path(sys.executable).parent / "pnnx").exists():
        pytest.skip("pnnx is not installed")
    source, shape = (SAMPLE, (1, 1, 8, 8)) if which == "sample" else (apart, (1, 3, 8, 8))
    folded = bnfold.fold_file(source, out=tmp_path / "net.onnx").path
    assert folded is not None
    param = converted(folded, shape)
    assert "BatchNorm" not in param.read_text()
    x = np.random.default_rng(1).uniform(size=shape).astype(np.float32)
    assert near(run_in_ncnn(param, x).reshape(-1), expected(source, x).reshape(-1))


def test_ncnn_keeps_a_batch_norm_behind_a_concat(tmp_path: Path, apart: Path) -> None:
    if not (Path(sys.executable).parent / "pnnx").exists():
        pytest.skip("pnnx is not installed")
    assert (
        "BatchNorm" in converted(Path(shutil.copy(apart, tmp_path / "kept.onnx")), (1, 3, 8, 8)).read_text()
    )


PIXELS = np.random.default_rng(2).integers(0, 256, (8, 8, 3)).astype(np.uint8)
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.fixture
def baked(tmp_path: Path, apart: Path) -> Path:
    options = {"bake_input": {"mean": MEAN, "std": STD, "order": "bgr"}, "fix_shape": (1, 3, 8, 8)}
    path = bnfold.fold_file(apart, out=tmp_path / "baked.onnx", **options).path  # type: ignore[arg-type]
    assert path is not None
    return path


def test_openvinos_own_preprocessing_gives_the_same(apart: Path, baked: Path) -> None:
    openvino = pytest.importorskip("openvino", reason="OpenVINO is not installed")
    preprocess = pytest.importorskip("openvino.preprocess")
    processor = preprocess.PrePostProcessor(openvino.Core().read_model(apart))
    layout = openvino.Layout("NHWC")
    processor.input().tensor().set_element_type(openvino.Type.u8).set_layout(layout)
    processor.input().model().set_layout(openvino.Layout("NCHW"))
    steps = processor.input().preprocess().convert_element_type(openvino.Type.f32)
    steps.mean(MEAN).scale(STD).reverse_channels()
    precise = {"INFERENCE_PRECISION_HINT": "f32"}
    theirs = openvino.Core().compile_model(processor.build(), "CPU", precise)(PIXELS[None])[0]
    raw = PIXELS.transpose(2, 0, 1)[None].astype(np.float32)
    assert near(openvino.Core().compile_model(baked, "CPU", precise)([raw])[0], theirs)


def test_ncnns_own_preprocessing_gives_the_same(tmp_path: Path, apart: Path, baked: Path) -> None:
    ncnn = pytest.importorskip("ncnn", reason="ncnn is not installed")
    if not (Path(sys.executable).parent / "pnnx").exists():
        pytest.skip("pnnx is not installed")
    plain = Path(shutil.copy(apart, tmp_path / "plain.onnx"))

    def run(path: Path, x: object) -> np.ndarray:
        param = converted(path, (1, 3, 8, 8), "fp16=0")  # else weights are rounded to half precision
        with ncnn.Net() as net:
            net.opt.use_fp16_packed = net.opt.use_fp16_storage = net.opt.use_fp16_arithmetic = False
            net.load_param(str(param))
            net.load_model(str(param.with_suffix(".bin")))
            with net.create_extractor() as extractor:
                extractor.input("in0", x)
                return np.array(extractor.extract("out0")[1])

    picture = ncnn.Mat.from_pixels(PIXELS, ncnn.Mat.PixelType.PIXEL_RGB2BGR, 8, 8)
    picture.substract_mean_normalize(MEAN[::-1], [1 / std for std in STD[::-1]])
    raw = ncnn.Mat.from_pixels(PIXELS, ncnn.Mat.PixelType.PIXEL_RGB, 8, 8)
    assert near(run(baked, raw).reshape(-1), run(plain, picture).reshape(-1))


def test_opencvs_own_preprocessing_gives_the_same(tmp_path: Path, apart: Path) -> None:
    cv2 = pytest.importorskip("cv2", reason="OpenCV is not installed")
    means, scale = (104.0, 117.0, 123.0), 0.017
    options = {"bake_input": {"mean": means[::-1], "scale": scale, "order": "bgr"}, "input_type": "uint8"}
    path = bnfold.fold_file(apart, out=tmp_path / "baked.onnx", **options).path  # type: ignore[arg-type]
    plain, net = cv2.dnn.readNetFromONNX(str(apart)), cv2.dnn.readNetFromONNX(str(path))
    plain.setInput(cv2.dnn.blobFromImage(PIXELS, scalefactor=scale, mean=means, swapRB=True))
    net.setInput(PIXELS.transpose(2, 0, 1)[None].copy())
    assert near(net.forward(), plain.forward())
