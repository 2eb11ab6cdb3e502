import json

import pytest

from llmclf_core.errors import UserError
from llmclf_core.registry.journal import Journal, read_journal, undelivered

HEAD = {"op": "run", "run_key": "k"}


def write(path, *entries):
    journal = Journal(path)
    for entry in entries:
        journal.append(entry)
    journal.close()


def test_what_is_written_is_read(tmp_path):
    entries = [HEAD, {"op": "metrics", "values": {"é": float("inf")}, "step": 1}]
    write(tmp_path / "new" / "j", *entries)
    assert read_journal(tmp_path / "new" / "j") == entries


@pytest.mark.parametrize("torn", [b'{"op": "par', b"\xc3", b"{"])
def test_torn_last_line_is_dropped_and_the_next_line_is_whole(tmp_path, torn):
    path = tmp_path / "j"
    write(path, HEAD, {"op": "tags", "values": {}})
    path.write_bytes(path.read_bytes() + torn)
    assert len(read_journal(path)) == 2
    write(path, {"op": "end"})
    assert [e["op"] for e in read_journal(path)] == ["run", "tags", "end"]


def test_every_cut_of_the_file_can_be_read(tmp_path):
    path = tmp_path / "j"
    write(path, HEAD, {"op": "tags", "values": {"a": "ü"}}, {"op": "end"})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert len(read_journal(path)) == whole[:length].count(b"\n")


def test_damage_inside_is_refused(tmp_path):
    path = tmp_path / "j"
    path.write_text(json.dumps(HEAD) + "\n{broken\n" + json.dumps({"op": "end"}) + "\n")
    with pytest.raises(UserError, match=r"journal .*j is damaged.*remove the file"):
        read_journal(path)


def test_other_file_is_refused(tmp_path):
    (tmp_path / "j").write_text('{"op": "end"}\n')
    with pytest.raises(UserError, match="not a tracking journal"):
        read_journal(tmp_path / "j")


def test_missing_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"cannot read the tracking journal .*No such file"):
        read_journal(tmp_path / "j")


def test_unwritable_place_is_one_clear_message(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        Journal(tmp_path / "file" / "j")


def test_undelivered_is_what_follows_the_last_delivery():
    done = {"op": "delivered"}
    one, two = {"op": "tags"}, {"op": "end"}
    assert undelivered([HEAD, one, done, two]) == [two]
    assert undelivered([HEAD, one, done]) == []
    assert undelivered([HEAD, one]) == [one]
    assert undelivered([]) == []
