"""Networks of ten families as exporters write them today, with seeded weights and healthy batch norm
statistics, for latency.py.

    python latency_networks.py FOLDER [NAME ...]     writes FOLDER/NAME.onnx, and NAME.json with its family

It needs torch, torchvision, timm and transformers (for development alone), in an environment of their own. A
row of NETWORKS is a network: its family, how it is built, the shapes of its inputs, and the exporter: "script
13" is torch's older exporter at that opset, which writes GELU and layer norms out; "dynamo" is the newer one.
"""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

IMAGE = ((1, 3, 224, 224),)
SCRIPT, DYNAMO = "script 13", "dynamo"


@dataclass(frozen=True)
class Network:
    """One network. Shapes of integers are given as ("int", high, *dims)."""

    family: str
    build: Callable[[], Any]
    inputs: tuple[tuple[Any, ...], ...] = IMAGE
    exporter: str = SCRIPT


def timm(name: str, **settings: Any) -> Callable[[], Any]:
    """A network of timm, where attention is written out as products."""

    def build() -> Any:
        import timm as library

        library.layers.set_fused_attn(False)
        return library.create_model(name, pretrained=False, **settings)

    return build


def torchvision(room: str, name: str, **settings: Any) -> Callable[[], Any]:
    """A network of torchvision; what is called `out` among its outputs alone."""

    def build() -> Any:
        import torch
        import torchvision as library

        inner = getattr(getattr(library.models, room) if room else library.models, name)(
            weights=None, **({"weights_backbone": None} if room == "segmentation" else {}), **settings
        )
        if room != "segmentation":
            return inner

        class Out(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Any) -> Any:
                return self.inner(x)["out"]

        return Out()

    return build


