"""Reads an archive into tables: the job behind `nosology submit ingest …`; it takes the options of `nosology ingest`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "ingest")
    main()
