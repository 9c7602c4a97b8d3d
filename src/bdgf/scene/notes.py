"""What was put right when a scene was opened, in words for the user."""

from __future__ import annotations


class Notes:
    """Sentences by topic; those of many tiles on one topic become one."""

    def __init__(self) -> None:
        self._said: dict[str, list[str]] = {}

    def say(self, topic: str, sentence: str | None) -> None:
        """Keep a sentence for the user, None where there is nothing to say."""
        if sentence:
            self._said.setdefault(topic, []).append(sentence)

    def summed(self) -> tuple[str, ...]:
        """Return one sentence per topic."""
        return tuple(_summed(said) for said in self._said.values())


def _summed(said: list[str]) -> str:
    """One sentence for what was said of many tiles."""
    return said[0] if len(said) == 1 else f"{said[0]} (and alike in {len(said) - 1} more tiles)"
