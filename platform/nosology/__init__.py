"""nosology: claims and clinical notes in, audited medical codes out, on your own machines."""

import os

# MLflow's telemetry off; its files are meant, although it would rather have a database; no hints to whoever drives the process. Here and not
# where MLflow is used: DeepSpeed imports it too, wherever it is installed, and telemetry begins with the import.
os.environ |= dict.fromkeys(("MLFLOW_DISABLE_TELEMETRY", "DO_NOT_TRACK", "MLFLOW_ALLOW_FILE_STORE", "MLFLOW_DISABLE_AGENT_HINT"), "true")