def transformers(model: str, config: str, **settings: Any) -> Callable[[], Any]:
    """A small network of transformers: its last hidden state."""

    def build() -> Any:
        import torch
        import transformers as library

        made = getattr(library, config)(attn_implementation="eager", **settings)
        inner = getattr(library, model)(made)

        class Hidden(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = inner

            def forward(self, x: Any) -> Any:
                return self.inner(x).last_hidden_state

        return Hidden()

    return build


def yolo(width: int, act: str = "SiLU") -> Callable[[], Any]:
    """A detector as of the YOLO family: CSP blocks, a pyramid, three heads; written here."""

    def build() -> Any:
        import torch
        from torch import nn

        def conv(c: int, d: int, k: int = 1, s: int = 1) -> nn.Module:
            return nn.Sequential(
                nn.Conv2d(c, d, k, s, k // 2, bias=False), nn.BatchNorm2d(d), getattr(nn, act)(inplace=True)
            )

        class Bottleneck(nn.Module):
            def __init__(self, c: int, add: bool) -> None:
                super().__init__()
                self.body, self.add = nn.Sequential(conv(c, c, 3), conv(c, c, 3)), add

            def forward(self, x: Any) -> Any:
                return x + self.body(x) if self.add else self.body(x)

        class Split(nn.Module):
            def __init__(self, c: int, d: int, n: int = 1, add: bool = True) -> None:
                super().__init__()
                self.first, self.last = conv(c, d), conv((2 + n) * d // 2, d)
                self.blocks = nn.ModuleList(Bottleneck(d // 2, add) for _ in range(n))

            def forward(self, x: Any) -> Any:
                parts = list(self.first(x).chunk(2, 1))
                for block in self.blocks:
                    parts.append(block(parts[-1]))
                return self.last(torch.cat(parts, 1))

        class Yolo(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                w = width
                self.stem = nn.Sequential(conv(3, w, 3, 2), conv(w, 2 * w, 3, 2), Split(2 * w, 2 * w))
                self.p3 = nn.Sequential(conv(2 * w, 4 * w, 3, 2), Split(4 * w, 4 * w, 2))
                self.p4 = nn.Sequential(conv(4 * w, 8 * w, 3, 2), Split(8 * w, 8 * w, 2))
                self.p5 = nn.Sequential(conv(8 * w, 16 * w, 3, 2), Split(16 * w, 16 * w))
                self.up = nn.Upsample(scale_factor=2)
                self.n4, self.n3 = Split(24 * w, 8 * w, add=False), Split(12 * w, 4 * w, add=False)
                self.heads = nn.ModuleList(
                    nn.Sequential(conv(c, c, 3), nn.Conv2d(c, 84, 1)) for c in (4 * w, 8 * w, 16 * w)
                )

            def forward(self, x: Any) -> Any:
                p3 = self.p3(self.stem(x))
                p4 = self.p4(p3)
                p5 = self.p5(p4)
                n4 = self.n4(torch.cat([self.up(p5), p4], 1))
                n3 = self.n3(torch.cat([self.up(n4), p3], 1))
                return [head(v) for head, v in zip(self.heads, (n3, n4, p5), strict=True)]

        return Yolo()

    return build


def tables(mode: str) -> Callable[[], Any]:
    """Recommenders: embeddings and dense layers with batch norms; written here."""

    def build() -> Any:
        import torch
        from torch import nn

        def dense(*sizes: int) -> nn.Module:
            rows: list[nn.Module] = []
            for c, d in pairwise(sizes):
                rows += [nn.Linear(c, d, bias=mode != "wide"), nn.BatchNorm1d(d), nn.ReLU()]
            return nn.Sequential(*rows)

        class Recommender(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.table = nn.Embedding(10_000, 16)
                self.before = nn.BatchNorm1d(26 * 16 + 13)
                self.deep = dense(26 * 16 + 13, 512, 256, 128)
                self.bottom, self.top = dense(13, 256, 64, 16), dense(27 * 27 + 16, 512, 256)
                self.last = nn.Linear(256 if mode == "dlrm" else 128, 1)

            def forward(self, numbers: Any, words: Any) -> Any:
                found = self.table(words)
                if mode == "dlrm":
                    low = self.bottom(numbers)
                    rows = torch.cat([low.unsqueeze(1), found], 1)
                    dots = torch.bmm(rows, rows.transpose(1, 2)).flatten(1)
                    return self.last(self.top(torch.cat([low, dots], 1)))
                x = torch.cat([found.flatten(1), numbers], 1)
                return self.last(self.deep(self.before(x) if mode == "deep" else x))

        return Recommender()

    return build


def conformer() -> Any:
    """Blocks of a conformer, whose convolution has a batch norm; torchaudio's layout, written here."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self, d: int = 144, heads: int = 4) -> None:
            super().__init__()
            self.d, self.heads = d, heads
            self.norms = nn.ModuleList(nn.LayerNorm(d) for _ in range(5))
            self.ff = nn.ModuleList(
                nn.Sequential(nn.Linear(d, 4 * d), nn.SiLU(), nn.Linear(4 * d, d)) for _ in range(2)
            )
            self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
            self.first, self.deep = nn.Conv1d(d, 2 * d, 1), nn.Conv1d(d, d, 31, padding=15, groups=d)
            self.bn, self.last = nn.BatchNorm1d(d), nn.Conv1d(d, d, 1)

        def attention(self, x: Any) -> Any:
            b, n, d = x.shape
            q, k, v = self.qkv(x).reshape(b, n, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4)
            scores = (q @ k.transpose(-2, -1)) * (d // self.heads) ** -0.5
            return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(b, n, d))

        def forward(self, x: Any) -> Any:
            x = x + 0.5 * self.ff[0](self.norms[0](x))
            x = x + self.attention(self.norms[1](x))
            y = nn.functional.glu(self.first(self.norms[2](x).transpose(1, 2)), 1)
            y = self.last(nn.functional.silu(self.bn(self.deep(y))))
            x = x + y.transpose(1, 2)
            return self.norms[4](x + 0.5 * self.ff[1](self.norms[3](x)))

    return torch.nn.Sequential(*(Block() for _ in range(4)))


WORDS = (("int", 1000, 1, 64),)
BERT = {"vocab_size": 1000, "hidden_size": 256, "num_hidden_layers": 4, "num_attention_heads": 4}
CLIP = ((1, 3, 8, 112, 112),)
USER = ((64, 13), ("int", 10_000, 64, 26))

NETWORKS: dict[str, Network] = {
    "resnet18": Network("classic", torchvision("", "resnet18")),
    "densenet121": Network("classic", torchvision("", "densenet121")),
    "googlenet": Network("classic", timm("inception_v3"), ((1, 3, 299, 299),)),
    "vgg11_bn": Network("classic", torchvision("", "vgg11_bn")),
    "mobilenetv2": Network("mobile", timm("mobilenetv2_100")),
    "mobilenetv3_small": Network("mobile", timm("mobilenetv3_small_100")),
    "mobilenetv3_small_dynamo": Network("mobile", timm("mobilenetv3_small_100"), exporter=DYNAMO),
    "efficientnet_b0": Network("mobile", timm("efficientnet_b0")),
    "shufflenetv2": Network("mobile", torchvision("", "shufflenet_v2_x1_0")),
    "mobileone_s0": Network("re-parameterised", timm("mobileone_s0")),
    "repvgg_a0": Network("re-parameterised", timm("repvgg_a0")),
    "mobileone_s0_dynamo": Network("re-parameterised", timm("mobileone_s0"), exporter=DYNAMO),
    "tiny_vit_5m": Network("hybrid", timm("tiny_vit_5m_224")),
    "repvit_m1": Network("hybrid", timm("repvit_m1")),
    "fastvit_t8": Network("hybrid", timm("fastvit_t8"), ((1, 3, 256, 256),)),
    "mobilevit_xxs": Network("hybrid", timm("mobilevit_xxs"), ((1, 3, 256, 256),)),
    "efficientformer_l1": Network("hybrid", timm("efficientformer_l1")),
    "convnext_atto": Network("hybrid", timm("convnext_atto")),
    "vit_tiny": Network("transformer", timm("vit_tiny_patch16_224")),
    "swin_tiny": Network("transformer", timm("swin_tiny_patch4_window7_224")),
    "xcit_nano": Network("transformer", timm("xcit_nano_12_p16_224")),
    "levit_128s": Network("transformer", timm("levit_128s")),
    "bert_small": Network("transformer", transformers("BertModel", "BertConfig", **BERT), WORDS),
    "vit_tiny_dynamo": Network("transformer", timm("vit_tiny_patch16_224"), exporter=DYNAMO),
    "yolo_like_silu": Network("detection", yolo(16), ((1, 3, 320, 320),)),
    "yolo_like_hardswish": Network("detection", yolo(16, "Hardswish"), ((1, 3, 320, 320),)),
    "yolo_like_dynamo": Network("detection", yolo(16), ((1, 3, 320, 320),), DYNAMO),
    "lraspp_mobilenetv3": Network("segmentation", torchvision("segmentation", "lraspp_mobilenet_v3_large")),
    "deeplabv3_mobilenetv3": Network(
        "segmentation", torchvision("segmentation", "deeplabv3_mobilenet_v3_large")
    ),
    "fcn_resnet50": Network("segmentation", torchvision("segmentation", "fcn_resnet50"), ((1, 3, 160, 160),)),
    "conformer": Network("speech", conformer, ((1, 200, 144),)),
    "wav2vec2_small": Network(
        "speech",
        transformers(
            "Wav2Vec2Model",
            "Wav2Vec2Config",
            hidden_size=192,
            num_hidden_layers=4,
            num_attention_heads=4,
            intermediate_size=768,
            conv_dim=(128,) * 7,
        ),
        ((1, 16000),),
    ),
    "hubert_dynamo": Network(
        "speech",
        transformers(
            "HubertModel",
            "HubertConfig",
            hidden_size=192,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=768,
            conv_dim=(128,) * 7,
        ),
        ((1, 16000),),
        DYNAMO,
    ),
    "r3d_18": Network("video", torchvision("video", "r3d_18"), ((1, 3, 4, 64, 64),)),
    "mc3_18": Network("video", torchvision("video", "mc3_18"), ((1, 3, 4, 64, 64),)),
    "r2plus1d_18": Network("video", torchvision("video", "r2plus1d_18"), ((1, 3, 4, 64, 64),)),
    # speed.py asks for it: its file is large, and verification takes longest of all
    "coatnet_0": Network("hybrid", timm("coatnet_0_rw_224")),
    "deep_crossing": Network("recommenders", tables("deep"), USER),
    "wide_and_deep": Network("recommenders", tables("wide"), USER),
    "dlrm": Network("recommenders", tables("dlrm"), USER),
    "dlrm_dynamo": Network("recommenders", tables("dlrm"), USER, DYNAMO),
}


def healthy(model: Any) -> None:
    """Statistics, weights and biases as training leaves them: no batch norm that does nothing, no bias of
    zeros."""
    import torch

    for name, parameter in model.named_parameters():
        if parameter.ndim == 1:
            parameter.data.add_(torch.randn_like(parameter), alpha=0.05 if "bias" in name else 0.2)
    for module in model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)


def export(name: str, folder: Path) -> None:
    """One network as a file."""
    import torch

    torch.manual_seed(0)
    network = NETWORKS[name]
    model = network.build().eval()
    healthy(model)
    feeds = tuple(
        torch.randint(0, dims[1], dims[2:]) if dims[0] == "int" else torch.randn(*dims)
        for dims in network.inputs
    )
    path = folder / f"{name}.onnx"
    with torch.no_grad():
        if network.exporter == DYNAMO:
            torch.onnx.export(model, feeds, str(path), dynamo=True, external_data=False, optimize=False)
        else:
            opset = int(network.exporter.split()[1])
            torch.onnx.export(
                model,
                feeds,
                str(path),
                dynamo=False,
                opset_version=opset,
                do_constant_folding=False,
                training=torch.onnx.TrainingMode.PRESERVE,
            )
    about = {"family": network.family, "exporter": network.exporter}
    (folder / f"{name}.json").write_text(json.dumps(about), encoding="utf-8")


def main(folder: Path, names: list[str]) -> None:
    """Those networks, or all; what cannot be exported is said and left out."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in names or list(NETWORKS):
        if (folder / f"{name}.json").exists():
            continue
        try:
            export(name, folder)
        except Exception as error:  # exporters fail in many ways
            traceback.print_exc()
            print(f"{name}: not exported ({type(error).__name__})", flush=True)
        else:
            print(f"{name}: exported", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2:])
