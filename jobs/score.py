"""Measures predictions: the job behind `nosology submit score …`; it takes the options of `nosology score`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "score")
    main()
