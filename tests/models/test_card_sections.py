"""What somebody added to a card goes along where it stood."""

from emofuse.models.card_sections import CARRIED, keep_sections

PLAIN = "# Model\n\nHead.\n\n## Data\n\nnew data\n\n## Use\n\nnew use\n"
ADDED = (
    "# Old\n\n## Data\n\nold data\n\n## Mine\n\n| a |\n|---|\n\n"
    "## Also mine\n\nb\n\n## Use\n\nold\n"
)


def test_a_card_without_additions_stays_as_it_is() -> None:
    assert keep_sections(PLAIN, "") == PLAIN
    assert keep_sections(PLAIN, "# Old\n\n## Use\n\nold\n\n## Data\n\nold\n") == PLAIN


def test_added_sections_keep_their_place_and_order_and_the_rest_is_new() -> None:
    kept = keep_sections(PLAIN, ADDED)
    names = [line[3:] for line in kept.splitlines() if line.startswith("## ")]
    assert names == ["Data", "Mine", "Also mine", "Use"]
    assert "old" not in kept.lower().replace("# old", "")
    assert kept.count(CARRIED) == 2
    assert kept.replace(f"{CARRIED}\n\n", "").count("| a |\n|---|") == 1


def test_the_end_of_a_card_and_a_second_time() -> None:
    once = keep_sections(PLAIN, PLAIN + "\n## Last\n\nz\n")
    assert once.endswith(f"## Last\n\n{CARRIED}\n\nz\n")
    assert keep_sections(PLAIN, once) == once
