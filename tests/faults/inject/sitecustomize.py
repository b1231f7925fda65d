"""Put first on PYTHONPATH by a test, so that every process of a command (driver, Ray workers, children) knows its crash points, and which
records are deadly."""

import crash_points
import deadly_records

crash_points.watch()
deadly_records.watch()
