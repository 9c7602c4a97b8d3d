"""The scene of the 2013 data fusion contest: hyperspectral image and LiDAR heights of Houston."""

from __future__ import annotations

from bdgf.scene.benchmarks.declaration import (
    Benchmark,
    Container,
    Download,
    Form,
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
)

_SIZE = (349, 1905)
_PAGE = "https://machinelearning.ee.uh.edu/?page_id=459"
_CONTEST = "2013_IEEE_GRSS_DF_Contest"
_TRAIN = counted(198, 190, 192, 188, 186, 182, 196, 191, 193, 191, 181, 192, 184, 181, 187)
_TEST = counted(1053, 1064, 505, 1056, 1056, 143, 1072, 1053, 1059, 1036, 1054, 1041, 285, 247, 473)
_REGIONS = (
    "grass_healthy",
    "grass_stressed",
    "grass_synthetic",
    "tree",
    "soil",
    "water",
    "residential",
    "commercial",
    "road",
    "highway",
    "railway",
    "parking_lot1",
    "parking_lot2",
    "tennis_court",
    "running_track",
)


def _contest(name: str, ending: str, form: Form, notes: tuple[str, ...]) -> Container:
    return Container(
        name=name,
        origin="University of Houston",
        modalities=(
            Modality(
                "hsi", "spectral", Stored(f"{_CONTEST}_CASI.tif", None, (*_SIZE, 144), "uint16")
            ),
            Modality("lidar", "auxiliary", Stored(f"{_CONTEST}_LiDAR.tif", None, _SIZE, "float32")),
        ),
        train=Stored(f"{_CONTEST}_Samples_TR.{ending}", None, _SIZE, "uint8", form),
        test=Stored(f"{_CONTEST}_Samples_VA.{ending}", None, _SIZE, "uint8", form),
        counts_train=_TRAIN,
        counts_test=_TEST,
        regions=_REGIONS if form == "roi" else (),
        notes=notes,
    )


