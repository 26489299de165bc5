"""States that visitors upload as CSV or Parquet."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from limits import Limits, VisitorError
from states import read_state

LIMITS = Limits()


@pytest.mark.parametrize(
    "text",
    ["1,2\n3,4\n", "x,y\n1,2\n3,4", "frame,x,y\n0,1,2\n1,3,4\n\n", "\ufeffx;timestamp;y\n1;0.1;2\n3;0.2;4"],
    ids=["no heading", "heading", "counter left out", "semicolons"],
)
def test_a_csv_is_read_with_or_without_a_heading(tmp_path, text):
    (tmp_path / "s.csv").write_text(text, encoding="utf-8")
    assert read_state(tmp_path / "s.csv", LIMITS).tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "s.csv is empty"),
        ("x,y\n", "has a heading and no rows"),
        ("1,2\n3\n", "line 2: 1 cells that should be 2 numbers"),
        ("1,2\n3,four\n", "line 2: 2 cells that should be 2 numbers"),
        ("x,y\n1,\n", "row 1, column 2 is not a finite number"),
        ("1,nan\n", "row 1, column 2 is not a finite number"),
        ("1,1e999\n", "row 1, column 2 is not a finite number"),
        ("time\n1\n", "has 0 columns of numbers"),
        (",".join("1" * 300), "has 300 columns of numbers"),
    ],
)
def test_an_absurd_csv_is_refused_with_the_place(tmp_path, text, message):
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(VisitorError, match=message):
        read_state(tmp_path / "s.csv", LIMITS)


def test_a_csv_that_is_too_long_or_too_large_is_refused(tmp_path):
    (tmp_path / "s.csv").write_text("1\n" * 100)
    with pytest.raises(VisitorError, match="more than 50 rows"):
        read_state(tmp_path / "s.csv", Limits(frames=50))
    with pytest.raises(VisitorError, match="at most 0 MB are read"):
        read_state(tmp_path / "s.csv", Limits(state_mb=0.0001))


@pytest.mark.parametrize("name", ["s.csv", "s.parquet"])
def test_bytes_that_are_no_table_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b"PAR1\xff\xfe\x00\x01" * 50)
    with pytest.raises(VisitorError, match=f"{name} is no .* that can be read"):
        read_state(tmp_path / name, LIMITS)


def test_other_kinds_of_file_are_refused(tmp_path):
    (tmp_path / "s.pkl").write_bytes(b"cos\nsystem\n(S'true'\ntR.")
    with pytest.raises(VisitorError, match="give a CSV or a Parquet file"):
        read_state(tmp_path / "s.pkl", LIMITS)


def test_a_parquet_of_lerobot_gives_its_state(tmp_path):
    state = [[1.0, 2.0], [3.0, 4.0]]
    table = {"observation.state": pa.array(state, pa.list_(pa.float32())), "action": [9.0, 9.0]}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    assert read_state(tmp_path / "s.parquet", LIMITS).tolist() == state


def test_numeric_columns_of_a_parquet_are_the_state_but_for_counters(tmp_path):
    table = {"frame_index": [0, 1], "x": [1, 3], "name": ["a", "b"], "y": [2.0, 4.0]}
    pq.write_table(pa.table(table), tmp_path / "s.parquet")
    assert read_state(tmp_path / "s.parquet", LIMITS).tolist() == [[1, 2], [3, 4]]


def test_a_parquet_with_gaps_or_ragged_rows_is_refused(tmp_path):
    pq.write_table(pa.table({"x": [1.0, None]}), tmp_path / "gap.parquet")
    with pytest.raises(VisitorError, match="row 2, column 1 is not a finite number"):
        read_state(tmp_path / "gap.parquet", LIMITS)
    pq.write_table(pa.table({"x": [[1.0], [1.0, 2.0]]}), tmp_path / "ragged.parquet")
    with pytest.raises(VisitorError, match="ragged.parquet is no Parquet file that can be read"):
        read_state(tmp_path / "ragged.parquet", LIMITS)


def test_a_parquet_of_too_many_rows_is_refused_by_its_footer(tmp_path):
    pq.write_table(pa.table({"x": np.zeros(100)}), tmp_path / "s.parquet")
    with pytest.raises(VisitorError, match="has 100 rows"):
        read_state(tmp_path / "s.parquet", Limits(frames=50))
