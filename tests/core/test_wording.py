"""Times, counts and numbers as a reader sees them."""

from trivium.core.wording import brief, counted, duration, shortened


def test_durations_have_the_unit_that_says_enough() -> None:
    times = {
        0.4: "0 s",
        40.2: "40 s",
        89: "89 s",
        90: "2 min",
        3000: "50 min",
        5399: "90 min",
        5400: "1.5 h",
        9000: "2.5 h",
    }
    assert {seconds: duration(seconds) for seconds in times} == times


def test_one_is_no_plural_and_nothing_is() -> None:
    assert [counted(n, "run") for n in (0, 1, 2)] == ["0 runs", "1 run", "2 runs"]


def test_a_long_text_loses_its_middle() -> None:
    assert shortened("0123456789", 10) == "0123456789"
    assert shortened("0123456789a", 4) == "01 ... 9a"


def test_numbers_with_a_fraction_are_brief_and_words_stay() -> None:
    words = {
        "0.0026289891606194353": "0.002629",
        "1e-05": "1e-05",
        "12345678": "12345678",
        "a.b": "a.b",
        "bert": "bert",
    }
    assert {word: brief(word) for word in words} == words
