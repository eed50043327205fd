"""What inversion has made of each sample, by the records of its chunks, as samples.parquet tells it."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pipeline.build import Build
from pipeline.ledger import Record, data_digests
from pipeline.listing import GONE

FAR = "far from anything the generator renders, compared with the others"


def good_rows(build: Build, records: list[Record]) -> NDArray[np.bool_]:
    """Which of all rows are done, have not failed and are not gone."""
    status = build.samples("status")["status"].to_numpy()
    good = np.zeros(len(status), dtype=bool)
    for record in records:
        good[record["start"] : record["stop"]] = True
        good[[int(row) for row in record["failures"]]] = False
    return np.asarray(good & (status != GONE), dtype=np.bool_)


def recorded(build: Build, stage: str, count: int) -> NDArray[np.bool_]:
    """Which of `count` rows any record speaks of."""
    done = np.zeros(count, dtype=bool)
    for start, stop, _ in data_digests(build, stage):
        done[start:stop] = True
    return done


def outcome(
    rows: pd.DataFrame, first: int, records: list[Record], poor: NDArray[np.bool_], done: NDArray[np.bool_]
) -> dict[str, NDArray[np.object_]]:
    """Status, error, sha256 and stamp of the samples from number `first` on, by the records of those that are done.

    What could not be read loses its stamp, so that the next listing has it tried again. What no record speaks of
    any more is not `done`, and waits again.
    """
    columns = {name: rows[name].to_numpy(object, copy=True) for name in ("status", "error", "sha256", "stamp")}
    last = first + len(rows)
    lost = ~done[first:last] & np.isin(columns["status"], ["ok", "poor", "failed"])
    columns["status"][lost], columns["error"][lost] = "pending", ""
    for record in records:
        for row in range(max(first, record["start"]), min(last, record["stop"])):
            failure, place = record["failures"].get(str(row)), row - first
            if columns["status"][place] == GONE:
                continue
            if row in record["details"].get("unreadable", ()):
                columns["stamp"][place] = ""
            columns["sha256"][place] = record["details"]["sha256"][row - record["start"]]
            columns["status"][place] = "failed" if failure else "poor" if poor[row] else "ok"
            columns["error"][place] = failure or (FAR if poor[row] else "")
    return columns
