"""What a fine-tuning needs and how long it takes, told before a GPU is rented: arithmetic alone, no GPU, no torch.

architecture  shapes and parameters of a generator, by its config.json or by the name of a well-known one
hardware      cards and the nodes that they sit in
memory        bytes on each GPU and each host, by item, at load, in a step and at a save
throughput    seconds of a step, from floating-point operations and bytes moved
plan          the configuration as it stands, what else there is to choose from, and which of it is best
"""
