"""Which edits are compared with the model."""

from attrib.engine.window import dispatch


def test_guard_takes_the_first_and_the_last_edit() -> None:
    for count in (1, 2, 15, 16, 17, 5000):
        r = dispatch.edits_to_check(count, 0)
        assert len(r) == min(count, 16)
        assert (int(r[0]), int(r[-1])) == (0, count - 1)
    assert dispatch.edits_to_check(100, 16).tolist() == [0, 33, 66, 99]
    assert len(dispatch.edits_to_check(100, 64)) == 0
