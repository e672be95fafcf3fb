//! The curves of others, for comparison: the benchmark beside this file is all of it.
