"""Results in Caffe's own format."""
