"""Names that a user may choose from."""

import pytest

from trivium.core.choices import check_choice, nearest


def test_a_choice_passes_and_any_other_word_is_told_with_the_nearest() -> None:
    assert check_choice("method.balance", "ogm", ("none", "ogm")) == "ogm"
    assert check_choice("classes", 3, (2, 3, 5)) == 3
    with pytest.raises(ValueError, match=r"method\.balance: expected one of none, ogm, found 'omg'; nearest is ogm"):
        check_choice("method.balance", "omg", ("none", "ogm"))
    with pytest.raises(ValueError, match=r"classes: expected one of 2, 3, 5, found 4$"):
        check_choice("classes", 4, (2, 3, 5))


@pytest.mark.parametrize(
    ("name", "found"),
    [("max_epochs", "trainer.max_epochs"), ("trainr.max_epochs", "trainer.max_epochs"), ("zzz", None)],
)
def test_the_nearest_key_may_be_at_another_level(name: str, found: str | None) -> None:
    assert nearest(name, ["seed", "trainer.max_epochs", "optimizer.lr"]) == found
