from tests.support.skips import ALLOWED, allowed_reasons, forbidden


def test_a_list_has_patterns_and_comments() -> None:
    assert allowed_reasons("# all\n\nneeds root: *  # why\nno docker\n") == ["needs root: *", "no docker"]


def test_what_no_pattern_matches_is_forbidden() -> None:
    skips = [("a", "needs root: to drop it"), ("b", "flaky")]
    assert forbidden(skips, ["needs root: *"]) == [("b", "flaky")]


def test_the_committed_list_is_short_and_says_why() -> None:
    lines = [line for line in ALLOWED.read_text().splitlines() if line and not line.startswith("#")]
    assert len(lines) < 15
    assert all("#" in line for line in lines)
