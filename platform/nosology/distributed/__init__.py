"""The only Ray here besides `serve/`: the session, the plan of the input, the ledger of the output, the runs of a stage.

session  starts or joins a cluster            source   what there is to do: files, row counts, digests, intervals
sink     the ledger: parts, manifests, epochs  stages   runs a stage or an ingest over Ray Data, exactly once
"""
