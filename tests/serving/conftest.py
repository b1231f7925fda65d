"""Ray reads how it authenticates when it is first imported, so the environment is set before any test of this folder runs."""

from nosology.distributed.session import prepare_environment

prepare_environment()
