"""Many models: on all cores of one machine, or on a cluster, each in a process of its own that can be ended.

coordinator   tasks in, runs out: through the pool or the cluster, whatever dies on the way
pool, cluster the two engines: loky's process pool, dask.distributed
worker        what both call: one task, in a child that is warm already
supervisor    that child from outside: its limits, its death
child         that child from inside
single        one model: skip, fetch, fold, check, deliver
fingerprints  is a result still what would come out?
places        paths and URLs      companions  files that a model needs beside it      naming  what the outputs
              are called
mirror        copies of what lies where no worker comes (memory://)
task          what is asked for, as frozen values that travel as JSON
"""
