"""The page: self-contained, escaped, quick; drawn by a real browser where there is one."""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
import time
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import onnx
import pytest

import bnfold
from bnfold.errors import Malformed
from bnfold.pipeline import pipeline
from bnfold.pipeline.job import Job
from bnfold.reporting import html
from bnfold.reporting import json as documents
from bnfold.results.options import VerifyOptions

from ..models import RELU_BN, TWO_BLOCKS, model, saved

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{ 7*7 }}"
CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)


def document_of(path: Path) -> dict[str, Any]:
    result = pipeline.fold_file(Job(source=path, detail=True))
    return json.loads(documents.text(documents.document("fold", 0, **documents.of_fold(result))))  # type: ignore[no-any-return]


class Page(HTMLParser):
    """Every tag with its attributes, and all text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words.append(data)


def test_every_fact_is_on_the_page(tmp_path: Path) -> None:
    document = document_of(saved(tmp_path, TWO_BLOCKS))
    page = Page(html.page(document))
    words = " ".join(page.words)
    for fact in (
        "PASS",
        "net.onnx",
        "BatchNormalization_n",
        "BatchNormalization_y",
        "noise ratio",
        "onnxruntime",
    ):
        assert fact in words
    drawn = [a["data-name"] for tag, a in page.tags if tag == "g"]
    assert drawn.count("Conv_c") == 2
    assert drawn.count("BatchNormalization_n") == 1
    assert [
        a["class"] for tag, a in page.tags if tag == "g" and a["data-name"] == "BatchNormalization_n"
    ] == ["folded"]


def test_values_stand_in_the_order_of_the_network(tmp_path: Path) -> None:
    job = Job(source=saved(tmp_path, TWO_BLOCKS), verify=VerifyOptions(every_value=True), detail=True)
    document = documents.document("fold", 0, **documents.of_fold(pipeline.fold_file(job)))
    text = html.page(json.loads(documents.text(document)))
    at = [text.index(f'<td class="mono">{value}</td>') for value in ("n", "r", "y")]
    assert at == sorted(at)


def test_the_page_needs_nothing_and_lets_nothing_out(tmp_path: Path) -> None:
    text = html.page(document_of(saved(tmp_path)))
    assert not re.search(r"""(src|href)=|url\(|@import|https?://""", text)
    policy = next(a["content"] for tag, a in Page(text).tags if tag == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert "script-src 'sha256-" in policy


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    proto = model(TWO_BLOCKS)
    for node in proto.graph.node:
        node.name = HOSTILE + node.name
    proto.graph.name = HOSTILE
    (tmp_path / "net.onnx").write_bytes(proto.SerializeToString())
    page = Page(html.page(document_of(tmp_path / "net.onnx")))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert "img" not in tags
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert any(HOSTILE in word for word in page.words)
    assert "49" not in "".join(re.findall(r"onerror=alert\(2\)>.{0,12}", " ".join(page.words)))


def test_every_string_of_a_document_is_escaped(tmp_path: Path) -> None:
    """Whatever stands in a document that somebody else wrote: no string of it becomes a tag."""

    def poisoned(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: poisoned(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [poisoned(v, key) for v in value]
        return HOSTILE if isinstance(value, str) and key not in ("schema", "command") else value

    page = Page(html.page(poisoned(document_of(saved(tmp_path, TWO_BLOCKS)))))
    tags = [tag for tag, _ in page.tags]
    assert tags.count("script") == 1
    assert "img" not in tags


@pytest.mark.parametrize(
    "document",
    [
        documents.document(
            "fold", 3, **documents.of_error(bnfold.Unreadable("cannot be read", where="x.onnx"))
        ),
        documents.document("verify", 0, verification=None),
        documents.document("check", 1, models=[]),
    ],
)
def test_documents_without_a_plan_have_a_page(document: dict[str, Any]) -> None:
    assert document["verdict"] in " ".join(Page(html.page(document)).words)


@pytest.mark.parametrize("document", [None, [], {}, {"schema": "bnfold.result/2"}, {"schema": 1}])
def test_other_documents_are_refused(document: Any) -> None:
    with pytest.raises(Malformed, match="schema"):
        html.page(document)


def test_a_document_without_details_has_no_picture(tmp_path: Path) -> None:
    document = document_of(saved(tmp_path, RELU_BN))
    plain = {k: v for k, v in copy.deepcopy(document).items() if k != "detail"}
    assert "svg" not in [tag for tag, _ in Page(html.page(plain)).tags]


def long_net(blocks: int) -> onnx.ModelProto:
    """A residual net of 4 nodes a block."""
    lines, weights, x = [], [], "x"
    for i in range(blocks):
        lines += [
            f"c{i} = Conv <pads = [1, 1, 1, 1]> ({x}, w{i})",
            f"n{i} = BatchNormalization (c{i}, g{i}, b{i}, m{i}, v{i})",
            f"r{i} = Relu(n{i})",
            f"a{i} = Add(r{i}, {x})",
        ]
        weights += [f"float[4, 4, 3, 3] w{i}", *(f"float[4] {p}{i}" for p in "gbmv")]
        x = f"a{i}"
    body = "\n".join([*lines, f"y = Identity({x})"])
    return model(
        f'<ir_version: 9, opset_import: ["" : 17]> net (float[1, 4, 8, 8] x) => (float[1, 4, 8, 8] y)\n'
        f"<{', '.join(weights)}> {{ {body} }}"
    )


def test_a_thousand_nodes_are_quick(tmp_path: Path) -> None:
    (tmp_path / "net.onnx").write_bytes(long_net(250).SerializeToString())
    planned = pipeline.plan(Job(source=tmp_path / "net.onnx", detail=True))
    document = documents.plain(documents.document("inspect", 0, **documents.of_fold(planned, dry_run=True)))
    started = time.perf_counter()
    text = html.page(document)
    assert time.perf_counter() - started < 5
    assert len(text) < 5_000_000


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine to draw the page with")
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_browser_draws_it_without_a_complaint(tmp_path: Path, theme: str) -> None:
    """The script runs to its end (it presses `before`), and the console holds no error."""
    page = tmp_path / "net.html"
    page.write_text(html.page(document_of(saved(tmp_path, TWO_BLOCKS))), encoding="utf-8")
    dark = ["--blink-settings=preferredColorScheme=0"] if theme == "dark" else []
    done = subprocess.run(
        [
            str(CHROMIUM),
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--enable-logging=stderr",
            *dark,
            f"--user-data-dir={tmp_path / 'profile'}",
            "--virtual-time-budget=2000",
            "--dump-dom",
            page.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert not [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    drawn = Page(done.stdout)
    views = {a["id"]: a for tag, a in drawn.tags if tag == "svg" and a.get("class") == "graph"}
    assert (
        views["before"]["viewbox"] != f"0 0 {views['before']['data-width']} {views['before']['data-height']}"
    )
    assert "hidden" in views["after"]


def test_what_was_not_proved_is_on_the_page(tmp_path: Path) -> None:
    document = document_of(saved(tmp_path, TWO_BLOCKS))
    proof = document["verification"]["proof"]
    assert "10 / 0 / 0" in html.page(document) or proof["proved"] != 10
    wrong = {**proof["obligations"][0], "verdict": "failed", "value": HOSTILE, "reason": "over the limit"}
    proof.update(obligations=[*proof["obligations"], wrong], unseen=1, unseen_weights=[HOSTILE])
    page = html.page(document)
    words = " ".join(Page(page).words)
    assert HOSTILE not in page
    for fact in ("1 failed", "over the limit", "1 unseen", "Neither proved nor seen"):
        assert fact in words
    del document["verification"]["proof"]
    assert "unseen" not in html.page(document)


def test_a_verification_names_both_models(tmp_path: Path) -> None:
    from bnfold.cli.main import run

    saved(tmp_path, TWO_BLOCKS)
    run(["fold", str(tmp_path / "net.onnx"), "-o", str(tmp_path / "other.onnx"), "-q"])
    page = tmp_path / "v.html"
    run(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "other.onnx"), "-q", "--report", str(page)])
    text = page.read_text()
    assert "<h1>net.onnx and other.onnx</h1>" in text
    assert "held against" in text


def test_every_place_where_the_models_differ_is_shown(tmp_path: Path) -> None:
    document = document_of(saved(tmp_path, TWO_BLOCKS))
    text = html.page(document)
    places = document["verification"]["proof"]["obligations"]
    assert places
    table = text[text.index("table of places where the models differ") :]
    assert all(f">{place['value']}<" in table for place in places)


def test_parameters_behind_an_identity_are_drawn(tmp_path: Path) -> None:
    """As torch exports them where two layers share a tensor."""
    model = onnx.load(saved(tmp_path, TWO_BLOCKS))
    node = next(n for n in model.graph.node if n.op_type == "BatchNormalization")
    for place in (1, 2, 3, 4):
        name = node.input[place]
        node.input[place] = f"{name}_same"
        model.graph.node.insert(0, onnx.helper.make_node("Identity", [name], [f"{name}_same"]))
    onnx.save(model, tmp_path / "same.onnx")
    document = document_of(tmp_path / "same.onnx")
    assert len(document["detail"]["batch_norms"]) == 2
    assert sum(one["count"] for one in document["detail"]["gammas"]) == sum(
        one["channels"] for one in document["detail"]["batch_norms"]
    )
    assert 'id="h-gammas"' in html.page(document)


def test_a_document_of_an_earlier_version_is_shown(tmp_path: Path) -> None:
    document = document_of(saved(tmp_path, TWO_BLOCKS))
    del document["detail"]["gammas"]
    assert 'id="h-gammas"' not in html.page(document)


def test_kernels_that_are_stored_more_than_once_are_named(tmp_path: Path) -> None:
    document = document_of(saved(tmp_path, TWO_BLOCKS))
    before = len(html.page(document))
    document["plan"]["copied"] = [{"kernel": "w<1>", "times": 3, "size": 2_000_000}]
    words = " ".join(" ".join(Page(html.page(document)).words).split())
    assert "w<1> (3 times, 2.0 MB more)" in words
    del document["plan"]["copied"]  # as earlier versions wrote it
    assert len(html.page(document)) == before
