"""Ray reads how it authenticates when it is first imported, so the environment is set before any test imports it."""

from nosology.distributed.session import prepare_environment

prepare_environment()
