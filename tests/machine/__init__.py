"""A state machine that drives the use cases at random, against a model of what the contract says of records."""
