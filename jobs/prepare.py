"""Makes training blocks: the job behind `nosology submit prepare …`; it takes the options of `nosology prepare`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "prepare")
    main()
