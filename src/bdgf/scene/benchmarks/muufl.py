"""The scene of MUUFL Gulfport: hyperspectral image and LiDAR of a campus in Mississippi."""

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
from bdgf.scene.benchmarks.shared import GITHUB_ARCHIVE

_SIZE = (325, 220)
_PAGE = "https://github.com/GatorSense/MUUFLGulfport"
_FILE = "muufl_gulfport_campus_1_hsi_220_label.mat"
_PER_CLASS = 40
_FIVE_PERCENT = (
    counted(1184, 216, 345, 91, 335, 23, 113, 313, 86, 58, 15),
    counted(22062, 4054, 6537, 1735, 6352, 443, 2120, 5927, 1299, 125, 254),
)
_ALL = {code: number + _FIVE_PERCENT[1][code] for code, number in _FIVE_PERCENT[0].items()}
_NO_SPLIT = "The publisher made no split, so a random one is drawn."


def _flat(
    name: str, origin: str, hsi: Stored, lidar: Stored, labels: Stored, *notes: str
) -> Container:
    train, test = drawn(_ALL, _PER_CLASS)
    return Container(
        name=name,
        origin=origin,
        modalities=(Modality("hsi", "spectral", hsi), Modality("lidar", "auxiliary", lidar)),
        all=labels,
        split=random_split(_PER_CLASS),
        official=False,
        counts_train=train,
        counts_test=test,
        ignore=(-1,),
        notes=(_NO_SPLIT, *notes),
    )


MUUFL = Benchmark(
    name="muufl",
    title="MUUFL Gulfport",
    aliases=("MUUFL", "Gulfport", "MUFFL"),
    classes={
        1: ("Trees", "#228b22"),
        2: ("Mostly grass", "#32cd32"),
        3: ("Mixed ground surface", "#add8e6"),
        4: ("Dirt and sand", "#ffefd5"),
        5: ("Road", "#ff0000"),
        6: ("Water", "#0000ff"),
        7: ("Building shadow", "#800080"),
        8: ("Buildings", "#ffc0cb"),
        9: ("Sidewalk", "#ff4500"),
        10: ("Yellow curb", "#ffff00"),
        11: ("Cloth panels", "#a52a2a"),
    },
    containers=(
        _flat(
            "original",
            "GatorSense, University of Florida",
            Stored(_FILE, "hsi.Data", (*_SIZE, 64)),
            Stored(_FILE, "hsi.Lidar{1}.z", (*_SIZE, 2), other_keys=("hsi.Lidar.z",)),
            Stored(_FILE, "hsi.sceneLabels.labels", _SIZE),
            "hsi.Lidar holds the arrays of two flights; the first is used.",
            "The publisher's text calls class 7 buildings and class 8 shadow; by the file's own"
            " list of materials and by the counts it is the other way round.",
        ),
        Container(
            name="five-percent",
            origin="several code repositories",
            modalities=(
                Modality("hsi", "spectral", Stored("HSI.mat", "HSI", (*_SIZE, 64))),
                Modality("lidar", "auxiliary", Stored("LiDAR.mat", "LiDAR", (*_SIZE, 2))),
            ),
            train=Stored("muufl_tr.mat", "training_map", _SIZE),
            test=Stored("muufl_ts.mat", "testing_map", _SIZE),
            official=False,
            counts_train=_FIVE_PERCENT[0],
            counts_test=_FIVE_PERCENT[1],
            doubts=("counts",),
            notes=("A random 5 % per class that several methods share.",),
        ),
        Container(
            name="train-test-gt",
            origin="several code repositories",
            modalities=(
                Modality("hsi", "spectral", Stored("hsi.mat", "HSI", (*_SIZE, 64))),
                Modality("lidar", "auxiliary", Stored("lidar.mat", "lidar", (*_SIZE, 2))),
            ),
            train=Stored("train_test_gt.mat", "trainlabels", _SIZE),
            test=Stored("train_test_gt.mat", "testlabels", _SIZE),
            official=False,
            doubts=("counts",),
            notes=("Several splits go round under these names.",),
        ),
        _flat(
            "flat",
            "several code repositories",
            Stored("HSI.mat", "HSI", (*_SIZE, 64), other_files=("hsi_data.mat",)),
            Stored("LiDAR.mat", "LiDAR", (*_SIZE, 2), other_files=("lidar_data.mat",)),
            Stored("gt.mat", "gt", _SIZE, other_files=("labels.mat",)),
            "Also with the files hsi_data.mat, lidar_data.mat and labels.mat, whose arrays are"
            " named alike.",
        ),
        _flat(
            "flat-prefixed",
            "several code repositories",
            Stored("muufl_hsi.mat", "muufl_hsi", (*_SIZE, 64), other_keys=("hsi",)),
            Stored("muufl_lidar.mat", "muufl_lidar", (*_SIZE, 2), other_keys=("lidar",)),
            Stored("muufl_gt.mat", "muufl_gt", _SIZE, other_keys=("gt",)),
        ),
    ),
    licence="MIT, with the two reports to be cited.",
    citation=(
        "P. Gader, A. Zare, R. Close, J. Aitken, G. Tuell: MUUFL Gulfport hyperspectral and LiDAR"
        " airborne data set, University of Florida, report REP-2013-570, 2013; X. Du, A. Zare:"
        " Scene label ground truth map for MUUFL Gulfport data set, University of Florida, report"
        " 20170417, 2017"
    ),
    page=_PAGE,
    downloads=(
        Download(
            url=f"{_PAGE}/archive/refs/tags/v0.1.zip",
            file="muufl.zip",
            sha256="2219e6259e3ad80521a8a7ff879916624efa61eb6df1bfd80538f6f2d4befa2c",
            archive=True,
            container="original",
            page=_PAGE,
            unpacked={
                f"MUUFLGulfport-0.1/MUUFLGulfportSceneLabels/{_FILE}": (
                    "69420a72866dff4a858ae503e6e2981af46f406a4ad8f4dd642efa43feb59edc"
                ),
            },
            hosts=GITHUB_ARCHIVE,
        ),
    ),
    notes=(
        "53,687 labelled pixels; -1 means unlabelled.",
        "GitHub makes such an archive anew when it is asked for; its SHA-256 may change, that of"
        " the file does not.",
    ),
)
