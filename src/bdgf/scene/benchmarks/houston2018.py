"""The scene of the 2018 data fusion contest: hyperspectral image and LiDAR of Houston."""

from __future__ import annotations

from bdgf.scene.benchmarks.declaration import (
    Benchmark,
    Container,
    Doubt,
    Download,
    Modality,
    Stored,
    counted,
    drawn,
    random_split,
)
from bdgf.scene.benchmarks.shared import GITHUB, MIRROR, MIRROR_PAGE, index_container

_PAGE = (
    "https://machinelearning.ee.uh.edu/"
    "2018-ieee-grss-data-fusion-challenge-fusion-of-multispectral-lidar-and-hyperspectral-data/"
)
_PER_CLASS = 40
_ALL = counted(
    39196, 130008, 2736, 54322, 20172, 18064, 1064, 158995, 894769, 183283,
    136035, 6059, 185438, 39438, 27748, 45932, 587, 26289, 21479, 27296,
)  # fmt: skip
_INDEX_TRAIN = {code: 1000 for code in _ALL} | {7: 500, 17: 250}
_INDEX_TEST = {code: number - _INDEX_TRAIN[code] for code, number in _ALL.items()}
_HALF_METRE = (1202, 4768)


def _contest(
    name: str, origin: str, hsi: Stored, lidar: Stored, doubts: tuple[Doubt, ...], *notes: str
) -> Container:
    train, test = drawn(_ALL, _PER_CLASS)
    return Container(
        name=name,
        origin=origin,
        modalities=(
            Modality("hsi", "spectral", hsi, bands=(1, 48)),
            Modality("lidar", "auxiliary", lidar),
        ),
        all=Stored("2018_IEEE_GRSS_DFC_GT_TR.tif", None, _HALF_METRE, "uint8"),
        split=random_split(_PER_CLASS),
        official=False,
        counts_train=train,
        counts_test=test,
        align="lidar",
        doubts=doubts,
        notes=(
            "The hyperspectral image has 1 m, LiDAR and labels have 0.5 m: the scene's grid is"
            " that of the LiDAR. 48 of the 50 bands hold spectra.",
            "The labels of the contest's test area are not public, so a random split is drawn.",
            *notes,
        ),
    )


