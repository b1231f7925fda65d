"""Put first on PYTHONPATH by a test, so that every process of a command (driver, Ray workers, children) knows its crash points."""

import crash_points

crash_points.watch()
