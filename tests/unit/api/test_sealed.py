"""What is sealed is proven whole, whatever its size and whatever the sizes of the pieces in which the proof gets it."""

from __future__ import annotations

import os
import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway_api.archive import Compression, Form, Proof
from gateway_api.content import Content
from gateway_api.sealed import seal, unseal
from tests.api.packing import pack

FORMS: list[Compression] = ["none", "gzip", "zstd"]
DATA = random.Random(4).randbytes(700_000)
CONTENT = Content.of(DATA)
PACKED = {form: pack(DATA, form) for form in FORMS}


@pytest.mark.parametrize("compression", FORMS)
@pytest.mark.parametrize("size", [0, 1, 130_000, 131_072, 400_000, 1_000_000, 3_000_000])
def test_a_config_of_any_size_is_sealed_without_encryption(compression: Compression, size: int) -> None:
    form = Form(compression, False)
    content = Content.of(os.urandom(size))
    assert unseal(seal(content, form, []), form, None, size + 1).sha256 == content.sha256


def _pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(cuts), len(data)]
    return [data[begin:end] for begin, end in pairwise(edges)]


def _gave(data: bytes, form: Compression, cuts: list[int]) -> bool:
    proof = Proof(form)
    for piece in _pieces(data, cuts):
        proof.write(piece)
    return proof.gave(CONTENT)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(FORMS), st.lists(st.integers(0, len(DATA)), max_size=6))
def test_a_proof_holds_however_the_bytes_are_cut(form: Compression, cuts: list[int]) -> None:
    assert _gave(PACKED[form], form, cuts)


@settings(max_examples=100, deadline=None)
@given(st.sampled_from(FORMS), st.lists(st.integers(0, len(DATA)), max_size=3), st.integers(0, len(DATA) - 1))
def test_a_proof_tells_what_is_short_long_or_other(form: Compression, cuts: list[int], at: int) -> None:
    packed = PACKED[form]
    at %= len(packed)
    assert not _gave(packed[:at], form, cuts)
    assert not _gave(packed + packed[at : at + 9], form, cuts)
    assert not _gave(packed + b"x", form, [len(packed)])
