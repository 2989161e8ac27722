//! chitin-bench
