"""The scenes of Augsburg and Berlin: hyperspectral, SAR and, for Augsburg, heights."""

from __future__ import annotations

from bdgf.scene.benchmarks.declaration import (
    Benchmark,
    Container,
    Download,
    Modality,
    Stored,
    counted,
)
from bdgf.scene.benchmarks.shared import (
    GITHUB,
    MIRROR,
    MIRROR_PAGE,
    S2FL,
    S2FL_PAGE,
    index_container,
    masked_container,
)

_ORIGIN = "the authors (S2FL)"
_AUGSBURG = (332, 485)
_AUGSBURG_COUNTS = (
    counted(146, 264, 21, 248, 52, 7, 23),
    counted(13361, 30065, 3830, 26609, 523, 1638, 1507),
)
_BERLIN = (1723, 476)
_BERLIN_COUNTS = (
    counted(443, 423, 499, 376, 331, 280, 298, 170),
    counted(54511, 268219, 19067, 58906, 17095, 13025, 24526, 6502),
)
_SAR = "The four SAR features are derived from Sentinel-1's two polarisations."

AUGSBURG = Benchmark(
    name="augsburg",
    title="Augsburg",
    aliases=("HS-SAR-DSM Augsburg", "HS-SAR Augsburg", "augsburg-ouc"),
    classes={
        1: ("Forest", "#1aa319"),
        2: ("Residential", "#d8d8d8"),
        3: ("Industrial", "#d85959"),
        4: ("Low plants", "#00cc33"),
        5: ("Allotment", "#f4e701"),
        6: ("Commercial", "#cc66cc"),
        7: ("Water", "#0035ff"),
    },
    containers=(
        Container(
            name="original",
            origin=_ORIGIN,
            modalities=(
                Modality(
                    "hsi",
                    "spectral",
                    Stored("data_HS_LR.mat", "data_HS_LR", (*_AUGSBURG, 180), "uint16"),
                ),
                Modality(
                    "sar",
                    "auxiliary",
                    Stored("data_SAR_HR.mat", "data_SAR_HR", (*_AUGSBURG, 4), "float64"),
                ),
                Modality(
                    "dsm", "auxiliary", Stored("data_DSM.mat", "data_DSM", _AUGSBURG, "float64")
                ),
            ),
            train=Stored("TrainImage.mat", "TrainImage", _AUGSBURG, "uint8"),
            test=Stored("TestImage.mat", "TestImage", _AUGSBURG, "float32"),
            counts_train=_AUGSBURG_COUNTS[0],
            counts_test=_AUGSBURG_COUNTS[1],
        ),
        index_container(
            "augsburg",
            "sar",
            _AUGSBURG,
            (180, 4),
            ("uint16", "float64"),
            _AUGSBURG_COUNTS,
            notes=("Heights are not among these files.",),
        ),
        masked_container(
            _AUGSBURG,
            (180, 4),
            _AUGSBURG_COUNTS,
            doubts=("counts",),
            notes=("Heights, where they come along, are in data_DSM.mat with the key data.",),
        ),
    ),
    licence=(
        "Not stated with these files; made from the MDAS data set, which is public"
        " (doi:10.14459/2022mp1657312)."
    ),
    citation=(
        f"{S2FL}; J. Hu et al.: MDAS: a new multimodal benchmark dataset for remote sensing,"
        " Earth System Science Data 15, 113-131, 2023"
    ),
    page=S2FL_PAGE,
    downloads=(
        Download(
            url=f"{MIRROR}augsburg-ouc.zip",
            file="augsburg-ouc.zip",
            sha256="4d853be609eca98a5fb23ccd711bcd0985b7db86a6e89f53f461e1643a7ab6ae",
            archive=True,
            container="index",
            page=MIRROR_PAGE,
            unpacked={
                "Augsburg/augsburg_gt.mat": (
                    "065df71257f06c075ff3b37327c0fba75cc9146015a0f095a093fd12b9eaacbe"
                ),
                "Augsburg/augsburg_hsi.mat": (
                    "2f13839d7840b32f55e0489d6934776dcfded7f678e23a9d8c2c092573946583"
                ),
                "Augsburg/augsburg_index.mat": (
                    "8bc57037447cb42dbf3a8478d42d4bc217a53a6a0b349c2d67db8c660bef2f43"
                ),
                "Augsburg/augsburg_sar.mat": (
                    "cd1dbfad2346f47e51d105b05e11aaefc872fe487a94bdc2913f4eaee3f8e82b"
                ),
            },
            hosts=GITHUB,
        ),
    ),
    notes=(
        _SAR,
        "Some lists of the classes that go round have another order; the one here is that of the"
        " label files.",
    ),
)

