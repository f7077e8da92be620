"""Imports: files of all systems are recorded exactly once, or not at all, with the line that is invalid."""

import bz2
import codecs
import gzip
import io
import lzma
import os
import sys
import tracemalloc
from array import array
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import OperationalError

from fizzbuzz import rules
from fizzbuzz.counts import folding, verify
from fizzbuzz.models import Import, NumberCount, Submission
from fizzbuzz.submissions import importing, record
from tests.log import INSERT, assert_exact, open_transaction
from tests.marks import commits
from tests.service import SECRET_KEY, eventually, manage

pytestmark = commits
unrecorded = pytest.mark.django_db  # so that no tables are flushed

NUMBERS = [15, -3, 7, 15]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "numbers"


def log() -> list[int]:
    return list(Submission.objects.order_by("id").values_list("number", flat=True))


LINES = [
    b"15\n-3\n7\n15\n", b"15\n-3\n7\n15", b"15\r\n-3\r\n7\r\n15\r\n", b"15\n\n-3\n7\n15\n\n\r\n\n",
    b"15\r-3\r7\r15\r", b"15\n-3\r7\r\n15",
    b"\xef\xbb\xbf15\n-3\n7\n15\n", b"+15\n-03\n0007\n015\n",
    "15\r\n-3\r\n7\r\n15\r\n".encode("utf-16"), codecs.BOM_UTF16_BE + "15\n-3\n7\n15".encode("utf-16-be"),
]  # fmt: skip
TABLES = [
    b"at,number\n1,15\n2,-3\n3,7\n4,15\n",
    b'\xef\xbb\xbf"number","of, what"\r\n15,a\r\n"-3","b\r\nb"\r\n7\r\n15,\r\n\r\n',
    b"at,number\n1,15\n2,-3\n3,7\n4,15\n,\n,\r\n , \n",
    b"at,number\r1,15\r2,-3\r3,7\r4,15\r",
    b"at, Number \n1, 15\n2, -3 \n3,7\n4,15\n",
    b"NUMBER,number\n1,15\n2,-3\n3,7\n4,15\n",
    b"M\xfcnze;number\nF\xfcnfer;15\n2;-3\n3;7\n4;15\n",
    b'"at, or when";number\r\n1;15\r\n"2,5";-3\r\n3;7\r\n4;15\r\n;\r\n',
    "at\tnumber\r\n1\t15\r\n2\t-3\r\n3\t7\r\n4\t15\r\n\t\r\n".encode("utf-16"),
    codecs.BOM_UTF16_BE + "ä;number\n𝟙;15\n2;-3\n3;7\n4;15".encode("utf-16-be"),
]


@unrecorded
@pytest.mark.parametrize(
    ("content", "column", "numbers"),
    [
        *((content, None, NUMBERS) for content in LINES),
        *((content, "number", NUMBERS) for content in TABLES),
        (f"{rules.SMALLEST}\n{rules.LARGEST}\n{'0' * 1000}5\n".encode(), None, [rules.SMALLEST, rules.LARGEST, 5]),
    ],
    ids=map(str, range(21)),
)
def test_file_is_read_in_order(content: bytes, column: str | None, numbers: list[int]) -> None:
    spool = io.BytesIO()

    validated = importing.validate(io.BytesIO(content), column, spool, lambda size: None)

    assert array("q", spool.getvalue()).tolist() == numbers
    assert validated.rows == len(numbers)


NOT_TEXT = "This line is not valid text in UTF-8, or in UTF-16 with a byte order mark."
LONG = f"line 2: {'0' * 40!r}...: The line is longer than 1048576 characters."
MANY = 1 << 20
UNREADABLE = [
    ("15\n１５\n7\n".encode(), f"line 2: {'１５'!a}: It contains a full-width digit one U+FF11. {rules.EXPECTED}"),
    (b"15\n 15\n7\n", f"line 2: ' 15': It contains a space U+0020. {rules.EXPECTED}"),
    (b"15\n7\n\xff\xfe\n", rf"line 3: '\ufffd\ufffd': {NOT_TEXT}"),
    (b"1\n" + b"0" * 3 * MANY, LONG),
    (("1\n" + "0" * 3 * MANY).encode("utf-16"), LONG),
    (b"1234567\n" * 9_999 + b"x\n", f"line 10000: 'x': {rules.EXPECTED}"),  # beyond READ_BYTES
    (("1234567\n" * 9_999 + "x\n").encode("utf-16"), f"line 10000: 'x': {rules.EXPECTED}"),
    ("1\n2\n".encode("utf-16")[:-1], rf"line 2: '2\ufffd': {NOT_TEXT}"),
    (b"", "The file contains no numbers."),
    (b"\xef\xbb\xbf\r\n\n", "The file contains no numbers."),
    (gzip.compress(b"1\n"), "The file is compressed by gzip: import it as text, such as CSV."),
    (bz2.compress(b"1\n"), "The file is compressed by bzip2: import it as text, such as CSV."),
    (lzma.compress(b"1\n"), "The file is compressed by xz: import it as text, such as CSV."),
    (b"PK\x03\x04", "The file is a ZIP archive or a workbook, such as .xlsx: import it as text, such as CSV."),
]
BAD_TABLES = [
    (b"", "line 1: '': The header must contain the column 'n' once."),
    (b"a,b\n1,2\n", "line 1: 'a,b': The header must contain the column 'n' once."),
    (b"n,n\n1,2\n", "line 1: 'n,n': The header must contain the column 'n' once."),
    (b"N, n\n1,2\n", "line 1: 'N, n': The header must contain the column 'n' once."),
    (b"a,n\n", "The file contains no numbers."),
    (b"a,n\n1,2\n1\n", f"line 3: '': The number is missing. {rules.EXPECTED}"),
    (b'a,n\n"1\n2",x\n', f"line 3: 'x': {rules.EXPECTED}"),
    (b'a,n\n"1,2\n', "line 2: '': Invalid CSV: unexpected end of data."),
]