HOUSTON2013 = Benchmark(
    name="houston2013",
    title="Houston 2013",
    aliases=("Houston", "HU2013", "Houston13", "DFC2013", "GRSS DFC 2013", "houston2013-mmr"),
    classes={
        1: ("Healthy grass", "#00cd00"),
        2: ("Stressed grass", "#7fff00"),
        3: ("Synthetic grass", "#2e8b57"),
        4: ("Trees", "#008b00"),
        5: ("Soil", "#a0522d"),
        6: ("Water", "#00ffff"),
        7: ("Residential", "#ffffff"),
        8: ("Commercial", "#d8bfd8"),
        9: ("Road", "#ff0000"),
        10: ("Highway", "#8b0000"),
        11: ("Railway", "#000000"),
        12: ("Parking lot 1", "#ffff00"),
        13: ("Parking lot 2", "#ee9a00"),
        14: ("Tennis court", "#551a8b"),
        15: ("Running track", "#ff7f50"),
    },
    containers=(
        _contest(
            "contest-masks",
            "tif",
            "raster",
            ("The contest's regions burnt into two masks, as the authors of S2FL offer them.",),
        ),
        _contest(
            "contest",
            "txt",
            "roi",
            (
                "The text of the test regions is not in the contest's archive: it was exported"
                " from the .roi file that is.",
            ),
        ),
        Container(
            name="mat",
            origin="likyoo, Multimodal-Remote-Sensing-Toolkit, and many copies",
            modalities=(
                Modality(
                    "hsi",
                    "spectral",
                    Stored(
                        "HSI.mat",
                        "HSI",
                        (*_SIZE, 144),
                        other_files=("Houston.mat",),
                        other_keys=("Houston", "houston", "img"),
                    ),
                ),
                Modality(
                    "lidar",
                    "auxiliary",
                    Stored(
                        "LiDAR.mat",
                        "LiDAR",
                        _SIZE,
                        other_files=("LiDAR_1.mat",),
                        other_keys=("img",),
                    ),
                ),
            ),
            train=Stored("TRLabel.mat", "TRLabel", _SIZE),
            test=Stored("TSLabel.mat", "TSLabel", _SIZE),
            counts_train=_TRAIN,
            counts_test=_TEST,
            notes=("gt.mat, which comes along, is the sum of the two label files.",),
        ),
        Container(
            name="mat-prefixed",
            origin="several code repositories",
            modalities=(
                Modality("hsi", "spectral", Stored("Houston2013_HSI.mat", "HSI", (*_SIZE, 144))),
                Modality("lidar", "auxiliary", Stored("Houston2013_DSM.mat", "DSM", _SIZE)),
            ),
            train=Stored("Houston2013_TR.mat", "TR_map", _SIZE),
            test=Stored("Houston2013_TE.mat", "TE_map", _SIZE),
            counts_train=_TRAIN,
            counts_test=_TEST,
            doubts=("counts",),
        ),
        index_container("houston", "lidar", _SIZE, (144, 1), (None, None), (_TRAIN, _TEST)),
        Container(
            name="hs-ms",
            origin="the authors of S2FL",
            modalities=(
                Modality("hsi", "spectral", Stored("data_HS_LR.mat", "data_HS_LR", (*_SIZE, 144))),
                Modality("msi", "spectral", Stored("data_MS_HR.mat", "data_MS_HR", (*_SIZE, 8))),
            ),
            train=Stored("TrainImage.mat", "TrainImage", _SIZE),
            test=Stored("TestImage.mat", "TestImage", _SIZE),
            counts_train=_TRAIN,
            counts_test=_TEST,
            doubts=("bands", "counts"),
            notes=(
                "Not the LiDAR but a multispectral image simulated from the hyperspectral one:"
                " never set its results beside those of the other containers.",
            ),
        ),
    ),
    licence="For research, on the terms of the contest's page.",
    citation=(
        "C. Debes et al.: Hyperspectral and LiDAR data fusion: outcome of the 2013 GRSS data"
        " fusion contest, IEEE Journal of Selected Topics in Applied Earth Observations and Remote"
        f" Sensing 7(6), 2405-2418, 2014; with the multispectral image also {S2FL}"
    ),
    page=_PAGE,
    downloads=(
        Download(
            url="https://machinelearning.ee.uh.edu/2egf4tg8hial13gt/2013_DFTC.zip",
            file="2013_DFTC.zip",
            sha256="f4d619d5cbcb09d0301038f1b8fe83def6c2d484334b7b8127740a00ecf7e245",
            archive=True,
            container="contest",
            page=_PAGE,
            unpacked={
                f"2013_DFTC/{_CONTEST}_CASI.tif": (
                    "1440f38594e8e82cc1944c084fc138ef55a70af54122828e999c4fb438574c14"
                ),
                f"2013_DFTC/{_CONTEST}_LiDAR.tif": (
                    "9f4facce8876ee84642d9cb03536baf0389506de97ddc01b73366fe4521de981"
                ),
                f"2013_DFTC/{_CONTEST}_Samples_TR.txt": (
                    "16c69cf216535d7b4df2045b05d49c50a078609aa6d011a5e23e54f4cd08abda"
                ),
            },
            allowed=False,
            hosts=("machinelearning.ee.uh.edu",),
        ),
        Download(
            url=f"{MIRROR}{_CONTEST}_Samples_VA.txt",
            file=f"{_CONTEST}_Samples_VA.txt",
            sha256="768bb02193d04c8020b45f1f31a49926a5b914040f77f71a81df756d6e8b8dcb",
            archive=False,
            container="contest",
            page=MIRROR_PAGE,
            hosts=GITHUB,
        ),
        Download(
            url=f"{MIRROR}houston2013-mmr.zip",
            file="houston2013-mmr.zip",
            sha256="7a2d719d12f49f1984e6f28821254cd6b217ba85599780a093ed3388ae1fd762",
            archive=True,
            container="mat",
            page=MIRROR_PAGE,
            unpacked={
                "Houston2013/gt.mat": (
                    "75ecccc08ac7709e48285bb098fda802da6efd6dc0168cb1c99c6ce09d0b6ae0"
                ),
                "Houston2013/HSI.mat": (
                    "6a0edba3c224df411623ed5774fc34e91929ab341709859b2f56cc38dbb3c6fd"
                ),
                "Houston2013/LiDAR.mat": (
                    "7aa956e7c371fd29a495f0cb9bb8f572aaa4065fcfeda2b3e854a5cef74b35ad"
                ),
                "Houston2013/TRLabel.mat": (
                    "96ce863eaf4dc548c3140a480dee33c812d46194ae5ed345fed6e71a3d72b527"
                ),
                "Houston2013/TSLabel.mat": (
                    "46bd849d556c80ed67b33f23dd288eafa7ac9f97a847390be373b702b0bf5a45"
                ),
            },
            hosts=GITHUB,
        ),
    ),
    notes=(f"The masks of the training and test regions are offered at {S2FL_PAGE}.",),
)
