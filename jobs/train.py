"""Fine-tunes a model: the job behind `nosology submit train …`; it takes the options of `nosology train`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "train")
    main()