BERLIN = Benchmark(
    name="berlin",
    title="Berlin",
    aliases=("HS-SAR Berlin", "berlin-ouc", "Berlin-Urban-Gradient"),
    classes={
        1: ("Forest", "#1aa319"),
        2: ("Residential", "#d8d8d8"),
        3: ("Industrial", "#d85959"),
        4: ("Low plants", "#00cc33"),
        5: ("Soil", "#cc9934"),
        6: ("Allotment", "#f4e701"),
        7: ("Commercial", "#cc66cc"),
        8: ("Water", "#0035ff"),
    },
    containers=(
        Container(
            name="original",
            origin=_ORIGIN,
            modalities=(
                Modality(
                    "hsi", "spectral", Stored("data_HS_LR.mat", "data_HS_LR", (*_BERLIN, 244))
                ),
                Modality(
                    "sar", "auxiliary", Stored("data_SAR_HR.mat", "data_SAR_HR", (*_BERLIN, 4))
                ),
            ),
            train=Stored("TrainImage.mat", "TrainImage", _BERLIN),
            test=Stored("TestImage.mat", "TestImage", _BERLIN),
            counts_train=_BERLIN_COUNTS[0],
            counts_test=_BERLIN_COUNTS[1],
            doubts=("counts",),
        ),
        index_container(
            "berlin",
            "sar",
            _BERLIN,
            (244, 4),
            ("float64", "float64"),
            _BERLIN_COUNTS,
            doubts=("counts",),
        ),
        masked_container(_BERLIN, (244, 4), _BERLIN_COUNTS, doubts=("counts",)),
    ),
    licence=(
        "Not stated with these files; made from the Berlin-Urban-Gradient data set of GFZ Data"
        " Services."
    ),
    citation=(
        f"{S2FL}; A. Okujeni, S. van der Linden, P. Hostert: Berlin-Urban-Gradient dataset 2009 -"
        " an EnMAP preparatory flight campaign, GFZ Data Services, 2016"
    ),
    page=S2FL_PAGE,
    downloads=(
        Download(
            url=f"{MIRROR}berlin-ouc.zip",
            file="berlin-ouc.zip",
            sha256="5fdd156b0283bddab3cf9916f34d3d6b3a2ceb68e7c38c3f8022292199aafcf8",
            archive=True,
            container="index",
            page=MIRROR_PAGE,
            unpacked={
                "Berlin/berlin_gt.mat": (
                    "dd9286cd565535857721627878de3cbebffa2dacc625b539474d16cba3a7343e"
                ),
                "Berlin/berlin_hsi.mat": (
                    "580f397d9f249b4ec3f02b8cc570d910d765afa9f77b17d8a4f4799edee94b1f"
                ),
                "Berlin/berlin_index.mat": (
                    "1a66ec454ea95bbf5782525d9fcf9a04412a948b7b3aa6919ed324516d42a8b5"
                ),
                "Berlin/berlin_sar.mat": (
                    "a6cf2f86db7f1a02c340e813a7b46f9c6c58e297e1eb9b5fa19ed49244b2b8a7"
                ),
            },
            hosts=GITHUB,
        ),
    ),
    notes=(
        _SAR,
        "The counts per class were confirmed only by their sums, 2,820 and 461,851: a difference"
        " is reported and not refused.",
    ),
)