HOUSTON2018 = Benchmark(
    name="houston2018",
    title="Houston 2018",
    aliases=("HU2018", "Houston18", "DFC2018", "GRSS DFC 2018", "houston2018-ouc"),
    classes={
        1: ("Healthy grass", "#00cd00"),
        2: ("Stressed grass", "#7fff00"),
        3: ("Artificial turf", "#2e8b57"),
        4: ("Evergreen trees", "#008b00"),
        5: ("Deciduous trees", "#004600"),
        6: ("Bare earth", "#a0522d"),
        7: ("Water", "#00ffff"),
        8: ("Residential buildings", "#ffffff"),
        9: ("Non-residential buildings", "#d8bfd8"),
        10: ("Roads", "#ff0000"),
        11: ("Sidewalks", "#aaa096"),
        12: ("Crosswalks", "#808080"),
        13: ("Major thoroughfares", "#a00000"),
        14: ("Highways", "#500000"),
        15: ("Railways", "#e8a118"),
        16: ("Paved parking lots", "#ffff00"),
        17: ("Unpaved parking lots", "#ee9a00"),
        18: ("Cars", "#ff00ff"),
        19: ("Trains", "#0000ff"),
        20: ("Stadium seats", "#b0c4de"),
    },
    containers=(
        index_container(
            "houston",
            "lidar",
            _HALF_METRE,
            (50, 1),
            ("uint16", "float32"),
            (_INDEX_TRAIN, _INDEX_TEST),
            doubts=("counts",),
            notes=(
                "The hyperspectral image is resampled to the 0.5 m of the labels. Its last two"
                " bands hold no spectrum.",
            ),
            official=False,
        ),
        _contest(
            "contest",
            "University of Houston (phase 1: the training area)",
            Stored("2018_IEEE_GRSS_DFC_HSI_TR", None, (601, 2384, 50)),
            Stored("UH17_GEM051_TR.tif", None, _HALF_METRE, "float32"),
            ("bands",),
        ),
        _contest(
            "contest-full",
            "University of Houston (phase 2: the whole area)",
            Stored(
                "20170218_UH_CASI_S4_NAD83.pix",
                None,
                (1202, 4172, 50),
                other_files=("20170218_UH_CASI_S4_NAD83.tif", "20170218_UH_CASI_S4_NAD83.tiff"),
            ),
            Stored("UH17_GEM051.tif", None, (2404, 8344), "float32"),
            ("size", "bands"),
            "The labels cover the training area alone.",
        ),
    ),
    licence=(
        "For research, on the terms of the contest's page, which asks for a message with name and"
        " affiliation."
    ),
    citation=(
        "Y. Xu et al.: Advanced multi-sensor optical remote sensing for urban land use and land"
        " cover classification: outcome of the 2018 IEEE GRSS data fusion contest, IEEE Journal of"
        " Selected Topics in Applied Earth Observations and Remote Sensing 12(6), 1709-1724, 2019"
    ),
    page=_PAGE,
    downloads=(
        Download(
            url=f"{MIRROR}houston2018-ouc.zip",
            file="houston2018-ouc.zip",
            sha256="bc1e046cc00b82661441888b17327b38946a0da33951eb4ebb7d0a4e0ca3cfa2",
            archive=True,
            container="index",
            page=MIRROR_PAGE,
            unpacked={
                "Houston2018/houston_gt.mat": (
                    "93f268e576fcf149fab8cb71b4a79691b420e9a3f369f0cbc73e2029639f6286"
                ),
                "Houston2018/houston_hsi.mat": (
                    "35a4a9a2bad193740274c6388f18284fc586a2ef5bde579368796fbeec2a58ea"
                ),
                "Houston2018/houston_index.mat": (
                    "2d513db197f105b6b82e7039909878862fbe48750a93184017f22ab8f288d0b3"
                ),
                "Houston2018/houston_lidar.mat": (
                    "a55fa2d99684078dd0d8039b2ca1349190d86766426a25e8dff7fbd5df036d9b"
                ),
            },
            hosts=GITHUB,
        ),
        Download(
            url="http://machinelearning.ee.uh.edu/QZ23es1aMPH/2018IEEE/phase2.zip",
            file="phase2.zip",
            sha256="aa6ae39bf9df16b6a72eddaec7e05d853ef525a2f43555f1b9394ec0fe801f19",
            archive=True,
            container="contest-full",
            page=_PAGE,
            unpacked={
                "2018IEEE_Contest/Phase2/TrainingGT/2018_IEEE_GRSS_DFC_GT_TR.tif": (
                    "025b3813a0a52855567debf4b1e294937fd9b1ff17e00b9acd9e794ef29696d0"
                ),
                "2018IEEE_Contest/Phase2/FullHSIDataset/20170218_UH_CASI_S4_NAD83.pix": (
                    "6f29fd1863ceb0cf4ae3b162ffc48e11ce02bad46780531a99ac2b29164b38e2"
                ),
                "2018IEEE_Contest/Phase2/Lidar GeoTiff Rasters/DEM+B_C123/UH17_GEM051.tif": (
                    "521b04abe70ef1452cdd74ee46b30efa4cc093e707a365bbdd6ad54f6317779a"
                ),
            },
            allowed=False,
            hosts=("machinelearning.ee.uh.edu",),
        ),
    ),
    notes=(
        "20 classes, 2,018,910 labelled pixels of 0.5 m.",
        "The training pixels of the lists, 1,000 per class with 500 for water and 250 for unpaved"
        " parking lots, were confirmed by their sum only: a difference is reported and not"
        " refused.",
    ),
)
