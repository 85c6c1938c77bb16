"""Find the duplicates among all questions of a seed, against each other and against what earlier seeds kept.

One job for a seed, since a question may repeat one of any generator and block. What comes first stays (by seed, index,
generator), so a seed that is added later changes no verdict here. Rows that the text filters drop take no part: a
dropped row must not take a good one with it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from scalequest.errors import ScaleQuestError
from scalequest.filters.duplicates import NEAR, Comparing, Duplicate, Signed, find_duplicates
from scalequest.filters.reasons import at_least
from scalequest.rows.tables import SIGNATURES, VERDICTS, read_arrow, write_table
from scalequest.runtime import job
from scalequest.runtime.files import replaced
from scalequest.settings import read_settings

Row = dict[str, Any]


@dataclass(frozen=True)
class Settings:
    """How questions are compared, and the names of the text filters that drop."""

    duplicates: Comparing
    dropping: tuple[str, ...]


def dropped_ids(path: str, dropping: Sequence[str]) -> set[str]:
    """Ids of the rows in a verdicts table that one of the filters named in `dropping` would not keep."""
    verdicts = read_arrow(path, VERDICTS)
    drop = pc.and_(pc.invert(verdicts["keep"]), pc.is_in(verdicts["filter"], pa.array(dropping, pa.string())))
    return set(verdicts["id"].filter(drop).to_pylist())


def compared_rows(text: Sequence[str], signatures: Sequence[str], dropping: Sequence[str]) -> pa.Table:
    """The signatures of a seed's blocks less the rows that text filters drop. `text` are the verdicts tables of the
    same blocks, in the same order. Raises ScaleQuestError where there is not one for each."""
    if len(text) != len(signatures):
        raise ScaleQuestError(
            f"--text names {len(text)} tables and --signatures {len(signatures)}; "
            "give both for every block, in one order."
        )
    blocks = []
    for verdicts, path in zip(text, signatures, strict=True):
        drop = pa.array(sorted(dropped_ids(verdicts, dropping)), pa.string())
        block = read_signatures([path])
        blocks.append(block.filter(pc.invert(pc.is_in(block["id"], drop))))
    return pa.concat_tables(blocks)


def read_signatures(paths: Sequence[str]) -> pa.Table:
    """Signatures tables as one, empty where there is no path."""
    return pa.concat_tables([SIGNATURES.schema.empty_table(), *(read_arrow(path, SIGNATURES) for path in paths)])


def in_order(table: pa.Table) -> pa.Table:
    """Rows of the signatures table in the order in which they are judged: seed, index, generator."""
    keys = [judging_order(name) for name in table["id"].to_pylist()]
    return table.take(pa.array(sorted(range(len(keys)), key=keys.__getitem__), pa.int64()))


def judging_order(question_id: str) -> tuple[int, int, str]:
    """Seed, index and generator, read from a question's id. Raises ScaleQuestError where it is no such id."""
    try:
        generator, seed, index = question_id.rsplit("/", 2)
        return int(seed.removeprefix("s")), int(index), generator
    except ValueError:
        raise ScaleQuestError(f"{question_id!r} is no question id: generator/sSEED/INDEX is expected.") from None


def as_signed(table: pa.Table) -> Signed:
    """The signatures table as columns. Raises ScaleQuestError where signatures differ in length."""
    lengths = pc.unique(pc.list_value_length(table["signature"])).to_pylist()
    if len(lengths) > 1:
        raise ScaleQuestError(
            f"the --signatures and --earlier tables hold signatures of {sorted(lengths)} permutations, which cannot be "
            "compared. Remove them; filter_text makes all of them with one filters.duplicates.permutations."
        )
    width = lengths[0] if lengths else 0
    matrix = pc.list_flatten(table["signature"]).to_numpy().reshape(len(table), width)
    return Signed(table["id"].to_pylist(), table["digest"].to_pylist(), table["question"], matrix)


def why(hit: Duplicate, original: str, threshold: float) -> str:
    """Why a row is dropped: which one it repeats, and how similar they are where they are not the same text."""
    similar = f": similarity {at_least(hit.similarity, threshold)}" if hit.reason == NEAR else ""
    return f"{hit.reason} of {original}{similar}"


def verdict_rows(rows: Signed, settled: int, found: Sequence[Duplicate | None], threshold: float) -> Iterator[Row]:
    """Rows of the verdicts table for the rows after the settled ones."""
    for position, hit in enumerate(found, start=settled):
        yield {
            "id": rows.ids[position],
            "filter": "duplicates",
            "keep": hit is None,
            "reason": why(hit, rows.ids[hit.kept], threshold) if hit else "",
            "score": hit.similarity if hit else None,
            "evidence": rows.ids[hit.kept] if hit else None,
        }


def write_kept(path: str, table: pa.Table, found: Sequence[Duplicate | None]) -> None:
    """Write the rows of the signatures table that repeat nothing. From Arrow to disk: as Python rows a million
    signatures take gigabytes."""
    kept = table.filter(pa.array([hit is None for hit in found], pa.bool_())).sort_by("id")
    with replaced(path) as part:
        pq.write_table(kept, part, compression="zstd", write_statistics=True)


def main() -> None:
    parser = job.parser(__doc__.splitlines()[0])
    parser.add_argument("--text", nargs="+", required=True, help="verdicts tables of the seed's blocks")
    parser.add_argument("--signatures", nargs="+", required=True, help="signatures tables of the same blocks, in order")
    parser.add_argument("--earlier", nargs="*", default=[], help="signatures tables that earlier seeds kept")
    parser.add_argument("--out", required=True, help="verdicts table to write")
    parser.add_argument("--kept", required=True, help="signatures table of this seed's kept rows to write")
    arguments = parser.parse_args()
    settings = read_settings(Settings, arguments.settings)

    fresh = in_order(compared_rows(arguments.text, arguments.signatures, settings.dropping))
    earlier = in_order(read_signatures(arguments.earlier))
    rows = as_signed(pa.concat_tables([earlier, fresh]))
    found = find_duplicates(rows, len(earlier), settings.duplicates)
    job.log.info(
        "%d questions against each other and %d kept before: %d duplicates",
        *(len(fresh), len(earlier), sum(hit is not None for hit in found)),
    )
    verdicts = verdict_rows(rows, len(earlier), found, settings.duplicates.threshold)
    write_table(arguments.out, verdicts, VERDICTS)
    write_kept(arguments.kept, fresh, found)


if __name__ == "__main__":
    job.run(main)
