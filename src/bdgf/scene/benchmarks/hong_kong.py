"""The scene of Hong Kong's local climate zones: Sentinel-2 and Sentinel-1."""

from __future__ import annotations

from bdgf.scene.benchmarks.declaration import (
    Benchmark,
    Container,
    Modality,
    Stored,
    drawn,
    random_split,
)

_SIZE = (529, 528)
_PER_CLASS = 40
_ALL = {
    1: 631, 2: 179, 3: 326, 4: 673, 5: 126, 6: 120, 8: 137, 10: 219,
    11: 1616, 12: 540, 13: 691, 14: 985, 17: 2603,
}  # fmt: skip

LCZ_HK = Benchmark(
    name="lcz-hk",
    title="LCZ Hong Kong",
    aliases=("LCZ HK", "MS-SAR HK", "LCZ", "Hong Kong", "HK"),
    classes={
        1: ("Compact high-rise", "#910613"),
        2: ("Compact mid-rise", "#d9081c"),
        3: ("Compact low-rise", "#ff0a22"),
        4: ("Open high-rise", "#c54f1e"),
        5: ("Open mid-rise", "#ff6628"),
        6: ("Open low-rise", "#ff985e"),
        8: ("Large low-rise", "#bbbbbb"),
        10: ("Heavy industry", "#565656"),
        11: ("Dense trees", "#006a18"),
        12: ("Scattered trees", "#00a926"),
        13: ("Bush and scrub", "#628432"),
        14: ("Low plants", "#b5da7f"),
        17: ("Water", "#656bfa"),
    },
    containers=(
        Container(
            name="mat",
            origin="the authors of MDL-RS, on request",
            modalities=(
                Modality("msi", "spectral", Stored("data_MSI.mat", "data_MSI", (*_SIZE, 10))),
                Modality("sar", "auxiliary", Stored("data_SAR.mat", "data_SAR", (*_SIZE, 4))),
            ),
            all=Stored("label.mat", "label", _SIZE),
            split=random_split(_PER_CLASS),
            official=False,
            counts_train=drawn(_ALL, _PER_CLASS)[0],
            counts_test=drawn(_ALL, _PER_CLASS)[1],
            doubts=("files", "size", "counts", "classes"),
            notes=(
                "File names and bands are those that one public code expects; size, codes and"
                " counts are those of the 2017 data fusion contest, from which the scene comes."
                " The codes are the 17 of the local climate zones, of which 13 occur.",
            ),
        ),
    ),
    licence="Not stated; labels and Sentinel-2 come from the 2017 data fusion contest.",
    citation=(
        "D. Hong et al.: More diverse means better: multimodal deep learning meets remote-sensing"
        " imagery classification, IEEE Transactions on Geoscience and Remote Sensing 59(5),"
        " 4340-4354, 2021; N. Yokoya et al.: Open data for global multimodal land use"
        " classification: outcome of the 2017 IEEE GRSS data fusion contest, IEEE Journal of"
        " Selected Topics in Applied Earth Observations and Remote Sensing 11(5), 1363-1377, 2018"
    ),
    page="https://github.com/danfenghong/IEEE_TGRS_MDL-RS",
    notes=("The authors send the download link on request.",),
)
