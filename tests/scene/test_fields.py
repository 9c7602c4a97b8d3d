"""YAML of people: loaded without running code, and checked with words that help."""

from __future__ import annotations

import pytest

from bdgf.errors import SceneError
from bdgf.scene.fields import Fields, WrittenInt, load_yaml


@pytest.fixture
def load(tmp_path):
    def load(content):
        path = tmp_path / "a.yaml"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return load_yaml(path)

    return load


def test_yaml_is_read_with_merge_keys(load):
    text = "base: &b {x: 1, y: 2}\nmore: {<<: *b, y: 3}\n"
    assert load(text) == {"base": {"x": 1, "y": 2}, "more": {"x": 1, "y": 3}}


def test_what_looks_like_a_date_and_is_none_is_a_text(load):
    assert load("a: 2021-13-01\nb: 0412-15-33\n") == {"a": "2021-13-01", "b": "0412-15-33"}


def test_numbers_remember_how_they_are_written(load):
    plain, octal, long = load("[12, 010, 1_020]")
    assert (plain, octal, long) == (12, 8, 1020)
    assert not isinstance(plain, WrittenInt)
    assert (octal.text, long.text) == ("010", "1_020")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a: [\n", "not valid YAML"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML"),
        ("? [1, 2]\n: 3\n", "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", "line 3 of the scene file gives 'a' a second time"),
        ("a: {b: 1, b: 2}\n", "'b' a second time"),
        (b"\xff\xfe\x00", "cannot be read as a text file"),
    ],
)
def test_what_is_not_read(load, content, message):
    with pytest.raises(SceneError, match=message):
        load(content)


def test_unknown_field_suggests_the_nearest_or_lists_all():
    fields = Fields({"colour": 1}, "labels of a.yaml")
    with pytest.raises(SceneError, match="did you mean color"):
        fields.only("color", "train")
    with pytest.raises(SceneError, match="it knows path, key"):
        fields.only("path", "key")


def test_numbers_are_in_range_and_no_booleans():
    fields = Fields({"a": 3, "b": True, "c": 2.5}, "x")
    assert fields.whole("a", 1, 1) == 3
    assert fields.number("missing", 0.5, 0, 1) == 0.5
    with pytest.raises(SceneError, match="a of x is 3; it must be from 0 to 1"):
        fields.number("a", 0.5, 0, 1)
    with pytest.raises(SceneError, match="b of x is True; it must be a number"):
        fields.number("b", 0.5, 0, 1)
    with pytest.raises(SceneError, match="whole number"):
        fields.whole("c", 1, 1)
