"""Emotions written into a text: ``[happy] We won! [sad:0.6] But you were not there.``

A tag holds from where it stands to the next one. Inside the brackets stands what ``--emotion`` takes, several joined
by ``+``: ``[happy:0.5 + surprised:0.5]``, ``[contempt]``, ``[neutral]``. A backslash makes a bracket a bracket:
``\\[laughs\\]``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from mooe.errors import EmotionError

_PIECE = re.compile(r"\\([\[\]])|\[([^\[\]]*)\]|([\[\]])")


@dataclass(frozen=True)
class TaggedText:
    """A text and the tags in it.

    Attributes:
        text: without the tags.
        tags: (position in `text`, the emotions that hold from there on as ``--emotion`` takes them), in order.
    """

    text: str
    tags: tuple[tuple[int, tuple[str, ...]], ...]

    def shares(self) -> list[float]:
        """Where each tag falls, as a share in [0, 1] of the time that saying the text takes.

        Letters and digits are taken to last equally long; what speaks the text knows better, and should use `tags` with
        its own times.
        """
        spoken = [character.isalnum() for character in self.text]
        return [sum(spoken[:position]) / max(sum(spoken), 1) for position, _ in self.tags]


def parse_tags(text: str) -> TaggedText:
    """Take the tags out of a text.

    Raises:
        EmotionError: a bracket is not closed or not opened, or a tag is empty.
    """
    plain, tags, place = "", [], 0
    for match in _PIECE.finditer(text):
        plain += text[place : match.start()]
        place = match.end()
        escaped, tag, lonely = match.groups()
        if lonely:
            raise EmotionError(
                f"A bracket in {text!r} has no partner: write tags as [happy] or [sad:0.6], and a plain bracket as "
                f"\\{lonely}."
            )
        if escaped:
            plain += escaped
            continue
        if not tag.strip():
            raise EmotionError(f"A tag in {text!r} is empty: write tags as [happy] or [sad:0.6].")
        # the blanks around a tag are one
        if plain.endswith(" ") and text[place : place + 1] == " ":
            place += 1
        tags.append((len(plain), tuple(part.strip() for part in tag.split("+"))))
    return TaggedText(plain + text[place:], tuple(tags))
