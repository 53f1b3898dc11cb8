"""Many models: on all cores of one machine, or on a cluster, each in a process of its own that can be killed.

coordinator   sends tasks to the pool or the cluster and collects a run for each, even if workers die
pool, cluster the two engines: loky's process pool, dask.distributed
worker        what both engines call: one task, done in a child process that has already started
supervisor    the parent's side of that child: its limits, and what its death means
child         the child's own side
one_model     one model: skip, fetch, fold, check, deliver
fingerprints  decides whether an existing result is still up to date
locations     paths and URLs
companions    files that a model needs beside it
output_names  the names of the outputs
mirror        copies of files that no worker can reach (memory://)
task          tasks as frozen values that travel as JSON
"""
