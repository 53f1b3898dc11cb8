"""Field numbers of a caffemodel: the little of Caffe's schema that every fork has in common."""

from __future__ import annotations

NET_LAYER = 100  # of NetParameter: a layer of the current generation
GENERATIONS = {NET_LAYER: (1, 2, 7), 2: (4, 5, 6)}  # field of NetParameter -> numbers of name, type, blobs
V0_NUMBERS = (1, 2, 50)
V0_LAYER = 1  # where the layer lies in an entry of generation V0

# BlobProto
LEGACY = (1, 2, 3, 4)  # num, channels, height, width
DATA, DIFF, SHAPE, DOUBLE_DATA, DOUBLE_DIFF, RAW_TYPE, RAW_DATA = 5, 6, 7, 8, 9, 10, 12
SHAPE_DIM = 1
WIDTH_OF_FIVE, DATA_OF_FIVE = (
    5,
    6,
)  # C3D has a length on third place, the width where values are, and those behind
