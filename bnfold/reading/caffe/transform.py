"""What a data layer's transform_param says of preprocessing, in Caffe's own order: crop, subtract, scale.

    y = (x - mean) * scale

Caffe trains on what OpenCV reads: pixels from 0 to 255, blue first. A mean is one value, one for each channel
(mean_value), or an image (mean_file), of which Caffe takes the part that the crop takes of the picture.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from ...errors import Malformed
from ...results.baking import Preprocessing, Stated
from .schema import Node

# Steps of forks that change values and of which only their sources say how.
_UNKNOWN = ("cvt_bgr2rgb", "bgr2rgb", "flow", "scale_factors")
_CROPS = ("crop_size", "crop_h", "crop_w")


def stated(node: Node, name: str, network: Path) -> Stated | None:
    """What the layer says of its first top; None where it says nothing. Malformed where it contradicts
    itself."""
    transform = node.get("transform_param")
    if transform is None:
        return None
    means = tuple(float(value) for value in transform.all("mean_value"))
    file = str(transform.get("mean_file") or "")
    if means and file:
        raise transform.error("mean_file", "both mean_file and mean_value", "one of them, as Caffe demands")
    scale = float(transform.get("scale"))
    if not scale:
        raise transform.error("scale", "a scale of 0", "another number")
    unknown = [field for field in _UNKNOWN if transform.fields.get(field) and transform.get(field)]
    crop = [field for field in _CROPS if transform.get(field)]
    return Stated(
        input=name,
        preprocessing=Preprocessing(
            mean=means, scale=scale if scale != 1 else None, mean_file=_beside(file, network) if file else ""
        ),
        where=_place(transform, network),
        refusal=f"'{unknown[0]}' changes values in a way of its fork" if unknown else "",
        crops=bool(crop),
        outside=_outside(transform, crop),
    )


def _place(transform: Node, network: Path) -> str:
    place = transform.place()
    return f"{network.name}:{place.line}" if place.line is not None else network.name


def _outside(transform: Node, crop: list[str]) -> str:
    """What happens to the picture before its values are looked at."""
    parts = []
    if crop:
        size = "x".join(str(transform.get(field)) for field in crop)
        parts.append(f"the crop of {size} from the middle of the picture")
    if transform.all("resize_param"):
        parts.append("the resize of resize_param")
    if transform.get("mirror"):
        parts.append("the mirroring, by chance")
    return " and ".join(parts)


def _beside(said: str, network: Path) -> str:
    """The file is looked for in the network's own folder, whatever path the author's machine had: a network
    of a stranger names no other file of this one. Raises Malformed for what is no name of a file."""
    name = PurePosixPath(said.replace("\\", "/")).name
    if not name or name in (".", "..") or "\0" in name:
        raise Malformed(f"a mean_file of {said!r}", expected="the name of a file")
    return str(network.parent / name)
