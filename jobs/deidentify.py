"""Removes identifiers: the job behind `nosology submit deidentify …`; it takes the options of `nosology deidentify`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "deidentify")
    main()