@unrecorded
@pytest.mark.parametrize(
    ("content", "problem", "options"),
    [*((*each, []) for each in UNREADABLE), *((*each, ["--column=n"]) for each in BAD_TABLES)],
    ids=map(str, range(22)),  # the contents are long
)
def test_invalid_file_is_described_and_not_recorded(
    file: Path, content: bytes, problem: str, options: list[str]
) -> None:
    file.write_bytes(content)

    with pytest.raises(CommandError) as error:
        call_command("import_numbers", str(file), *options)

    assert str(error.value) == f"{problem} Nothing was recorded."
    assert (log(), Import.objects.count()) == ([], 0)


def test_standard_input_is_recorded_in_order_and_folded(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b"15\n-3\n7\n15\n")))

    call_command("import_numbers", "-")

    assert capsys.readouterr() == ("4 numbers recorded.\n", "")
    assert log() == NUMBERS
    assert folding.fold() == 0
    assert assert_exact() == 4


def test_content_is_recorded_once(file: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file.write_text("15\n7\n")

    call_command("import_numbers", str(file))
    call_command("import_numbers", str(file))

    at = Import.objects.get().started_at
    assert capsys.readouterr().out == (
        f"2 numbers recorded.\nThis file was already imported: all 2 numbers, started {at:%Y-%m-%d %H:%M} UTC. "
        "To import it again, append a blank line.\n"
    )
    assert log() == [15, 7]
    file.write_text("15\n7\n\n")
    call_command("import_numbers", str(file))
    assert log() == [15, 7, 15, 7]


def test_another_column_is_another_import(file: Path) -> None:
    file.write_text("a,b\n1,2\n")

    for column in ("a", "b", " A"):  # the last is the first by another name
        call_command("import_numbers", str(file), f"--column={column}")

    assert log() == [1, 2]


def test_interrupted_import_resumes(
    file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def load(numbers: Any) -> None:
        usual(numbers)
        if 6 in numbers:
            raise OperationalError("connection lost")

    usual = record.load
    file.write_text("".join(f"{number}\n" for number in range(10)))
    monkeypatch.setattr(importing, "MAX_ROWS_PER_TRANSACTION", 3)
    monkeypatch.setattr(record, "load", load)
    with pytest.raises(CommandError, match=r"^The database failed: connection lost\. Run the same command again"):
        call_command("import_numbers", str(file))
    monkeypatch.setattr(record, "load", usual)

    call_command("import_numbers", str(file))

    resumed = "6 of 10 numbers were already recorded; resuming from there."
    assert capsys.readouterr().out == f"{resumed}\n10 numbers recorded.\n"
    assert log() == list(range(10))
    assert verify.verify() == []


def test_open_transaction_delays_only_the_folds(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("15\n-3\n7\n15\n")
    monkeypatch.setattr(importing, "MAX_ROWS_PER_TRANSACTION", 2)
    monkeypatch.setattr(importing, "FOLD_TIMEOUT_SECONDS", 0.05)

    with open_transaction() as late:
        late.execute(INSERT, [[7]])
        call_command("import_numbers", str(file))

        assert NumberCount.objects.count() == 0
        assert assert_exact() == 4
        late.commit()
    assert folding.fold() == 5
    assert assert_exact() == 5


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importing, "MAX_ROWS_PER_TRANSACTION", 1_000)

    def peak(lines: int) -> int:
        with io.BytesIO(b"1234567\n" * lines) as source, Path(os.devnull).open("r+b") as spool:
            tracemalloc.start()
            importing.validate(source, None, spool, lambda size: None)
            _, most = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        return most

    assert peak(30_000) < 1.1 * peak(10_000)


def test_concurrent_and_killed_imports_record_each_number_once(database_url: str, file: Path) -> None:
    environment = {"DATABASE_URL": database_url, "SECRET_KEY": SECRET_KEY}
    file.write_text("".join(f"{number % 1000}\n" for number in range(200_000)))

    def finish(*arguments: str) -> tuple[str, str]:
        return manage(*arguments, **environment).communicate()

    with psycopg.connect(database_url, autocommit=True) as database:
        killed, other = (manage("import_numbers", str(file), **environment) for _ in range(2))
        assert eventually(lambda: database.execute("SELECT 1 FROM fizzbuzz_import").rowcount == 1)
        killed.kill()
        killed.communicate()
        output, errors = other.communicate()
        assert database.execute("SELECT count(*) FROM fizzbuzz_submission").fetchone() == (200_000,)

    assert (output.splitlines()[-1], errors) == ("200,000 numbers recorded.", "")
    assert finish("top_numbers", "--limit=1", "--format=csv") == ("number,result,count\n0,FizzBuzz,200\n", "")
    assert finish("top_numbers", "--verify") == ("All counts match the log.\n", "")
    assert finish("import_numbers", str(file))[0].startswith("This file was already imported: all 200,000 numbers")
