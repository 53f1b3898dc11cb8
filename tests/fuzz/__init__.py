"""Coverage-guided fuzzing of every reader: one table of targets, one contract.

targets.py     the table: what a target reads, its seeds, its words, its mutator
contract.py    what must hold whatever comes in; a breach is a Finding
watching.py    which files, processes and sockets a case touches, by Python's own audit events
seeds.py       tiny inputs, made by code
wire.py        mutation of protobuf messages, field by field
text.py        mutation of prototxts and cfgs, token by token and line by line
worker.py      one fuzzing process: atheris where it is installed, a seeded walk over the seeds where not
__main__.py    `python -m tests.fuzz TARGET --seconds N`: starts workers, starts them again after a crash,
               sums up
regressions/   every input that once broke the contract, by target; test_fuzz.py replays them all
"""
