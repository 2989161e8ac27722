//! chitin-core
