"""Codes an archive: the job behind `nosology submit code …`; it takes the options of `nosology code`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "code")
    main()
