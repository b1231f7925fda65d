"""Writes a servable artefact: the job behind `nosology submit quantize …`; it takes the options of `nosology quantize`."""

import sys

from nosology.cli import main

if __name__ == "__main__":
    sys.argv.insert(1, "quantize")
    main()
