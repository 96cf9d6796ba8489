"""A file that cannot be read is refused in one sentence that names the line and says what to do."""

from pathlib import Path

import pytest

from training import labelled_file
from training.labelled_file import Refused, read_records


def refusal(path: Path) -> str:
    with pytest.raises(Refused) as caught:
        list(read_records(path))
    return str(caught.value)


def written(tmp_path: Path, content: bytes, name: str = "answers.jsonl") -> Path:
    (tmp_path / name).write_bytes(content)
    return tmp_path / name


def test_lines_and_rows_come_with_their_place(tmp_path: Path) -> None:
    lines = written(tmp_path, b'\xef\xbb\xbf{"right": true}\n\n{"right": false}')
    assert [(place.line, record) for place, record in read_records(lines)] == [
        (1, {"right": True}),
        (3, {"right": False}),
    ]
    table = written(tmp_path, b'prompt,right\r\n"two\r\nlines",true\r\nnext,false\r\n', "answers.csv")
    assert [(place.line, record["prompt"]) for place, record in read_records(table)] == [
        (2, "two\r\nlines"),
        (4, "next"),
    ]


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b'{"a": 1}\n\xff\xfe{}\n', "line 2: is no UTF-8 at byte 0"),
        (b'{"a": 1}\n{"a": }\n', "line 2: is no JSON"),
        (b"[1, 2]\n", "line 1: must be an object"),
        (b"[" * 100_000 + b"\n", "line 1: is JSON nested too deeply"),
        (b'{"a": ' + b"9" * 5_000 + b"}\n", "line 1: is JSON nested too deeply, or holds a number too long"),
    ],
)
def test_a_line_that_is_no_object_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    assert told in refusal(written(tmp_path, content))


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"a,b\n1\n", "line 2: has 1 fields, and the header names 2"),
        (b"a,a\n1,2\n", "line 1, a: stands twice"),
        (b'a,b\n"1,2\n', "line 2: is no CSV"),
        (b"a,b\n" + b"x" * 200_000 + b",1\n", "line 2: is no CSV (field larger"),
    ],
)
def test_a_table_that_does_not_fit_its_header_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    assert told in refusal(written(tmp_path, content, "answers.csv"))


def test_a_huge_line_is_refused_before_it_is_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(labelled_file, "LONGEST_LINE", 1_000)
    assert "line 2: is longer than" in refusal(written(tmp_path, b"{}\n" + b" " * 1_001))


def test_what_is_no_file_of_a_known_kind_is_refused(tmp_path: Path) -> None:
    assert "is a folder" in refusal(tmp_path)
    assert "cannot be read: No such file" in refusal(tmp_path / "none.jsonl")
    assert "must end in .jsonl" in refusal(written(tmp_path, b"{}", "answers.txt"))
