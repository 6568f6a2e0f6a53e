"""Which id is taken again after a loss: the one that most manifests name, else a new one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gateway_api.repository.id_recovery import choose_id

ids = st.sampled_from([letter * 32 for letter in "abcd"])


@given(st.lists(ids), st.booleans())
def test_id_is_the_only_one_that_most_manifests_name(names: list[str], damaged: bool) -> None:
    chosen = choose_id(names, damaged=damaged)
    counts = sorted((names.count(name) for name in set(names)), reverse=True)
    if counts and (len(counts) == 1 or counts[0] > counts[1]):
        assert (chosen.named, chosen.lost, names.count(chosen.value)) == (True, True, counts[0])
    else:
        assert chosen.value not in names
        assert not chosen.named
        assert chosen.lost == (damaged or bool(names))


@given(st.lists(st.text(max_size=40)))
def test_text_that_is_no_id_names_none(names: list[str]) -> None:
    chosen = choose_id(names, damaged=False)
    assert chosen.value not in names
    assert len(chosen.value) == 32
