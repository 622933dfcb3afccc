"""Files are whole or absent."""

from __future__ import annotations

import os
import stat

import pytest
import torch

from unstir.files import read_json, read_tensors, write_aside, write_json, write_tensors, write_text


def test_text_json_and_tensors_come_back_as_they_were(tmp_path):
    write_text(tmp_path / "deep" / "er" / "a.txt", "naïve σ\n")
    assert (tmp_path / "deep" / "er" / "a.txt").read_text(encoding="utf-8") == "naïve σ\n"
    value = {"a": [1, 2.5, None, True], "ü": "σ"}
    write_json(tmp_path / "a.json", value)
    assert read_json(tmp_path / "a.json") == value
    tensors = {
        "half": torch.ones(2, 3, dtype=torch.bfloat16),
        "turned": torch.arange(6.0).reshape(2, 3).T,
        "scalar": torch.tensor(7, dtype=torch.int64),
        "empty": torch.zeros(0, 4),
        "learned": torch.nn.Parameter(torch.ones(2)),
    }
    write_tensors(tmp_path / "a.safetensors", tensors, {"why": "test"})
    found, metadata = read_tensors(tmp_path / "a.safetensors")
    assert metadata == {"why": "test"}
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("metadata", [None, {}, {"why": "test"}])
def test_no_tensors_at_all_come_back_as_none(metadata, tmp_path):
    write_tensors(tmp_path / "a.safetensors", {}, metadata)
    assert read_tensors(tmp_path / "a.safetensors") == ({}, metadata or {})


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def fail(aside):
        aside.write_text("half of the n")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_aside(file, fail)
    assert file.read_text() == "old"
    assert list(tmp_path.iterdir()) == [file]


def test_readers_never_see_a_half_written_file(tmp_path):
    file = tmp_path / "a.txt"
    write_text(file, "old")

    def slow(aside):
        aside.write_text("ne")
        assert file.read_text() == "old"
        aside.write_text("new")

    write_aside(file, slow)
    assert file.read_text() == "new"


def test_files_have_the_permissions_that_the_mask_allows(tmp_path):
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "a.txt", "x")
        assert os.umask(0o027) == 0o027
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_file_that_cannot_be_written_is_an_os_error_that_names_it(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(OSError, match="file"):
        write_text(tmp_path / "file" / "a.txt", "x")


@pytest.mark.parametrize("content", [b"{", b"", b"\xff\xfe{}", b"{'a': 1}"])
def test_json_that_is_damaged_is_named_in_one_sentence(content, tmp_path):
    file = tmp_path / "a.json"
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.json is not a readable JSON file") as error:
        read_json(file)
    assert "\n" not in str(error.value)


def test_tensors_that_are_damaged_are_named_in_one_sentence(tmp_path):
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"w": torch.ones(100)})
    whole = file.read_bytes()
    for content in (b"", whole[:4], whole[:30], whole[:-1], whole + b"x", b"\xff" * 100, b"PK" + whole):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"a\.safetensors is not a readable safetensors file") as error:
            read_tensors(file)
        assert "\n" not in str(error.value)


def test_tensors_read_do_not_depend_on_the_file_any_more(tmp_path):
    file = tmp_path / "a.safetensors"
    write_tensors(file, {"w": torch.ones(1000)})
    found, _ = read_tensors(file)
    file.write_bytes(b"\0" * file.stat().st_size)
    assert torch.equal(found["w"], torch.ones(1000))
