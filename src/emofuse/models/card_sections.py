"""Sections of a card that somebody added to those that the program writes."""

from __future__ import annotations

from itertools import pairwise

__all__ = ["keep_sections"]

START = "\n## "
CARRIED = "*Said of the bundle that was exported.*"


def keep_sections(card: str, earlier: str) -> str:
    r"""Put the sections of an earlier card that the new one lacks where they stood.

    A section runs from its heading of level two to the next; what is carried over says so.

    >>> print(keep_sections("# M\n\n## A\n\na\n", "# M\n\n## X\n\nx\n\n## A\n\nold\n"), end="")
    # M
    <BLANKLINE>
    ## X
    <BLANKLINE>
    *Said of the bundle that was exported.*
    <BLANKLINE>
    x
    <BLANKLINE>
    ## A
    <BLANKLINE>
    a
    """
    head, *sections = card.rstrip().split(START)
    before = [part.rstrip() for part in earlier.rstrip().split(START)[1:]]
    sections = [part.rstrip() for part in sections]
    for section, following in reversed(list(pairwise([*before, ""]))):
        names = [_name(part) for part in sections]
        if _name(section) not in names:
            place = names.index(_name(following)) if _name(following) in names else len(names)
            sections.insert(place, _marked(section))
    return (START.join([head.rstrip() + "\n", *(part + "\n" for part in sections)])).rstrip() + "\n"


def _name(section: str) -> str:
    return section.partition("\n")[0].strip()


def _marked(section: str) -> str:
    name, _, text = section.partition("\n")
    mark = "" if CARRIED in text else f"\n{CARRIED}\n"
    return f"{name}\n{mark}{text}".rstrip()
