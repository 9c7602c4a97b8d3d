"""The scene of Trento: hyperspectral image and LiDAR of fields south of the city."""

from __future__ import annotations

from bdgf.scene.benchmarks.declaration import (
    Benchmark,
    Container,
    Download,
    Modality,
    Stored,
    counted,
    drawn,
    random_split,
)
from bdgf.scene.benchmarks.shared import GITHUB_ARCHIVE, index_container

_SIZE = (166, 600)
_PAGE = "https://github.com/tyust-dayu/Trento"
_COMMIT = "b4afc449ce5d6936ddc04fe267d86f9f35536afd"
_PER_CLASS = 40
_TRAIN = counted(129, 125, 105, 154, 184, 122)
_TEST = counted(3905, 2778, 374, 8969, 10317, 3052)
_ALL = {code: _TRAIN[code] + _TEST[code] for code in _TRAIN}

TRENTO = Benchmark(
    name="trento",
    title="Trento",
    aliases=("Italy",),
    classes={
        1: ("Apple trees", "#002fff"),
        2: ("Buildings", "#00dfff"),
        3: ("Ground", "#8fff6f"),
        4: ("Woods", "#ffcf00"),
        5: ("Vineyard", "#ff1f00"),
        6: ("Roads", "#7f0000"),
    },
    containers=(
        Container(
            name="split",
            origin="many code repositories",
            modalities=(
                Modality("hsi", "spectral", Stored("HSI.mat", "HSI", (*_SIZE, 63))),
                Modality("lidar", "auxiliary", Stored("LiDAR.mat", "LiDAR", _SIZE)),
            ),
            train=Stored("TRLabel.mat", "TRLabel", _SIZE),
            test=Stored("TSLabel.mat", "TSLabel", _SIZE),
            official=False,
            counts_train=_TRAIN,
            counts_test=_TEST,
            notes=("One LiDAR band.",),
        ),
        index_container(
            "trento",
            "lidar",
            _SIZE,
            (63, 1),
            (None, None),
            (_TRAIN, _TEST),
            doubts=("counts",),
            notes=("One LiDAR band.",),
            official=False,
        ),
        Container(
            name="original",
            origin="tyust-dayu",
            modalities=(
                Modality(
                    "hsi", "spectral", Stored("Italy_hsi.mat", "data", (*_SIZE, 63), "float32")
                ),
                Modality(
                    "lidar", "auxiliary", Stored("Italy_lidar.mat", "data", (*_SIZE, 2), "float32")
                ),
            ),
            all=Stored("allgrd.mat", "mask_test", _SIZE, "uint8"),
            split=random_split(_PER_CLASS),
            official=False,
            counts_train=drawn(_ALL, _PER_CLASS)[0],
            counts_test=drawn(_ALL, _PER_CLASS)[1],
            notes=(
                "mask_test holds all 30,214 labels, in spite of its name: whoever tests on it"
                " tests on the training pixels too.",
                "No split comes along, so a random one is drawn; it is not that of 819 pixels.",
            ),
        ),
        Container(
            name="gt-trento",
            origin="several code repositories",
            modalities=(
                Modality("hsi", "spectral", Stored("HSI_Trento.mat", "hsi_trento", (*_SIZE, 63))),
                Modality("lidar", "auxiliary", Stored("Lidar1_Trento.mat", "lidar1_trento", _SIZE)),
            ),
            all=Stored("GT_Trento.mat", "gt_trento", _SIZE),
            split=random_split(_PER_CLASS),
            official=False,
            counts_train=drawn(_ALL, _PER_CLASS)[0],
            counts_test=drawn(_ALL, _PER_CLASS)[1],
            doubts=("size",),
            notes=(
                "These arrays may hold columns before rows.",
                "No split comes along, so a random one is drawn; it is not that of 819 pixels.",
            ),
        ),
    ),
    licence="Not stated.",
    citation=(
        "B. Rasti, P. Ghamisi, R. Gloaguen: Hyperspectral and LiDAR fusion using extinction"
        " profiles and total variation component analysis, IEEE Transactions on Geoscience and"
        " Remote Sensing 55(7), 3997-4007, 2017"
    ),
    page=_PAGE,
    downloads=(
        Download(
            url=f"{_PAGE}/archive/{_COMMIT}.zip",
            file="trento.zip",
            sha256="b203331b039d994015c4137753f15973cb638046532b8dced6064888bf970631",
            archive=True,
            container="original",
            page=_PAGE,
            unpacked={
                f"Trento-{_COMMIT}/allgrd.mat": (
                    "7e3fb2a2ea22c2661dfc768db3cb93c9643b324e7e64fadedfa57f5edbf1818f"
                ),
                f"Trento-{_COMMIT}/Italy_hsi.mat": (
                    "7b965fd405314b5c91451042e547a1923be6f5a38c6da83969032cff79729280"
                ),
                f"Trento-{_COMMIT}/Italy_lidar.mat": (
                    "a04dc90368d6a7b4f9d3936024ba9fef4105456c090daa14fff31b8b79e94ab1"
                ),
            },
            hosts=GITHUB_ARCHIVE,
        ),
    ),
    notes=(
        "The split of 819 training and 29,395 test pixels is common practice and was made by no"
        " publisher of the data.",
        "GitHub makes such an archive anew when it is asked for; its SHA-256 may change, those of"
        " the files do not.",
    ),
)
