"""Write the digests of a finished run, by which another run of the same config is compared with it."""

from __future__ import annotations

from pathlib import Path

from scalequest.publishing import checksums
from scalequest.runtime import job
from scalequest.runtime.files import write_text


def main() -> None:
    parser = job.parser(__doc__ or "")
    parser.add_argument("--files", required=True, nargs="+", help="the run's files; * for the number of a shard")
    parser.add_argument("--shards", required=True, type=int, help="number of shards")
    parser.add_argument("--out", required=True, type=Path, help="checksums to write")
    args = parser.parse_args()
    write_text(args.out, checksums.write(args.files, args.shards))


if __name__ == "__main__":
    job.run(main)
