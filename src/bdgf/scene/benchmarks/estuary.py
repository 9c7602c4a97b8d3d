"""The two scenes that go by the name of Yellow River Estuary: hyperspectral image and SAR."""

from __future__ import annotations

from bdgf.scene.benchmarks.declaration import Benchmark, Container, Modality, Stored
from bdgf.scene.benchmarks.shared import masked_container

_ALIASES = ("Yellow River Estuary", "YRE", "Huanghekou", "HHK", "Yellow River")
_SIZE_18 = (1185, 1342)

YELLOW_RIVER_5 = Benchmark(
    name="yellow-river-5",
    title="Yellow River Estuary, 5 classes",
    aliases=(*_ALIASES, "Yellow River Estuary 5", "YRE-5"),
    classes={
        1: ("class 1", "#e69f00"),
        2: ("class 2", "#56b4e9"),
        3: ("class 3", "#009e73"),
        4: ("class 4", "#f0e442"),
        5: ("class 5", "#0072b2"),
    },
    containers=(
        masked_container(
            (1147, 1600),
            (166, 3),
            None,
            doubts=("size", "counts", "classes"),
            notes=(
                "166 and 3 bands, 5 classes and the keys are what the authors' code expects; the"
                " size is that of another image of the same sensor.",
            ),
        ),
    ),
    licence="Not stated.",
    citation=(
        "W. Li, Y. Gao, M. Zhang, R. Tao, Q. Du: Asymmetric feature fusion network for"
        " hyperspectral and SAR image classification, IEEE Transactions on Neural Networks and"
        " Learning Systems, 2022, doi:10.1109/TNNLS.2022.3149394"
    ),
    page="https://github.com/formango/HSI_SAR_Multisource_Classification_AsyFFNet",
    notes=(
        "No download is offered: ask the authors.",
        "The names of the five classes could not be read anywhere: give them in a scene file.",
        "Masks of other scenes of the estuary, with 285 bands and up to 20 codes, go round under"
        " the same file names.",
    ),
)

YELLOW_RIVER_18 = Benchmark(
    name="yellow-river-18",
    title="Yellow River Estuary, 18 classes",
    aliases=(*_ALIASES, "Yellow River Estuary 18", "YRE-18"),
    classes={
        1: ("Spartina alterniflora", "#ffa500"),
        2: ("Pond", "#00bfff"),
        3: ("Woodland", "#228b22"),
        4: ("Phragmites", "#8b4513"),
        5: ("Typha orientalis", "#00ff7f"),
        6: ("Intertidal phragmites", "#bc8f8f"),
        7: ("Ecological reservoir", "#6495ed"),
        8: ("Arable land", "#ffd700"),
        9: ("Lotus pond", "#ffb6c1"),
        10: ("Oil field", "#808080"),
        11: ("Salt field", "#fffff0"),
        12: ("Suaeda salsa", "#90ee90"),
        13: ("Yellow River", "#008b8b"),
        14: ("Reed and tamarisk", "#d2691e"),
        15: ("Tamarisk and suaeda", "#ff4500"),
        16: ("Tamarisk, reed and suaeda", "#ff6347"),
        17: ("Mudflat", "#d2b48c"),
        18: ("Sea", "#0000ff"),
    },
    containers=(
        Container(
            name="index",
            origin="Ocean University of China (HSI-X-classify-backbone)",
            modalities=(
                Modality("hsi", "spectral", Stored("data_hsi.mat", "data", (*_SIZE_18, 285))),
                Modality("sar", "auxiliary", Stored("data_sar.mat", "data", (*_SIZE_18, 3))),
            ),
            train=Stored("data_index.mat", "train_index", (0, 2), form="pixels"),
            test=Stored("data_index.mat", "test_index", (0, 2), form="pixels"),
            codes=Stored("data_gt.mat", "data", _SIZE_18),
            extra=(
                Stored(
                    "data_index.mat", "all_index", (_SIZE_18[0] * _SIZE_18[1], 2), form="pixels"
                ),
            ),
            doubts=("size", "counts"),
            notes=(
                "285 and 3 bands, 18 classes and the keys are what the group's code expects. Its"
                " maps are 3555 × 4026, three times the size declared here, which is that of the"
                " sensor's own image: either may be what the files hold.",
                "The lists hold rows and columns counted from 0.",
            ),
        ),
    ),
    licence="Not stated.",
    citation="No paper that describes these files is known to us.",
    page="https://github.com/oucailab/HSI-X-classify-backbone",
    notes=(
        "No download is offered: ask the authors.",
        "The group calls classes 14 to 16 mixed areas 1 to 3.",
    ),
)
