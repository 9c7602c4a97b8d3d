from __future__ import annotations

from bdgf.scene.layout import ChannelLayout, ModalityChannels


def test_channels_know_their_modality() -> None:
    layout = ChannelLayout(
        (
            ModalityChannels("hsi", "spectral", 0, 3),
            ModalityChannels("msi", "spectral", 3, 4),
            ModalityChannels("sar", "auxiliary", 4, 6),
        )
    )
    assert layout.channels == 6
    assert layout.modality_of_channel == (0, 0, 0, 1, 2, 2)
    assert layout.spectral == (0, 1)
    assert [m.size for m in layout.modalities] == [3, 1, 2]


def test_a_layout_is_a_value() -> None:
    one = ChannelLayout((ModalityChannels("hsi", "spectral", 0, 3),))
    assert {one: 1}[ChannelLayout(one.modalities)] == 1
